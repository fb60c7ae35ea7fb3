"""How to infer: chat, image and video models behind three small interfaces.

Knows nothing of jobs, users, databases, HTTP or Ray; imports with torch, diffusers and transformers only.
"""
