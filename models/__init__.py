"""How to infer: chat, image, video and scorer models behind small interfaces (`models.interfaces`).

The boundary: nothing here knows of jobs, users, databases, HTTP routes or Ray, and nothing of ours is imported but this
package. Requests and results are plain frozen data; an engine is built from a description (`models.spec`) and folders
of weights (`models.weights`) by `models.registry.load`. Only `models.hub` and the `openai` family speak to a network.
"""
