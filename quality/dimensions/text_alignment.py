"""Text alignment: how well the frames of a clip, or a still, show what was asked for.

score = mean over t of cos(f_t, p), f_t and p the unit CLIP embeddings of frame t and of the prompt: CLIPScore (Hessel
et al., arXiv 2104.08718) as the raw cosine, averaged over frames; for a still, of its one frame. Real CLIP models
give about 0.15 to 0.35, so a minimum must be set for its backbone.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream, TextBackbone

CUT = "the prompt is longer than the model reads: its end was left out"


class TextAlignment:
    """The mean cosine of the frames, at most 8 a second, to the prompt, -1 to 1."""

    METRIC: ClassVar[Metric] = Metric("admint.text_alignment", "clip_text_frames@2", "proxy", (-1, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("clip", "hf.clip", "8fps"),)

    def __init__(self, shot: Shot) -> None:
        (self._stream,) = self.NEEDS
        self._shot = shot
        encoder = cast(TextBackbone, shot.backbones[self._stream.backbone])
        self._window = encoder.window
        self._text, self._cut = encoder.text(self.words(shot))
        self._cosines: list[float] = []
        self._at: list[int] = []

    def words(self, shot: Shot) -> str:
        """What the frames are compared with. Raises NoValue."""
        if not shot.prompt:
            raise NoValue("needs the prompt that was to be shown")
        return shot.prompt

    def feed(self, block: Block) -> None:
        features = block.features[self._stream]
        for vector in features.values.astype(np.float64):
            self._cosines.append(float(vector @ self._text.astype(np.float64)))
        self._at.extend(features.frames)

    def score(self) -> Score:
        if not self._cosines:
            raise NoValue("needs at least 1 frame")
        return self.METRIC.value(
            float(np.mean(self._cosines)),
            self._shot,
            self._window * len(self._cosines),
            stream=self._stream,
            series=self._cosines,
            at=self._at,
            note=CUT if self._cut else None,
        )


class KeyframeAlignment(TextAlignment):
    """The cosine of a still, or of a clip's first frame, to its prompt, -1 to 1."""

    METRIC = Metric("admint.keyframe_alignment", "clip_text_image@1", "proxy", (-1, 1))
    NEEDS = (Stream("clip", "hf.clip", "first"),)


class ClipScore(TextAlignment):
    """CLIPScore of Hessel et al., arXiv 2104.08718: CLIP ViT-B/32, the prompt after "A photo depicts", mean over
    frames.

    The raw cosine, -1 to 1; the published number is 2.5 times what is above 0 of it.
    """

    METRIC = Metric("clipscore.text", "clipscore@1", "equal", (-1, 1))
    NEEDS = (Stream("clip_b32", "vbench.clip224.pil"),)

    def words(self, shot: Shot) -> str:
        return f"A photo depicts {super().words(shot)}"


class AppearanceStyle(TextAlignment):
    """VBench dimension 14: the mean cosine of all frames, resized by Pillow, to the words of the style that was asked
    for."""

    METRIC = Metric("vbench.appearance_style", "appearance_style@1", "equal", (-1, 1))
    NEEDS = (Stream("clip_b32", "vbench.clip224.pil"),)

    def words(self, shot: Shot) -> str:
        if not shot.asked.style:
            raise NoValue("needs the style that was asked for, in words")
        return shot.asked.style


class OverallConsistency(TextAlignment):
    """VBench dimension 16: the cosine of the prompt to the clip's 8 middle frames, seen together by ViCLIP."""

    METRIC = Metric("vbench.overall_consistency", "overall_consistency@1", "equal", (-1, 1))
    NEEDS = (Stream("viclip_l14", "vbench.clip224.uint8", "middle8"),)


class TemporalStyle(OverallConsistency):
    """VBench dimension 15: the same number, of prompts that ask for a movement of the camera or of time."""

    METRIC = Metric("vbench.temporal_style", "temporal_style@1", "equal", (-1, 1))
