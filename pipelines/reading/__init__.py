"""What a brief says: facts found by rules, the words that they go by, and whether the models can draw them."""
