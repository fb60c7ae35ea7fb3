"""Finished ads, or arms of finished sweeps, as the arms of one table, so that they can be set side by side.

An ad is its output folder; an arm is `FOLDER:ARM` of a sweep. The first is what the others are compared with. Ads have
one pair each and so no interval; arms are paired where a story and a seed were run in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pipelines.errors import BadInput
from pipelines.lab.analysis import Answer, Question, analyse, columns, settings_of
from pipelines.lab.cache import ARTIFACTS
from pipelines.lab.report import Shown, strip
from pipelines.lab.runs import Run, Runs, RunScore, read_runs
from pipelines.store.artifacts import LocalArtifacts
from quality.paired import Setting
from quality.score import Score
from quality.summaries import dimension, lowest_fidelity, mixed_kinds

AD, TAKE_KINDS = "the ad", ("keyframe", "clip")
IDENTITY = ("seed", "prompt", "title")
"""Fields of a brief that are shown first among the settings that differ."""


@dataclass(frozen=True)
class Compared:
    """Several things as the arms of one table."""

    runs: Runs
    files: Mapping[str, Mapping[str, Path | bytes]]
    """By run id: its takes by name, as a path or as bytes."""

    @property
    def base(self) -> str:
        """The first one."""
        return str(self.runs.arms[0])

    def settings_that_differ(self) -> dict[str, dict[str, Setting]]:
        """By path, the value of each arm."""
        own = settings_of(self.runs)
        paths = sorted({path for settings in own.values() for path in settings}, key=_order)
        values = {path: {arm: settings.get(path) for arm, settings in own.items()} for path in paths}
        return {path: told for path, told in values.items() if len({repr(value) for value in told.values()}) > 1}

    def answers(self) -> tuple[Answer, ...]:
        """Every other arm against the first, in every outcome that both have; () where there is none."""
        measured = columns(self.runs)
        primary = next((name for name, one in measured.items() if self.base in one.arms), None)
        others: dict[str, Any] = dict.fromkeys(arm for arm in self.runs.arms if arm != self.base)
        if primary is None or not others:
            return ()
        return analyse(self.runs, (Question(name="side by side", base=self.base, arms=others, primary=primary),))

    def shown(self, folder: Path) -> dict[str, Shown]:
        """What the page shows, its clips written into `clips/` of `folder`. Raises StorageFailed."""
        from pipelines.store.artifacts import write_durably

        made = {}
        for run in self.runs:
            takes = {name: _bytes(file) for name, file in self.files.get(run.run_id, {}).items()}
            clips = []
            for name, data in takes.items():
                if name.endswith("/clip"):
                    clips.append(f"clips/{run.takes[name]}.mp4")
                    write_durably(folder / clips[-1], data)
            stills = strip([data for name, data in takes.items() if name.endswith("/keyframe")])
            made[run.run_id] = Shown(stills, tuple(clips))
        return made


def compared(names: Sequence[str]) -> Compared:
    """Ads and arms by name. Raises BadInput for one that is neither, for fewer than two, and for ads beside arms."""
    if len(names) < 2:
        raise BadInput("name two or more to compare: output folders of ads, or FOLDER:ARM of sweeps")
    if len(set(names)) < len(names):
        raise BadInput(f"{next(name for name in names if names.count(name) > 1)!r} is named twice: name each once")
    ads = [(Path(name) / "run.json").is_file() for name in names]
    if any(ads) and not all(ads):
        odd = names[ads.index(False)]
        raise BadInput(
            f"{odd!r} is no output folder of an ad, and {names[ads.index(True)]!r} is: compare like with like"
        )
    runs: list[Run] = []
    files: dict[str, Mapping[str, Path | bytes]] = {}
    for name in names:
        for run, takes in [_ad(name)] if all(ads) else _arm(name):
            runs.append(run)
            files[run.run_id] = takes
    return Compared(Runs(runs), files)


def _ad(name: str) -> tuple[Run, Mapping[str, Path | bytes]]:
    """A finished ad as the one run of an arm."""
    folder = Path(name)
    try:
        record = json.loads((folder / "run.json").read_bytes())
        scores = [Score.model_validate(one) for one in record["scores"]]
        chosen = {
            f"scene-{take['scene_number']}/{take['kind']}": take
            for take in sorted(record["takes"], key=lambda take: (take["scene_number"] or 0, take["current"]))
            if take["kind"] in TAKE_KINDS
        }
        files = {key: folder / record["files"][take["id"]] for key, take in chosen.items()}
        settings = {**_flat(record["brief"], ""), **_flat(record["recipe"], "recipe.")}
        run = Run(
            run_id=record["generation_id"],
            arm=name,
            story=AD,
            seed=0,
            settings=settings,
            takes={key: take["artifact"] for key, take in chosen.items()},
            scores=_means(scores),
            seconds=_seconds(record["timings"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{str(folder / 'run.json')!r} cannot be read as the record of an ad: {error}") from None
    return run, {key: path for key, path in files.items() if path.is_file()}


def _means(scores: Sequence[Score]) -> dict[str, RunScore]:
    """One number per dimension: of the whole ad where it was measured, else the mean over the scenes."""
    found = {}
    for name in dict.fromkeys(map(dimension, scores)):
        own = [one for one in scores if dimension(one) == name]
        wanted = [one for one in own if one.scene_number is None] or own
        valued = [one for one in wanted if one.raw is not None]
        if not valued or len(valued) < len(wanted) or mixed_kinds(valued) is not None:
            reason = mixed_kinds(valued) if valued and len(valued) == len(wanted) else None
            reason = reason or next((one.reason for one in wanted if one.reason), "not measured")
            found[name] = RunScore(impl_id=wanted[0].impl_id, reason=reason)
            continue
        value = fmean(one.raw for one in valued if one.raw is not None)
        label = lowest_fidelity(valued)
        found[name] = RunScore(value=value, impl_id=valued[0].impl_id, label=label, weights=valued[0].weights_sha256)
    return found


def _seconds(timings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for timing in timings:
        stage = str(timing["name"]).partition("/")[0]
        total[stage] = total.get(stage, 0.0) + float(timing["seconds"])
    return total


def _arm(name: str) -> list[tuple[Run, Mapping[str, Path | bytes]]]:
    """The runs of an arm of a sweep; what they are called is `name`."""
    place, _, arm = name.partition(":")
    if not arm:
        raise BadInput(f"{name!r} is no output folder of an ad: of a sweep, name an arm as {place}:ARM")
    folder = Path(place)
    runs = read_runs(folder)
    if arm not in runs.arms:
        raise BadInput(f"the sweep in {place!r} has no finished run of the arm {arm!r}: it has {', '.join(runs.arms)}")
    read = LocalArtifacts(folder / ARTIFACTS).read
    return [
        (
            run.model_copy(update={"arm": name, "run_id": f"{place}:{run.run_id}"}),
            {key: read(sha256) for key, sha256 in run.takes.items() if key.endswith(TAKE_KINDS)},
        )
        for run in runs
        if run.arm == arm
    ]


def _flat(value: Mapping[str, Any], start: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, one in value.items():
        flat |= _flat(one, f"{start}{key}.") if isinstance(one, dict) else {f"{start}{key}": one}
    return flat


def _order(path: str) -> tuple[bool, bool, str]:
    return path not in IDENTITY, path.startswith("recipe."), path


def _bytes(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()
