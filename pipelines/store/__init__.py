"""Generations, accounts and files that survive the process: the only place that knows SQL."""
