"""Dagster over the whole way of a reading: assets, checks, sensors and schedules."""
