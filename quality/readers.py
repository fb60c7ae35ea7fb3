"""Models that answer in words or probabilities and not in features: what a dimension asks of them itself.

A dimension names one as `Stream("ocr", "rgb", "never")`: nothing is taken for it from the frames, and it is found in
`Shot.backbones` under that name, with the provenance that every score gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from quality.asked import Box
from quality.stream import Array, Model, Pixels


class Line(NamedTuple):
    """A line of text that was found in a picture."""

    text: str
    box: Box
    confidence: float
    """The reader's own, 0 to 1."""


class TextReader(Model, Protocol):
    """Reads the text in pictures."""

    def lines(self, frame: Pixels) -> tuple[Line, ...]:
        """The lines of text in `frame`, in reading order. Several dimensions ask for the same frame in turn."""
        ...


class SpeechDetector(Model, Protocol):
    """Hears whether somebody speaks."""

    def speech(self, pieces: Iterable[Array]) -> Array:
        """Probability of speech in each 512 samples of a sound, shape (windows,), the last ones filled up with silence.

        `pieces` are the sound in order, as `Shot.voice` gives it, taken as they are needed.
        """
        ...


class Questioner(Model, Protocol):
    """A vision chat model that is asked questions whose answer is one of two words."""

    def first_of(self, frames: Sequence[Pixels], question: str, answers: tuple[str, str]) -> float | None:
        """P(first) / (P(first) + P(second)) of `answers` as the first word of its answer, having seen `frames`.

        None where it gives neither word a probability.
        """
        ...

    def yes(self, frames: Sequence[Pixels], question: str) -> float | None:
        """`first_of` yes and no."""
        ...
