"""What the scores are worth and what they cost: one program a file, `python -m benchmarks.quality.NAME`."""
