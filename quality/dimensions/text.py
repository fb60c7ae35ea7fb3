"""Words in the picture: can those that were asked for be read, are there nonsense ones, are they within the safe area.

Frames are read by OCR twice a second. A proxy: no better than its reader, and stricter than people, who also know what
to expect.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

from quality.asked import Box, Overlay
from quality.readers import Line, TextReader
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Sampler, Shot, Stream

SURE = 0.6
"""The reader's confidence from which a line counts as read."""
SAFE: Box = (0.05, 0.05, 0.95, 0.95)
"""Graphics safe area of EBU R 95: 5 % from each edge."""
VOWELS = "aeiouyäöüáàâãåæéèêëíìîïóòôõøœúùûý"
NO_VOWEL = 4
"""So many letters without a vowel between them do not look like a word; five do within one ("strengths")."""
WITHIN = 6


class _Read(ABC):
    """Frames twice a second, with the lines that the reader finds in them."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("ocr", "rgb", "never"),)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        (self._stream,) = self.NEEDS
        self._reader = cast(TextReader, shot.backbones[self._stream.backbone])
        self._sampler = Sampler("2fps", shot)
        self._values: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        for place in self._sampler.pick(block):
            if self._wants(block.times[place]):
                self._values.append(self._of(self._reader.lines(block.frames[place]), block.times[place]))
                self._at.append(block.first + place)

    def _wants(self, second: float) -> bool:
        return True

    @abstractmethod
    def _of(self, lines: Sequence[Line], second: float) -> float: ...

    def _whole(self, raw: float, note: str | None = None) -> Score:
        return self.METRIC.value(
            raw, self._shot, len(self._values), stream=self._stream, series=self._values, at=self._at, note=note
        )


class TextLegibility(_Read):
    """How well the overlay's words are read back at their worst moment, 0 to 1 (every letter). Needs overlays.

    1 - (edit distance) / (letters of the longer), of the words asked for and the lines nearest to them; of several
    overlays at once the worst. Case, spaces and punctuation do not count.
    """

    METRIC = Metric("admint.text_legibility", "ocr_edit_similarity@1", "proxy", (0, 1))

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        if not shot.asked.overlays:
            raise NoValue("needs the words that were to be read: no overlay was asked for")

    def _wants(self, second: float) -> bool:
        return bool(self._due(second))

    def _due(self, second: float) -> list[Overlay]:
        return [one for one in self._shot.asked.overlays if one.start <= second < one.end and letters(one.text)]

    def _of(self, lines: Sequence[Line], second: float) -> float:
        return min(read_back(one.text, lines) for one in self._due(second))

    def score(self) -> Score:
        if not self._values:
            raise NoValue("no frame that was looked at is within an overlay's time")
        return self._whole(min(self._values))


class Gibberish(_Read):
    """Largest share of a frame's area with text that is no words, 0 to 1. Overlays that were asked for are words.

    A line is none when the reader is not sure of it, or when more than half of its Latin letters are in what does not
    look like a word: four letters or more without a vowel, or six consonants in a row. So a brand like "BMW" is one.
    """

    METRIC = Metric("admint.gibberish", "ocr_gibberish@1", "proxy", (0, 1))

    def _of(self, lines: Sequence[Line], second: float) -> float:
        wanted = [one.text for one in self._shot.asked.overlays]
        return sum(
            _area(line.box)
            for line in lines
            if not is_readable(line) and max((similarity(line.text, text) for text in wanted), default=0.0) < SURE
        )

    def score(self) -> Score:
        if not self._values:
            raise NoValue("needs at least 1 frame")
        return self._whole(max(self._values))


class SafeZones(_Read):
    """Largest share of a frame's text, by area, outside the graphics safe area, 0 to 1. EBU R 95, 5 % on each side.

    The buttons of a video platform cover more than that. A clip without any text has no value.
    """

    METRIC = Metric("admint.ad.safe_zones", "ebu_r95_text@1", "proxy", (0, 1))

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        self._found = False

    def _of(self, lines: Sequence[Line], second: float) -> float:
        whole = sum(_area(line.box) for line in lines)
        self._found |= whole > 0
        return sum(_area(line.box) - _area(_within(line.box, SAFE)) for line in lines) / whole if whole else 0.0

    def score(self) -> Score:
        if not self._found:
            raise NoValue("no text was found")
        return self._whole(max(self._values))


def letters(text: str) -> str:
    """Letters and digits alone, in one case."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def similarity(one: str, other: str) -> float:
    """1 - edit distance / letters of the longer, 0 to 1; of letters and digits alone."""
    a, b = letters(one), letters(other)
    return 1 - edit_distance(a, b) / max(len(a), len(b)) if a or b else 1.0


def edit_distance(one: str, other: str) -> int:
    """Fewest letters to insert, delete or change (Levenshtein)."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(other, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (letter != wanted))
    return row[-1]


def read_back(text: str, lines: Sequence[Line]) -> float:
    """The best similarity of `text` to any run of neighbouring lines; 0 without lines."""
    runs = (
        " ".join(line.text for line in lines[start:end])
        for start in range(len(lines))
        for end in range(start + 1, len(lines) + 1)
    )
    return max((similarity(text, run) for run in runs), default=0.0)


def is_readable(line: Line) -> bool:
    """Whether a line is text that somebody could have meant."""
    if line.confidence < SURE:
        return False
    words = re.findall(r"[^\W\d_]+", line.text)
    latin = [word for word in words if all(ord(letter) < 0x250 for letter in word)]
    nonsense = sum(len(word) for word in latin if not _looks_like_a_word(word))
    return nonsense * 2 <= sum(len(word) for word in latin)


def _looks_like_a_word(word: str) -> bool:
    runs = re.split(f"[{VOWELS}]", word.casefold())
    return not (len(runs) == 1 and len(word) >= NO_VOWEL) and max(map(len, runs)) < WITHIN


def _area(box: Box) -> float:
    left, top, right, bottom = box
    return max(0.0, right - left) * max(0.0, bottom - top)


def _within(box: Box, bounds: Box) -> Box:
    return (max(box[0], bounds[0]), max(box[1], bounds[1]), min(box[2], bounds[2]), min(box[3], bounds[3]))
