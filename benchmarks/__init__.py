"""Reproducible measurements: reads the platform at work, gives figures beside their targets.

`python -m benchmarks` measures and writes `benchmarks/results.json` and `docs/benchmarks.md`.
"""
