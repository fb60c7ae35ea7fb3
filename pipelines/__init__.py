"""What happens to a generation, and how it survives: recipe, engine, stages, agents, coherence, store.

Calls models through the desk of `steps.py`; knows no HTTP, no Ray and no configuration file.
"""
