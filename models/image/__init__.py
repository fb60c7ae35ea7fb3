"""Image models: an `ImageRequest` and a `Watcher` in, an `ImageResult` out.

A request goes engine -> (pixels -> latents) + (texts, reference_adapter) -> stock pipeline with our start noise, in its
turn on the lane. `lane`, `loading`, `pixels`, `recent` and `reference_adapter` serve `models.video` too.
"""
