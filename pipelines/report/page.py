"""The report: one HTML page with everything inside it, without scripts, readable on paper and on a phone.

The template (`report.html.j2`) escapes every text; here only what it needs is looked up and measured. The time chart is
plain HTML bars: plotly's inline script alone would add 4.8 MB to every report.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.coherence import ScenePlan
from pipelines.recipe import Transition
from pipelines.report.record import RunRecord, StepTiming
from pipelines.steps import Artifacts, TakeKind
from pipelines.story import Scene
from quality.score import Score

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
    """Of the longest stage."""
    steps: tuple[tuple[StepTiming, float], ...]
    """With the percentage on the same scale, so that the steps of a stage add up to its bar."""


def render_page(record: RunRecord, artifacts: Artifacts) -> str:
    """The whole page. Reads the current pictures and the video from `artifacts`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

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
        measured=[score for score in record.scores if score.raw is not None],
        missing=_missing(record.scores),
        stages=_stages(record.timings),
        total_seconds=sum(timing.seconds for timing in record.timings),
        manifest=sorted(record.manifest.items()),
    )


def _title(record: RunRecord) -> str:
    return record.brief.title or (record.story.story.title if record.story else "") or "Untitled ad"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _picture(data: bytes) -> str:
    """A small JPEG of a stored picture: full-size PNGs would make the page tens of megabytes."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((SHEET_SIDE, SHEET_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _current(record: RunRecord, kind: TakeKind, scene_number: int | None) -> list[str]:
    """Artifacts of the current takes; several only for references."""
    wanted = (take for take in record.takes if take.kind == kind and take.scene_number == scene_number)
    return [take.artifact for take in wanted if take.current]


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


def _missing(scores: Iterable[Score]) -> list[tuple[str, str]]:
    """Metric and reason, each once, however many scenes share it."""
    return list(dict.fromkeys((score.metric_id, score.reason) for score in scores if score.reason is not None))


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
