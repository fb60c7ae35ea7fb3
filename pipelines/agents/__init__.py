"""The agents: one file each, with a prompt and the schema of its answer."""
