"""The command-line tools: one file per tool of the contract, each thin over a recipe or a single model."""
