"""The HTTP API: reads the published warehouse, gives answers about poles, events and sheds."""
