"""The Beam job and what it writes."""
