"""The lake: landed and compacted hours, the registry."""
