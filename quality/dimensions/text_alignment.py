"""Text alignment: how well the frames of a clip show what was asked for.

score = mean over t of cos(f_t, p), f_t and p the unit CLIP embeddings of frame t and of the prompt: CLIPScore (Hessel
et al., arXiv 2104.08718) as the raw cosine, averaged over all frames. Real CLIP models give about 0.15 to 0.35, so a
minimum must be set for its backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quality.learned import NO_ENCODER, with_value, without_value
from quality.score import Score, Shot, Vectors

NAME, IMPL_ID = "text_alignment", "clip_text_frames@1"
CUT = "the prompt is longer than the model reads: its end was left out"


def measure(shot: Shot) -> Score:
    """The mean cosine, -1 to 1. Needs an encoder and the prompt."""
    return alignment(shot, NAME, IMPL_ID, slice(None))


def alignment(shot: Shot, name: str, impl_id: str, which: slice) -> Score:
    """The mean cosine of the frames `which` and the prompt."""
    if shot.encoder is None:
        return without_value(name, impl_id, NO_ENCODER, shot)
    if not shot.prompt:
        return without_value(name, impl_id, "needs the prompt that was to be shown", shot)
    vectors: Sequence[Vectors] | Vectors = shot.vectors[which]
    if len(vectors) == 0:
        return without_value(name, impl_id, "needs at least 1 frame", shot)
    text, cut = shot.encoder.text(shot.prompt)
    raw = float(np.mean(np.asarray(vectors, dtype=np.float64) @ text.astype(np.float64)))
    return with_value(name, impl_id, raw, shot, shot.encoder, len(vectors), CUT if cut else None)
