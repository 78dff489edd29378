"""Sensors that watch the flow of readings, runs and checks."""
