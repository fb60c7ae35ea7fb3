"""What a file that is scored was asked to be, as people write it: the fields that every way to score takes.

The names are those of an ad's order where it has them.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from models.interfaces import Plain
from quality.asked import Asked, Overlay

_RATIO = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")
_TIMED = re.compile(r"(\d{1,4}(?:\.\d+)?)-(\d{1,4}(?:\.\d+)?)=(.*)", re.DOTALL)


def _ratio(text: str) -> str:
    if _RATIO.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no ratio: write width:height in whole numbers, such as 9:16")
    return text


def _overlay(text: str) -> str:
    read = overlay_of(text)
    if not any(letter.isalnum() for letter in read.text):
        raise ValueError(f"{text!r} has no letter to read: write the words, or 0.5-3=WORDS with their seconds")
    if read.start >= read.end:
        raise ValueError(f"{text!r} ends before it starts: write the earlier second first, as 0.5-3=WORDS")
    return text


def _lines(value: Any) -> Any:
    """A text's lines: a cell of a table, or a form's field, may hold several overlays."""
    return [line for line in map(str.strip, value.splitlines()) if line] if isinstance(value, str) else value


Overlays = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=500), AfterValidator(_overlay)], ...],
    Field(max_length=20),
    BeforeValidator(_lines),
]


class AskedFields(Plain):
    """What a file was asked to be, beside its prompt. What is left out is not measured."""

    style: Annotated[str, StringConstraints(max_length=500)] | None = None
    """The look, in words, such as `oil painting`: `appearance_style` needs it."""
    duration: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds that it was to have: `ad.duration` needs them."""
    aspect_ratio: Annotated[str, StringConstraints(max_length=9), AfterValidator(_ratio)] | None = None
    """Width to height that it was to have, such as `9:16` or `4:5`: `ad.ratio` needs it."""
    overlays: Overlays = ()
    """Words that were to be read in the picture, throughout or, as `0.5-3=WORDS`, from one second to another;
    at most 20. `text_legibility` needs them."""

    def as_asked(self) -> Asked:
        """The same as the dimensions read it."""
        wide, _, high = (self.aspect_ratio or "").partition(":")
        return Asked(
            seconds=self.duration,
            ratio=(int(wide), int(high)) if high else None,
            style=self.style,
            overlays=tuple(map(overlay_of, self.overlays)),
        )


def overlay_of(text: str) -> Overlay:
    """`0.5-3=WORDS` with its seconds; other words are there throughout."""
    if (timed := _TIMED.fullmatch(text)) is None:
        return Overlay(text, 0.0, math.inf)
    return Overlay(timed[3], float(timed[1]), float(timed[2]))
