"""Image models: an `ImageRequest` and a `Watcher` in, an `ImageResult` out; one file per family."""
