"""The eight products: their solids, what is painted on them, and the views of them."""
