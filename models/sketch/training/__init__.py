"""How the sketch family is trained. Not needed to run it: the world it is trained on, and one module per concept."""
