"""Faults injected at random into a running platform, and a verdict on what it did with them."""
