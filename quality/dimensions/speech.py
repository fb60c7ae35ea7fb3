"""Speech in the sound track: for which share of a film somebody speaks, and when first.

A network says of every 32 ms how likely somebody speaks (`quality.readers.SpeechDetector`). An utterance begins at
START, goes on down to GOES_ON and through pauses shorter than PAUSE, and lasts SHORTEST at least: the values that the
network's authors take. Song counts where it is like speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, cast

import numpy as np

from quality.readers import SpeechDetector
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

START, GOES_ON = 0.5, 0.35
"""Probabilities."""
WINDOW = 512 / 16_000
PAUSE, SHORTEST = 0.1, 0.25
"""Seconds."""
VOICE = Stream("silero_vad", "mono16k", "never")


class Utterance(NamedTuple):
    """A stretch in which somebody speaks."""

    begin: float
    """Seconds from the first frame."""
    end: float


def utterances(likely: Sequence[float]) -> tuple[Utterance, ...]:
    """What is said, by the probability of speech in each WINDOW."""
    found: list[tuple[int, int]] = []
    begin, end = None, 0
    for number, probability in enumerate(likely):
        if begin is None and probability >= START:
            begin, end = number, number + 1
        elif begin is not None and probability >= GOES_ON:
            end = number + 1
        elif begin is not None and (number + 1 - end) * WINDOW >= PAUSE:
            found.append((begin, end))
            begin = None
    if begin is not None:
        found.append((begin, end))
    return tuple(Utterance(a * WINDOW, b * WINDOW) for a, b in found if (b - a) * WINDOW >= SHORTEST)


class _Spoken:
    """Hears the sound track, once for both dimensions, and counts the frames."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = (VOICE,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._times: list[float] = []
        self._said: tuple[Utterance, ...] = shot.once("utterances", self._heard)

    def feed(self, block: Block) -> None:
        self._times += block.times

    def _heard(self) -> tuple[Utterance, ...]:
        detector = cast(SpeechDetector, self._shot.backbones[VOICE.backbone])
        likely = detector.speech(self._shot.voice()) if self._shot.voice is not None else ()
        if not len(likely):
            raise NoValue("it has no sound track")
        if not np.isfinite(likely).all():
            raise NoValue(f"not finite: {(~np.isfinite(likely)).sum()} of {len(likely)} windows")
        return utterances(np.asarray(likely).tolist())

    def _seconds(self) -> float:
        """Length of the film, its last frame included."""
        if not self._times:
            raise NoValue("needs at least 1 frame")
        return self._times[-1] + 1 / self._shot.rate()


class Speech(_Spoken):
    """Share of the film in which somebody speaks, 0 to 1: the mean over equal parts of about a second."""

    METRIC = Metric("admint.ad.speech", "speech@1", "proxy", (0, 1), cpu_seconds=0.02)

    def score(self) -> Score:
        seconds = self._seconds()
        edges = np.linspace(0, seconds, max(1, round(seconds)) + 1)
        shares = [
            min(1.0, sum(max(0.0, min(b, said.end) - max(a, said.begin)) for said in self._said) / (b - a))
            for a, b in pairwise(edges.tolist())
        ]
        frames = len(self._times)
        at = np.searchsorted(self._times, edges[:-1] - 1e-6).clip(0, frames - 1).tolist()
        return self.METRIC.value(
            float(np.mean(shares)), self._shot, frames, stream=VOICE, series=shares, at=at, note=_note(self._said)
        )


class FirstSpeech(_Spoken):
    """Second at which somebody first speaks, from 0. Without speech there is none."""

    METRIC = Metric("admint.ad.first_speech", "first_speech@1", "proxy", (0, None), cpu_seconds=0.02)

    def score(self) -> Score:
        seconds = self._seconds()
        first = next((said.begin for said in self._said if said.begin < seconds), None)
        if first is None:
            raise NoValue("nobody speaks in it")
        return self.METRIC.value(first, self._shot, len(self._times), stream=VOICE)


def _note(said: Sequence[Utterance]) -> str | None:
    """The first utterances by their seconds."""
    if not said:
        return None
    named = ", ".join(f"{each.begin:.1f} to {each.end:.1f} s" for each in said[:5])
    return f"somebody speaks from {named}{f' and {len(said) - 5} times more' if len(said) > 5 else ''}"
