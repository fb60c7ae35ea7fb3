"""Models that scores are computed from: pictures and texts in, vectors out."""
