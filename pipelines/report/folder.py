"""Writes the output folder of a run: video, thumbnail, every take, `run.json`, and last the report.

Every file appears under its name whole or not at all (temporary file, fsync, rename, fsync of the folder), so a report
that can be opened has everything that it names beside it. Writing again gives the same files.

    final.mp4  thumbnail.jpg  report.html  run.json
    references/reference-1.png                                    drawn references, when the recipe makes them
    scenes/scene-001/keyframe-1.png  keyframe-1.json  clip-1.mp4  clip-1.json    takes in the order they were made
    scenes/scene-001/clip-1.wav                                   what is heard with it, of models that make sound
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.coherence import ScenePlan
from pipelines.recipe import Transition
from pipelines.records import Take
from pipelines.report.curves import SEEK, SEEK_SOURCE, score_groups
from pipelines.report.record import RunRecord, StepTiming
from pipelines.screenplay import Scene
from pipelines.steps import Artifacts, TakeKind
from pipelines.store.artifacts import write_durably
from quality.score import Score

_SUFFIX: dict[TakeKind, str] = {"reference": ".png", "keyframe": ".png", "clip": ".mp4", "video": ".mp4"}


def write_report(folder: Path, record: RunRecord, artifacts: Artifacts) -> None:
    """Write everything that `record` names into `folder`, which is made when it is not there.

    Raises StorageFailed, one line, when the disk is full or not writable, and NotFound when an artifact is gone.
    Blocks: call it in a thread.
    """
    files = dict(take_files(record.takes))
    for path, take in files.items():
        write_durably(folder / path, artifacts.read(take.artifact))
        write_durably((folder / path).with_suffix(".json"), _json(take.model_dump(mode="json")))
        if take.provenance.get("audio"):
            write_durably((folder / path).with_suffix(".wav"), artifacts.read(take.provenance["audio"]))
    if record.final is not None:
        write_durably(folder / "final.mp4", artifacts.read(record.final.artifact))
        write_durably(folder / "thumbnail.jpg", artifacts.read(record.final.thumbnail))
    run = record.model_dump(mode="json")
    run["files"] = {take.id: path for path, take in files.items()}
    write_durably(folder / "run.json", _json(run))
    write_durably(folder / "report.html", render_page(record, artifacts).encode())


def take_files(takes: tuple[Take, ...]) -> Iterator[tuple[str, Take]]:
    """Path inside the output folder of every take that has a file of its own there (`final.mp4` is the video's)."""
    counted: Counter[tuple[int | None, str]] = Counter()
    for take in sorted(takes, key=lambda take: (take.created_at, take.id)):
        if take.kind == "video":
            continue
        counted[take.scene_number, take.kind] += 1
        place = "references" if take.scene_number is None else f"scenes/scene-{take.scene_number:03d}"
        number = counted[take.scene_number, take.kind]
        yield f"{place}/{take.kind}-{number}{_SUFFIX[take.kind]}", take


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


POLICY = f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src {SEEK_SOURCE}"
"""What the page may load and run: nothing that is not in it, and no script but one."""
SHEET_SIDE = 640
"""Longest side of a picture on the page, pixels."""


@dataclass(frozen=True)
class SceneCard:
    """One picture of the contact sheet with what is written under it."""

    scene: Scene
    seconds: float
    picture: str | None
    """Data URI."""
    plan: ScenePlan | None
    transition: Transition | None
    """To the next scene."""
    transition_score: float | None
    noise: dict[str, str]
    """Start noise hash by kind of take."""


@dataclass(frozen=True)
class StageTime:
    name: str
    seconds: float
    percent: float
    """Share of the longest stage."""
    steps: tuple[tuple[StepTiming, float], ...]
    """With the percentage on the same scale, so that the steps of a stage add up to its bar."""


def render_page(record: RunRecord, artifacts: Artifacts) -> str:
    """The report as one HTML page. Reads the current pictures and the video from `artifacts`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("pipelines.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = _clock
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    final = record.final
    return environment.get_template("report.html.j2").render(
        record=record,
        title=_title(record),
        video=final and _data_uri(artifacts.read(final.artifact), "video/mp4"),
        poster=final and _data_uri(artifacts.read(final.thumbnail), "image/jpeg"),
        references=[(item, _picture(artifacts.read(item.artifact))) for item in record.brief.references],
        drawn_references=[_picture(artifacts.read(artifact)) for artifact in _current(record, "reference", None)],
        cards=_cards(record, artifacts),
        score_groups=score_groups(record.scores, record.takes),
        seek=Markup(SEEK),  # noqa: S704  (a constant of ours)
        policy=POLICY,
        missing=_missing(record.scores),
        stages=_stages(record.timings),
        total_seconds=sum(timing.seconds for timing in record.timings),
        manifest=sorted(record.manifest.items()),
    )


def _title(record: RunRecord) -> str:
    return record.brief.title or (record.story.story.title if record.story else "") or "Untitled ad"


def _cards(record: RunRecord, artifacts: Artifacts) -> list[SceneCard]:
    if record.scenes is None:
        return []
    cohesion = record.scenes.cohesion
    pair_scores = {pair.from_scene: pair.transition_score for pair in cohesion.pair_wise_analysis} if cohesion else {}
    plans = {plan.scene_number: plan for plan in record.plans}
    scenes = record.scenes.scenes
    cards = []
    for index, scene in enumerate(scenes):
        number = scene.scene_number
        pictures = _current(record, "keyframe", number)
        cards.append(
            SceneCard(
                scene=scene,
                seconds=scene.frames / record.fps,
                picture=_picture(artifacts.read(pictures[-1])) if pictures else None,
                plan=plans.get(number),
                transition=record.transitions[index] if index < len(record.transitions) else None,
                transition_score=pair_scores.get(number),
                noise={
                    take.kind: take.provenance["noise_sha256"]
                    for take in record.takes
                    if take.scene_number == number and take.current and "noise_sha256" in take.provenance
                },
            )
        )
    return cards


def _current(record: RunRecord, kind: TakeKind, scene_number: int | None) -> list[str]:
    """Artifacts of the current takes; several only for references."""
    wanted = (take for take in record.takes if take.kind == kind and take.scene_number == scene_number)
    return [take.artifact for take in wanted if take.current]


def _stages(timings: tuple[StepTiming, ...]) -> list[StageTime]:
    by_stage: dict[str, list[StepTiming]] = {}
    for timing in timings:
        by_stage.setdefault(timing.name.partition("/")[0], []).append(timing)
    totals = {name: sum(timing.seconds for timing in group) for name, group in by_stage.items()}
    longest = max(totals.values(), default=0.0) or 1.0
    return [
        StageTime(
            name=name,
            seconds=totals[name],
            percent=100 * totals[name] / longest,
            steps=tuple((timing, 100 * timing.seconds / longest) for timing in group),
        )
        for name, group in by_stage.items()
    ]


def _missing(scores: Iterable[Score]) -> list[tuple[str, str]]:
    """Metric and reason, each once, however many scenes share it."""
    return list(dict.fromkeys((score.metric_id, score.reason) for score in scores if score.reason is not None))


def _picture(data: bytes) -> str:
    """A small JPEG of a stored picture: full-size PNGs would make the page tens of megabytes."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((SHEET_SIDE, SHEET_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
