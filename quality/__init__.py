"""Scores of pictures, clips and videos: decoded frames in, `quality.score.Score` out.

The boundary: pure functions on frames, without files, network or models of their own; who measures hands in the decoded
frames and, for learned dimensions, a CLIP encoder. Nothing here knows of jobs, users, databases or HTTP, and nothing of
ours is imported but this package.
"""
