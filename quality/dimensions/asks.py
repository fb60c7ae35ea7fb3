"""Questions to a vision chat model about what the pictures show: VQAScore, and facts beside their decoys.

`vqascore.text` (Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text Generation", arXiv 2404.01291):
P(yes) / (P(yes) + P(no)) for the paper's question about the prompt, from the probabilities of the answer's first word,
mean over 8 frames, each asked alone. `like`: the formula is the paper's, the model is the profile's.

`admint.asks.*`: vision models say yes too easily, so a fact counts only when its P(yes) beats that of the same fact
with one thing changed (`quality.asked.Fact.decoy`): another colour, object, number. Each pair is asked of all 8 frames
together; the score is the share of the facts of its kind that win. Two answers alike are half a win.

`admint.preference`: which of two stills of a scene shows better what was asked for. A judge that compares follows
people better than the difference of two scores does, and it prefers a place: it is asked in both orders, and where the
two answers differ neither is preferred (Zheng et al., arXiv 2306.05685, section 3.4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np

from quality.asked import Fact, FactKind
from quality.readers import Questioner
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Sampler, Shot, Stream

FRAMES = 8
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
SEVERAL = 'These are frames of one video, in order. Is this true of the video: "{}"? Please answer yes or no.'
BETTER = 'The first picture is A, the second one is B. Which of them shows "{}" better? Please answer A or B.'
ANSWERS = ("A", "B")
ALIKE = 1e-6


class _Asked(ABC):
    """The middle frames of 8 equal parts of the clip: all that is kept of it."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("chat", "rgb", "never"),)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        (self._stream,) = self.NEEDS
        self._model = cast(Questioner, shot.backbones[self._stream.backbone])
        self._sampler = Sampler(f"middle{FRAMES}", shot)
        self._numbers: list[int] = []

    def feed(self, block: Block) -> None:
        for place in self._sampler.pick(block):
            if block.first + place not in self._numbers:  # a clip shorter than 8 frames is asked about each once
                self._numbers.append(block.first + place)
                self._take(block.frames[place])

    @abstractmethod
    def _take(self, frame: Pixels) -> None: ...

    def _yes(self, frames: Sequence[Pixels], question: str) -> float:
        share = self._model.yes(frames, question)
        if share is None:
            raise NoValue(f"{self._model.name} gives no probability to yes or no as the first word of an answer")
        return share

    def _seen(self) -> int:
        if not self._numbers:
            raise NoValue("needs at least 1 frame")
        return len(self._numbers)


class VqaScore(_Asked):
    """P(yes) that the frames show the prompt, 0 to 1. Needs the prompt and a vision chat model."""

    METRIC = Metric("vqascore.text", "vqascore@1", "like", (0, 1), questions="8 questions, of a frame each")

    def __init__(self, shot: Shot) -> None:
        if not shot.prompt:
            raise NoValue("needs the prompt that was to be shown")
        super().__init__(shot)
        self._question = QUESTION.format(shot.prompt)
        self._values: list[float] = []

    def _take(self, frame: Pixels) -> None:
        self._values.append(self._yes((frame,), self._question))

    def score(self) -> Score:
        frames = self._seen()
        mean = float(np.mean(self._values))
        return self.METRIC.value(mean, self._shot, frames, stream=self._stream, series=self._values, at=self._numbers)


class _Facts(_Asked):
    """The share of the facts of one kind that beat their decoys, 0 to 1. Needs such facts and a vision chat model."""

    KIND: ClassVar[FactKind]

    def __init__(self, shot: Shot) -> None:
        self._facts = [fact for fact in shot.asked.facts if fact.kind == self.KIND]
        if not self._facts:
            raise NoValue(f"nothing was asked for that is a fact of the kind {self.KIND!r}")
        super().__init__(shot)
        self._frames: list[Pixels] = []

    def _take(self, frame: Pixels) -> None:
        self._frames.append(frame.copy())

    def score(self) -> Score:
        frames = self._seen()
        wins = [self._wins(fact) for fact in self._facts]
        lost = [fact.text for fact, win in zip(self._facts, wins, strict=True) if win < 1]
        return self.METRIC.value(
            float(np.mean(wins)),
            self._shot,
            frames,
            stream=self._stream,
            note=f"not seen: {'; '.join(lost)}" if lost else None,
        )

    def _wins(self, fact: Fact) -> float:
        shown, decoy = (self._yes(self._frames, SEVERAL.format(text)) for text in (fact.text, fact.decoy))
        return 0.5 if abs(shown - decoy) <= ALIKE else float(shown > decoy)


def _metric(kind: FactKind) -> Metric:
    return Metric(
        f"admint.asks.{kind}", "asks_decoy@1", "proxy", (0, 1), questions="2 questions a fact, of 8 frames together"
    )


class AsksObject(_Facts):
    """Things that are to be there."""

    METRIC, KIND = _metric("object"), "object"


class AsksCount(_Facts):
    """How many there are."""

    METRIC, KIND = _metric("count"), "count"


class AsksColor(_Facts):
    """Which colour they have."""

    METRIC, KIND = _metric("color"), "color"


class AsksSpatial(_Facts):
    """Where they are to one another."""

    METRIC, KIND = _metric("spatial"), "spatial"


class AsksScene(_Facts):
    """Where it plays."""

    METRIC, KIND = _metric("scene"), "scene"


class AsksAction(_Facts):
    """What happens."""

    METRIC, KIND = _metric("action"), "action"


class Preference:
    """1: this still is preferred in both orders; 0: the other one is; 0.5: neither. Needs the prompt, another still of
    the scene and a vision chat model.

    Asked of all pairs of a scene's candidates, and of no file by itself: `rank: {preference: 1}` in a recipe.
    """

    METRIC: ClassVar[Metric] = Metric(
        "admint.preference", "preference_both_orders@1", "proxy", (0, 1), questions="2 questions a pair of stills"
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("chat", "rgb", "never"),)

    def __init__(self, shot: Shot) -> None:
        if shot.against is None:
            raise NoValue("compares two stills of a scene: it is measured where candidates are ranked")
        if not shot.prompt:
            raise NoValue("needs the prompt that was to be shown")
        self._shot = shot
        self._other = shot.against
        self._question = BETTER.format(shot.prompt)
        self._model = cast(Questioner, shot.backbones[self.NEEDS[0].backbone])
        self._shares: tuple[float, float] | None = None

    def feed(self, block: Block) -> None:
        if self._shares is None:
            own = block.frames[0]
            orders = ((own, self._other), (self._other, own))
            asked = [self._model.first_of(pair, self._question, ANSWERS) for pair in orders]
            first, second = asked
            if first is None or second is None:
                raise NoValue(f"{self._model.name} gives no probability to A or B as the first word of an answer")
            self._shares = (first, 1 - second)

    def score(self) -> Score:
        if self._shares is None:
            raise NoValue("needs at least 1 frame")
        shown_first, shown_second = self._shares
        verdicts = {(share > 0.5) - (share < 0.5) for share in self._shares}
        raw = 0.5 + 0.5 * verdicts.pop() if len(verdicts) == 1 else 0.5
        note = f"its share of the odds: {shown_first:.4f} as picture A, {shown_second:.4f} as picture B"
        return self.METRIC.value(raw, self._shot, 2, stream=self.NEEDS[0], note=note)
