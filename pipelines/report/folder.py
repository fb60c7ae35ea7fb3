"""Writes the output folder of a run: video, thumbnail, every take, `run.json`, and last the report.

Every file appears under its name whole or not at all (temporary file, fsync, rename, fsync of the folder), so a report
that can be opened has everything that it names beside it. Writing again gives the same files.

    final.mp4  thumbnail.jpg  report.html  run.json
    references/reference-1.png                                    drawn references, when the recipe makes them
    scenes/scene-001/keyframe-1.png  keyframe-1.json  clip-1.mp4  clip-1.json    takes in the order they were made
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipelines.report.page import render_page
from pipelines.report.record import RunRecord
from pipelines.steps import Artifacts, TakeKind
from pipelines.store.artifacts import write_durably
from pipelines.store.records import Take

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
