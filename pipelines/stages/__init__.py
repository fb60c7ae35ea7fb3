"""The stages of an ad, one file each, registered in `registry.py`, and what they share."""
