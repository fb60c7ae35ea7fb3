"""The eight settings, painted in layers, and what they are assembled from."""
