"""The results of benches: which may stand in one table, how they are read, and each number with its conditions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.interfaces import Plain
from pipelines.errors import BadInput
from quality.protocols import AskedProtocol
from serving.scores.rows import Mean

RESULTS = "results.json"
"""In the folder of a model."""
SEED_RULE = "seed + k, mixed with the prompt"


class Conditions(Plain):
    """What two results must have in common to stand in one table."""

    prompts_sha256: str
    """Of the file of prompts."""
    prompts: int
    samples: int
    """Clips of each prompt."""
    prompt_extension: str
    """`off`, or the sha256 of the file of what the models were asked in place of the prompts."""
    start: str
    """`text`, or who draws the keyframe that a clip starts from."""
    steps: int
    guidance: float
    frames: int
    """1: a still."""
    fps: int | None
    width: int
    height: int
    seed: int
    seed_rule: str = SEED_RULE
    protocol: AskedProtocol


class Failure(Plain):
    """A clip that there is not."""

    prompt: str
    sample: int
    reason: str
    row: str
    """File of its row, from the folder of the model: without it, the clip is tried again."""


class Speed(Plain):
    """How long clips took, by the steps that made them, without the loading of models."""

    device: str
    """What the call that finished ran on."""
    device_seconds: float
    """Of one clip with its keyframe, on one device."""
    by_stage: dict[str, float]
    """The same by stage."""
    clips_a_minute: float
    """While at least one clip was at work."""
    at_once: float
    """How many were at work at once in the mean."""


class BenchResult(Plain):
    """What came of one model."""

    model: str
    fingerprint: str
    """Of its weights and description."""
    profile: str
    prompts_file: str
    conditions: Conditions
    wanted: int
    made: int
    failures: tuple[Failure, ...]
    speed: Speed | None
    """None: nothing was made."""
    means: tuple[Mean, ...]
    """Each metric over all clips."""
    not_in_vbench: tuple[str, ...]
    """Metrics of VBench that are not in its files, each with the reason."""
    warnings: tuple[str, ...]
    """What was done in another way than asked."""


def read_result(folder: Path) -> tuple[BenchResult, Path]:
    """The result in the folder of a model, or in that of a bench of one model, and that folder. Raises BadInput."""
    found = [folder / RESULTS] if (folder / RESULTS).exists() else sorted(folder.glob(f"*/{RESULTS}"))
    if len(found) != 1:
        several = f"{len(found)} results: name one of {', '.join(str(path.parent) for path in found)}"
        none = f"no {RESULTS}: give the folder of a model in the --out of an `admint bench` that was finished"
        raise BadInput(f"{str(folder)!r} has {several if found else none}")
    return _read(found[0]), found[0].parent


def read_results(out: Path) -> tuple[BenchResult, ...]:
    """All results in the folder of a bench, by name of the model."""
    return tuple(_read(path) for path in sorted(out.glob(f"*/{RESULTS}")))


def _read(path: Path) -> BenchResult:
    try:
        return BenchResult.model_validate_json(path.read_bytes())
    except ValidationError:
        raise BadInput(f"{str(path)!r} is no result of a bench: start the bench again, its clips are kept") from None


def differing(first: Conditions, second: Conditions) -> dict[str, tuple[Any, Any]]:
    """The conditions that two results do not share, by name."""
    both = first.model_dump(), second.model_dump()
    return {name: (both[0][name], both[1][name]) for name in both[0] if both[0][name] != both[1][name]}


def told_apart(differ: dict[str, tuple[Any, Any]]) -> str:
    """Differing conditions in words."""
    return "; ".join(f"{name}: {_short(first)} and {_short(second)}" for name, (first, second) in differ.items())


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def tables(results: Iterable[BenchResult]) -> list[list[BenchResult]]:
    """The results by table: those of one table share all conditions."""
    found: dict[Conditions, list[BenchResult]] = {}
    for result in results:
        found.setdefault(result.conditions, []).append(result)
    return list(found.values())


def flat(result: BenchResult) -> list[dict[str, Any]]:
    """A line for each number, with the conditions beside it."""
    beside = {"model": result.model, "prompts_file": result.prompts_file, "profile": result.profile}
    beside |= result.conditions.model_dump()
    lines: list[dict[str, Any]] = [
        {"metric": mean.metric_id, "value": mean.mean, "label": mean.label, "reason": mean.reason,
         "measured_by": mean.protocol, "files": mean.files}
        for mean in result.means
    ]  # fmt: skip
    speed = result.speed
    if speed is not None:
        files = {"files": result.made, "device": speed.device}
        lines += [{"metric": name, "value": getattr(speed, name), **files}
                  for name in ("clips_a_minute", "device_seconds", "at_once")]  # fmt: skip
    lines.append({"metric": "failures", "value": len(result.failures), "files": result.wanted})
    return [{**line, **beside} for line in lines]
