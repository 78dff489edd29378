"""Pages for operators: reads the HTTP API, gives what a browser shows. Knows no database."""
