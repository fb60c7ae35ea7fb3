"""How the sketch models were trained: one command per stage, all on the rendered world.

Knows nothing of serving or pipelines. Scratch data and checkpoints live in `~/.cache/admint/train`, never here.
"""
