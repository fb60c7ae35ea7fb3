"""The outcomes of a run: scores of its takes, as one number for all scenes and as that of the worst scene.

An outcome that is no dimension of the product is handed over as an `ExtraOutcome` and stands beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipelines.lab.runs import RunScore
from pipelines.lab.spec import Outcome
from pipelines.lab.suite import Story
from quality.registry import DIMENSIONS, UNAVAILABLE
from quality.score import Fidelity, Medium, NoValue, Score
from quality.summaries import dimension, lowest_fidelity, mixed_kinds

WORST = ".worst"
"""What the id of an outcome ends with when it is that of the worst scene."""


@dataclass(frozen=True)
class TakenRun:
    """A run that was made, as an outcome of one's own sees it."""

    arm: str
    story: Story
    seed: int
    takes: Mapping[str, str]
    """sha256 by name: `scene-1/keyframe`, `scene-1/clip`, `video`."""
    read: Callable[[str], bytes]
    """The bytes of an artifact by its sha256."""


@dataclass(frozen=True)
class ExtraOutcome:
    """An outcome that is no dimension of the product.

    For several processes `measure` must be a function of a module, or an object of one's class that can be pickled.
    """

    impl_id: str
    """What measures it, with its version: another version is another run."""
    label: Fidelity
    measure: Callable[[TakenRun], float]
    """Raises NoValue with the reason when there is no value."""


def outcome_scores(asked: Sequence[Outcome], scores: Sequence[Score], takes: Mapping[str, str]) -> dict[str, RunScore]:
    """Every outcome of a run by its id, from the scores of its takes and of the ad as a whole.

    What was measured beside the asked dimensions because one of them must not stand alone is there too.
    """
    wanted = {outcome.name: outcome for outcome in asked}
    found: dict[str, RunScore] = {}
    for name in dict.fromkeys([*wanted, *map(dimension, scores)]):
        own = [score for score in scores if dimension(score) == name]
        if not own or (name in UNAVAILABLE and name not in wanted):
            continue
        outcome = wanted.get(name) or Outcome(name=name)
        whole = [score for score in own if score.scene_number is None]
        of_scenes = [score for score in own if score.scene_number is not None]
        medium = outcome.medium or _last_medium(name, own)
        if medium == "video" or not of_scenes:
            found[name] = _one(whole[0]) if whole else _none(own, f"{name} was not measured on the video")
            continue
        other = {sha256 for take, sha256 in takes.items() if not take.endswith(f"/{medium}")}
        measured = [score for score in of_scenes if score.source_sha256 not in other]
        pick = min if outcome.better == "higher" else max
        found[name] = _over_scenes(measured or of_scenes, fmean)
        found[name + WORST] = _over_scenes(measured or of_scenes, pick)
    return found


def extra_scores(extra: Mapping[str, ExtraOutcome], run: TakenRun) -> dict[str, RunScore]:
    """The outcomes of one's own, by id."""
    found = {}
    for name, outcome in extra.items():
        try:
            value = float(outcome.measure(run))
            found[name] = RunScore(value=value, impl_id=outcome.impl_id, label=outcome.label)
        except NoValue as error:
            found[name] = RunScore(impl_id=outcome.impl_id, reason=str(error))
    return found


def _last_medium(name: str, scores: Sequence[Score]) -> Medium:
    """The last thing that a dimension was measured on: the video, else the clips, else the stills."""
    media = DIMENSIONS[name].media if name in DIMENSIONS else ("clip",)
    if "video" in media and any(score.scene_number is None for score in scores):
        return "video"
    filmed = len([score for score in scores if score.scene_number is not None])
    scenes = len({score.scene_number for score in scores if score.scene_number is not None})
    return "clip" if "clip" in media and (filmed > scenes or "keyframe" not in media) else "keyframe"


def _over_scenes(scores: Sequence[Score], reduce: Callable[[Sequence[float]], float]) -> RunScore:
    """One number for scenes that were all measured in the same way; else the reason why there is none."""
    unmeasured = next((score for score in scores if score.raw is None), None)
    if unmeasured is not None:
        return _none([unmeasured], f"scene {unmeasured.scene_number}: {unmeasured.reason}")
    if (mixed := mixed_kinds(scores)) is not None:
        return _none(scores, mixed)
    value = reduce([score.raw for score in scores if score.raw is not None])
    label = lowest_fidelity(scores)
    return RunScore(value=value, impl_id=scores[0].impl_id, label=label, weights=scores[0].weights_sha256)


def _one(score: Score) -> RunScore:
    if score.raw is None:
        return _none([score], score.reason or "")
    return RunScore(value=score.raw, impl_id=score.impl_id, label=score.fidelity, weights=score.weights_sha256)


def _none(scores: Sequence[Score], reason: str) -> RunScore:
    return RunScore(impl_id=scores[0].impl_id, weights=scores[0].weights_sha256, reason=reason)
