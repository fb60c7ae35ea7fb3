"""Text alignment: how well the frames of a clip, or a still, show what was asked for, and in its colour.

score = mean over t of cos(f_t, p), f_t and p the unit CLIP embeddings of frame t and of the prompt: CLIPScore (Hessel
et al., arXiv 2104.08718) as the raw cosine, averaged over frames; for a still, of its one frame. Real CLIP models
give about 0.15 to 0.35, so a minimum must be set for its backbone.

The colour's margin is how much better they fit their prompt than the same prompt with another colour:
m(c) = mean over t of (cos(f_t, p) - max over d of cos(f_t, p[c -> d])), c a colour that the prompt names and d every
other one of TERMS; the score is the least m(c). Below 0 another colour fits better. What a good picture scores differs
from product to product, so that alignment alone tells a wrong colour badly; a margin has its zero wherever the cosines
lie (CLIP's own use, Radford et al., arXiv 2103.00020, section 3.1: the label whose text is nearest). The colours of a
prompt are not bound to its things.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream, TextBackbone

TERMS = (
    "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "black", "white", "gray",
)  # fmt: skip
"""The basic colour terms of English (Berlin and Kay, 1969), and teal, which stands between two of them."""
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


# --- the colour ---


def named_colours(prompt: str) -> tuple[str, ...]:
    """Those of TERMS that the prompt names, each once, in its order."""
    found = re.findall(rf"\b({'|'.join(TERMS)})\b", prompt.lower().replace("grey", "gray"))
    return tuple(dict.fromkeys(found))


class ColourMargin:
    """The cosine of the frames, at most 8 a second, to the prompt, less that to it with the nearest other colour; -2 to
    2."""

    METRIC: ClassVar[Metric] = Metric("admint.colour_margin", "clip_colour_margin@1", "proxy", (-2, 2))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("clip", "hf.clip", "8fps"),)

    def __init__(self, shot: Shot) -> None:
        (self._stream,) = self.NEEDS
        self._shot = shot
        self._encoder = cast(TextBackbone, shot.backbones[self._stream.backbone])
        self._named = named_colours(shot.prompt or "")
        if not self._named:
            raise NoValue(f"needs a prompt that names a colour: {', '.join(TERMS)}")
        self._texts = [self._text_and_others(shot.prompt or "", colour) for colour in self._named]
        self._margins: list[list[float]] = []
        self._nearest = [np.zeros(len(TERMS) - 1) for _ in self._named]
        self._at: list[int] = []

    def _text_and_others(self, prompt: str, colour: str) -> npt.NDArray[np.float64]:
        """The embeddings of the prompt and of it with each other colour, shape (12, width). Raises NoValue."""
        word = re.compile(r"\bgr[ae]y\b" if colour == "gray" else rf"\b{colour}\b", re.IGNORECASE)
        texts = [prompt, *(word.sub(other, prompt) for other in _others(colour))]
        read = np.stack([self._encoder.text(text)[0] for text in texts]).astype(np.float64)
        if (read[1:] == read[0]).all(axis=1).any():
            raise NoValue(f"the model reads no difference between {colour!r} and other colours in the prompt")
        return read

    def feed(self, block: Block) -> None:
        features = block.features[self._stream]
        for vector in features.values.astype(np.float64):
            row = []
            for place, texts in enumerate(self._texts):
                own, *others = texts @ vector
                self._nearest[place] += others
                row.append(float(own - max(others)))
            self._margins.append(row)
        self._at.extend(features.frames)

    def score(self) -> Score:
        if not self._margins:
            raise NoValue("needs at least 1 frame")
        means = np.mean(self._margins, axis=0)
        least = int(means.argmin())
        colour, value = self._named[least], float(means[least])
        nearest = _others(colour)[int(self._nearest[least].argmax())]
        return self.METRIC.value(
            value,
            self._shot,
            self._encoder.window * len(self._margins),
            stream=self._stream,
            series=[row[least] for row in self._margins],
            at=self._at,
            note=f"{nearest} fits better than {colour}" if value < 0 else None,
        )


class KeyframeColourMargin(ColourMargin):
    """The same of a still, or of a clip's first frame."""

    METRIC = Metric("admint.keyframe_colour_margin", "clip_colour_margin_image@1", "proxy", (-2, 2))
    NEEDS = (Stream("clip", "hf.clip", "first"),)


def _others(colour: str) -> tuple[str, ...]:
    return tuple(term for term in TERMS if term != colour)
