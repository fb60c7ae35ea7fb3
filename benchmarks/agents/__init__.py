"""Whether the agents tell the truth: `python -m benchmarks.agents`, and the briefs that it measures with."""
