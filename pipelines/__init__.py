"""What happens to a generation, and how it survives: recipe, engine, stages, agents, coherence, store.

The boundary of the package: callers hand it plain data (a brief, a recipe, images as bytes) and a store, and read rows
and events back. It calls models through `steps.Models` and the scorers of `quality`; it knows no HTTP, no Ray, no
command line and no configuration file. Imports point one way: `serving` imports it, it imports `models` and `quality`.

Inside, `orders` (asked → checked), `decisions` (what owners may do) and the modules beside this file are pure; `agents`
and `stages` say what is asked of models; `runtime` alone runs anything; `store` alone knows SQL.
"""
