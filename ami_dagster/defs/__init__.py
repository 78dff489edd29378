"""Definitions by subject; each folder holds its assets, sensors and schedules."""
