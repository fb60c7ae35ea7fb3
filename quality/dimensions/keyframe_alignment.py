"""Keyframe alignment: how well a still, or the first frame of a clip, shows what was asked for.

score = cos(f_1, p): as text alignment, of one frame.
"""

from __future__ import annotations

from quality.dimensions.text_alignment import alignment
from quality.score import Score, Shot

NAME, IMPL_ID = "keyframe_alignment", "clip_text_image@1"


def measure(shot: Shot) -> Score:
    """The cosine, -1 to 1. Needs an encoder and the prompt."""
    return alignment(shot, NAME, IMPL_ID, slice(0, 1))
