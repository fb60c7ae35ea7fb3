"""The page of a sweep: one HTML file with what was found, plots, pictures and the command that repeats each run.

Nothing on it comes from elsewhere: its script, styles and thumbnails are inside. Clips are files beside it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipelines.lab.analysis import SECONDS, Answer, columns, direction, sentence, settings_of, signed
from pipelines.lab.cache import ARTIFACTS
from pipelines.lab.runs import Run, Runs
from pipelines.store.artifacts import LocalArtifacts, write_durably
from quality.paired import Better, Effect, Outcome

PAGE = "report.html"
TAKES = ("keyframe", "clip")
THUMBNAIL = 72
"""Height in pixels of a thumbnail: a run's stills side by side, 1 to 3 kB as WebP a picture."""


@dataclass(frozen=True)
class Shown:
    """What the page shows of one run."""

    strip: bytes | None = None
    """Its stills side by side, as WebP."""
    clips: tuple[str, ...] = ()
    """Its clips in order, as paths relative to the page."""
    command: str = ""
    """The command that makes it again."""


def write_page(
    folder: Path,
    runs: Runs,
    answers: Sequence[Answer],
    *,
    title: str,
    command: Callable[[Run], str],
    better: Mapping[str, Better] | None = None,
    meanings: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html` into the folder of a sweep, and its clips into `clips/` beside it. Raises StorageFailed.

    `command` gives the command that makes a run again.
    """
    artifacts = LocalArtifacts(folder / ARTIFACTS)
    shown = {run.run_id: _shown(folder, run, artifacts, command(run)) for run in runs}
    page = render(title, runs, answers, shown, better=better, meanings=meanings)
    write_durably(folder / PAGE, page.encode())
    return folder / PAGE


def _shown(folder: Path, run: Run, artifacts: LocalArtifacts, command: str) -> Shown:
    made = {kind: [sha256 for name, sha256 in run.takes.items() if name.endswith(f"/{kind}")] for kind in TAKES}
    clips = []
    for sha256 in made["clip"]:
        clips.append(f"clips/{sha256}.mp4")
        if not (folder / clips[-1]).exists():
            write_durably(folder / clips[-1], artifacts.read(sha256))
    return Shown(strip([artifacts.read(sha256) for sha256 in made["keyframe"]]), tuple(clips), command)


def strip(stills: Sequence[bytes], height: int = THUMBNAIL) -> bytes | None:
    """Pictures side by side at one height, as WebP; None without any. Raises OSError for bytes that are no picture."""
    import io

    from PIL import Image

    if not stills:
        return None
    small = []
    for still in stills:
        with Image.open(io.BytesIO(still)) as picture:
            small.append(picture.convert("RGB").resize((round(picture.width * height / picture.height), height)))
    whole = Image.new("RGB", (sum(one.width for one in small) + 2 * (len(small) - 1), height), "white")
    left = 0
    for one in small:
        whole.paste(one, (left, 0))
        left += one.width + 2
    buffer = io.BytesIO()
    whole.save(buffer, "WEBP", quality=72, method=4)
    return buffer.getvalue()


def render(
    title: str,
    runs: Runs,
    answers: Sequence[Answer],
    shown: Mapping[str, Shown],
    *,
    better: Mapping[str, Better] | None = None,
    meanings: Mapping[str, str] | None = None,
) -> str:
    """The page as text. `shown` is by run id; `meanings` says what outcomes of one's own are."""
    from jinja2 import Environment, select_autoescape

    page = files(__package__) / "page"
    template = Environment(
        autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True
    ).from_string((page / "report.html.j2").read_text())
    return template.render(
        title=title,
        facts=_facts(runs),
        answers=answers,
        sentence=sentence,
        signed=signed,
        css=(page / "report.css").read_text(),
        script=(page / "report.js").read_text(),
        data=_embedded(_data(runs, answers, shown, better, meanings or {})),
    )


def _embedded(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _facts(runs: Runs) -> list[str]:
    failed = sum(run.failed is not None for run in runs)
    stories, seeds = ({getattr(run, name) for run in runs} for name in ("story", "seed"))
    counted = {
        "run": len(runs),
        "arm": len(runs.arms),
        "story": len(stories),
        "seed": len(seeds),
        "outcome": len(columns(runs)),
    }
    facts = [f"{count} {name if count == 1 else 'stories' if name == 'story' else name + 's'}"
             for name, count in counted.items()]  # fmt: skip
    facts += [f"{failed} failed"] if failed else []
    facts += [f"{runs.missing} not finished"] if runs.missing else []
    return facts


def _data(
    runs: Runs,
    answers: Sequence[Answer],
    shown: Mapping[str, Shown],
    better: Mapping[str, Better] | None,
    meanings: Mapping[str, str],
) -> dict[str, Any]:
    found = columns(runs, better)
    names = list(found)
    labels = {
        name: {score.label for run in runs if (score := run.scores.get(name)) and score.label} for name in runs.outcomes
    }
    return {
        "outcomes": [
            {
                "id": name,
                "better": direction(name, better),
                "means": meanings.get(name, ""),
                "by": ", ".join(runs.implementations(name)) if name in runs.outcomes else "",
                "labels": sorted(labels.get(name, ())),
            }
            for name in names
        ],
        "arms": [{"id": arm, "settings": settings} for arm, settings in settings_of(runs).items()],
        "questions": [_question(answer) for answer in answers],
        "runs": [_run(run, found, shown.get(run.run_id, Shown())) for run in runs],
        "seconds": SECONDS,
    }


def _question(answer: Answer) -> dict[str, Any]:
    question = answer.question
    return {
        "name": question.name,
        "base": question.base,
        "arms": [question.base, *question.arms],
        "primary": question.primary,
        "guards": {name: question.guard(name)[0] for name in question.guards if not question.guard(name)[1]},
        "findings": [
            [
                one.arm, one.outcome, _short(one.compared.difference.mean), _short(one.compared.difference.low),
                _short(one.compared.difference.high), _short(one.compared.holm), _short(one.compared.difference.d_z),
                _short(one.compared.difference.improved), one.compared.difference.pairs, one.word,
            ]
            for one in answer.findings
        ],
        "marginals": {
            outcome: {path: [_effect(effect) for effect in effects] for path, effects in paths.items()}
            for outcome, paths in answer.marginals.items()
        },
    }  # fmt: skip


def _effect(effect: Effect) -> list[Any]:
    found = effect.difference
    return [effect.levels[0][1], _short(found.mean), _short(found.low), _short(found.high)]


def _run(run: Run, found: Mapping[str, Outcome], shown: Shown) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "arm": run.arm,
        "story": run.story,
        "seed": run.seed,
        "values": [_short(outcome.value(run.arm, run.story, run.seed)) for outcome in found.values()],
        "failed": run.failed,
        "reasons": {name: score.reason for name, score in run.scores.items() if score.reason},
        "warnings": list(run.warnings),
        "strip": shown.strip and base64.b64encode(shown.strip).decode(),
        "clips": list(shown.clips),
        "command": shown.command,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
