"""What the image and video families share: the way of one call, loading, placement, noise, latents and references."""
