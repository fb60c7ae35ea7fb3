"""Text alignment: how well the frames of a clip, or a still, show what was asked for.

score = mean over t of cos(f_t, p), f_t and p the unit CLIP embeddings of frame t and of the prompt: CLIPScore (Hessel
et al., arXiv 2104.08718) as the raw cosine, averaged over all frames; for a still, of its one frame. Real CLIP models
give about 0.15 to 0.35, so a minimum must be set for its backbone.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream, TextBackbone

CUT = "the prompt is longer than the model reads: its end was left out"


class TextAlignment:
    """The mean cosine of all frames to the prompt, -1 to 1."""

    METRIC: ClassVar[Metric] = Metric("admint.text_alignment", "clip_text_frames@1", "proxy", (-1, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("clip", "hf.clip"),)

    def __init__(self, shot: Shot) -> None:
        if not shot.prompt:
            raise NoValue("needs the prompt that was to be shown")
        (self._stream,) = self.NEEDS
        self._shot = shot
        encoder = cast(TextBackbone, shot.backbones[self._stream.backbone])
        self._text, self._cut = encoder.text(shot.prompt)
        self._cosines: list[float] = []

    def feed(self, block: Block) -> None:
        for vector in block.features[self._stream].values.astype(np.float64):
            self._cosines.append(float(vector @ self._text.astype(np.float64)))

    def score(self) -> Score:
        if not self._cosines:
            raise NoValue("needs at least 1 frame")
        frames = len(self._cosines)
        return self.METRIC.value(
            float(np.mean(self._cosines)),
            self._shot,
            frames,
            stream=self._stream,
            series=self._cosines,
            at=range(frames),
            note=CUT if self._cut else None,
        )


class KeyframeAlignment(TextAlignment):
    """The cosine of a still, or of a clip's first frame, to its prompt, -1 to 1."""

    METRIC = Metric("admint.keyframe_alignment", "clip_text_image@1", "proxy", (-1, 1))
    NEEDS = (Stream("clip", "hf.clip", "first"),)
