"""Video models: a `VideoRequest` and a `Watcher` in, a `VideoResult` of exactly the wanted frames out."""
