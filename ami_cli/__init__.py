"""The `ami` command: wires the hops together; the only place that reads settings."""
