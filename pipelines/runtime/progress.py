"""How far a generation is, in percent: each stage has its share, which the scenes it draws or films fill up.

An agent stage cannot know how many rounds it will take, so its share fills at once when it ends. Pure counting.
"""

from __future__ import annotations

from pipelines.recipe import Recipe, StageName
from pipelines.stages.registry import Stage, wanted_stages
from pipelines.steps import Step


def stage_shares(recipe: Recipe, given: frozenset[str]) -> dict[StageName, tuple[int, int]]:
    """Percent at which each stage that runs begins and ends."""
    todo = wanted_stages(recipe, given)
    total = sum(stage.weight for stage in todo)
    shares: dict[StageName, tuple[int, int]] = {}
    before = 0
    for stage in todo:
        shares[stage.name] = (round(100 * before / total), round(100 * (before + stage.weight) / total))
        before += stage.weight
    return shares


class StageProgress:
    """Progress of the running stage; its percent never falls."""

    def __init__(self, stage: Stage, share: tuple[int, int], scenes: int) -> None:
        self.stage = stage.name
        self._begin, self._end = share
        self._scenes = scenes
        self._done: dict[str, float] = {}
        self._ended = False

    def move(self, step: Step, fraction: float) -> None:
        """A step has come to `fraction` (0..1); only the steps that are one scene of the stage count."""
        if step.scene_number is not None and step.name == f"{self.stage}/scene-{step.scene_number:03d}":
            self._done[step.name] = max(fraction, self._done.get(step.name, 0.0))

    def end(self) -> None:
        self._ended = True

    @property
    def percent(self) -> int:
        if self._ended:
            return self._end
        share = min(1.0, sum(self._done.values()) / self._scenes)
        return int(self._begin + (self._end - self._begin) * share)
