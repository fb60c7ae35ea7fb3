"""Preference: which of two stills of a scene shows better what was asked for, by a vision chat model that sees both.

A judge that compares follows people better than the difference of two scores does, and it prefers a place: it is asked
in both orders, and where the two answers differ neither is preferred (Zheng et al., "Judging LLM-as-a-Judge with
MT-Bench and Chatbot Arena", arXiv 2306.05685, section 3.4).
"""

from __future__ import annotations

from typing import ClassVar, cast

from quality.readers import Questioner
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

QUESTION = 'The first picture is A, the second one is B. Which of them shows "{}" better? Please answer A or B.'
ANSWERS = ("A", "B")
MODEL = Stream("chat", "rgb", "never")


class Preference:
    """1: this still is preferred in both orders; 0: the other one is; 0.5: neither. Needs the prompt, another still of
    the scene and a vision chat model.

    Asked of all pairs of a scene's candidates, and of no file by itself: `rank: {preference: 1}` in a recipe.
    """

    METRIC: ClassVar[Metric] = Metric("admint.preference", "preference_both_orders@1", "proxy", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (MODEL,)

    def __init__(self, shot: Shot) -> None:
        if shot.against is None:
            raise NoValue("compares two stills of a scene: it is measured where candidates are ranked")
        if not shot.prompt:
            raise NoValue("needs the prompt that was to be shown")
        self._shot = shot
        self._other = shot.against
        self._question = QUESTION.format(shot.prompt)
        self._model = cast(Questioner, shot.backbones[MODEL.backbone])
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
        return self.METRIC.value(raw, self._shot, 2, stream=MODEL, note=note)
