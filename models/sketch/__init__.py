"""The embedded sketch family: a small procedural world and small models trained on nothing else.

The large open models load through the same stock classes as these weights do.
"""
