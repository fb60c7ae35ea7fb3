"""Chat models: a `ChatRequest` and a `Watcher` in, text or schema-valid JSON out; here or over the network."""
