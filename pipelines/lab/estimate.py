"""What a sweep has still to do, and how long that takes by the steps that were measured."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from pipelines.lab.cache import StepRecord, cost_class, load_step
from pipelines.steps import Step

OUTLIER = 3.0


@dataclass
class StageWork:
    """The steps of one stage."""

    cached: int = 0
    todo: int = 0
    seconds: float = 0.0
    """Of those to do, as far as they are known."""
    unknown: int = 0
    """Steps to do of a kind that was not measured yet."""


@dataclass
class Estimate:
    """What a sweep has still to do."""

    runs: int
    finished: int
    jobs: int = 1
    stages: dict[str, StageWork] = field(default_factory=dict)
    loading: float = 0.0
    """Seconds in which a process loads the models that it needs."""
    unplanned: int = 0
    """Runs in which an agent decides what follows, so that their steps are not known."""

    @property
    def unknown(self) -> int:
        """Steps to do of kinds that were not measured yet."""
        return sum(work.unknown for work in self.stages.values())

    @property
    def seconds(self) -> float | None:
        """How long it takes; None while something of it is unknown."""
        if self.unknown or self.unplanned:
            return None
        work = sum(stage.seconds for stage in self.stages.values())
        return work / self.jobs + self.loading if work else 0.0


class StepTimes:
    """How long steps take, by what was measured."""

    def __init__(self, records: Iterable[StepRecord]) -> None:
        by_class: dict[str, list[float]] = defaultdict(list)
        for record in records:
            by_class[record.cost].append(record.seconds)
        self._typical = {cost: _usual(seconds) for cost, seconds in by_class.items()}
        self._alike: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for cost, seconds in self._typical.items():
            told = json.loads(cost)
            self._alike[_kind(told)].append((_work(told), seconds))

    def of(self, step: Step) -> float | None:
        """Seconds of a step: what is usual in its class, else by its denoising steps, pixels and frames from other
        classes of the same model; None where nothing like it was measured."""
        cost = cost_class(step)
        if cost in self._typical:
            return self._typical[cost]
        told = json.loads(cost)
        return _scaled(_work(told), self._alike.get(_kind(told), []))

    def loading(self, what: str) -> float | None:
        """Seconds in which a model was loaded; None: not measured."""
        return self._typical.get(cost_class(load_step(what)))


def count(
    estimate: Estimate, planned: Mapping[str, Step], cached: Iterable[StepRecord], seen: set[str], times: StepTimes
) -> None:
    """Add the steps of one run to `estimate`; those in `seen` (keys) were counted with an earlier run."""
    for record in cached:
        if record.key not in seen:
            seen.add(record.key)
            _stage(estimate, record.step).cached += 1
    for key, step in planned.items():
        if key in seen:
            continue
        seen.add(key)
        work, seconds = _stage(estimate, step.name), times.of(step)
        work.todo += 1
        if seconds is None:
            work.unknown += 1
        else:
            work.seconds += seconds


def _stage(estimate: Estimate, step: str) -> StageWork:
    return estimate.stages.setdefault(step.partition("/")[0], StageWork())


def _usual(seconds: Sequence[float]) -> float:
    """The mean, in which no step counts for more than OUTLIER medians.

    A sum of steps follows the mean: a median leaves out what many of them wait for on a busy machine, and one that was
    stopped for minutes would say too much in a plain mean.
    """
    most = OUTLIER * median(seconds)
    return fmean(min(each, most) for each in seconds)


def _kind(told: dict[str, Any]) -> str:
    return json.dumps([told["step"], told.get("model"), told.get("dimensions"), "request" in told])


def _work(told: dict[str, Any]) -> float:
    """Denoising steps times pixels times frames; twice that with guidance, which asks the model twice."""
    request = told.get("request")
    if request is None:
        return 1.0
    passes = 2 if request.get("guidance_scale", 1) > 1 else 1
    pixels = request.get("width", 1) * request.get("height", 1)
    return float(request.get("num_inference_steps", 1) * passes * pixels * request.get("num_frames", 1))


def _scaled(work: float, alike: list[tuple[float, float]]) -> float | None:
    """Seconds of `work` on the line through what was measured, or in proportion where only one amount was."""
    if not alike:
        return None
    amounts, seconds = np.array(alike).T
    if len(set(amounts)) > 1:
        slope, start = np.polyfit(amounts, seconds, 1)
        return float(max(seconds.min() * work / max(amounts.max(), work), start + slope * work))
    return float(seconds.mean() * work / amounts[0])
