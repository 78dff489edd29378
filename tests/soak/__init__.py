"""The platform under load for an hour, killed every minute, and a verdict on what grows."""
