"""Meters, gateways and the topic they publish to."""
