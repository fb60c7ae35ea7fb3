"""What serving costs and how it scales: `python -m benchmarks.serving`."""
