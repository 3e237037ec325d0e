"""Benchmarks of sigrun; `run.py` runs them, README.md says what they mean."""
