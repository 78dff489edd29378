"""Alerts: reads what the platform shows of itself, gives notices to people."""
