"""How many callers one gateway serves, how fast, and in how much memory: `python -m benchmarks.gateway`."""
