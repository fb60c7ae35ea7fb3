"""Scores as VBench's own files, which its `scripts/cal_final_score.py` and its leaderboard read.

`NAME_eval_results.json` holds `{dimension: [mean over the videos, [{video_path, video_results}, ...]]}`, where imaging
quality is 0 to 100 of a video and 0 to 1 of all, and the dynamic degree of a video is true or false.
`NAME_full_info.json` is the list of prompts with the dimensions and the videos of each. VBench's script counts a
dimension that is not there as 0, whose normalised value is as low as -2.42: its total of a part means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quality.protocols import numbered
from serving.scores.rows import Row, means

OVER_FRAMES = {"subject_consistency": 1, "background_consistency": 1, "appearance_style": 0}
"""Whose value of a set VBench, run in one process, takes over the frames of all clips; all but so many of each clip."""
OF_VBENCH = ("equal", "like")
"""Labels of scores that are VBench's: others carry its words for another number."""


def write_vbench(rows: Sequence[Row], folder: Path, name: str) -> tuple[str, ...]:
    """Write both files into `folder`; the metrics of VBench that are not in them, each with the reason."""
    counted, left_out = _counted(rows)
    _write(folder / f"{name}_eval_results.json", _results(counted))
    _write(folder / f"{name}_full_info.json", _prompts(counted))
    return left_out


def _counted(rows: Sequence[Row]) -> tuple[dict[str, tuple[float, list[Row]]], tuple[str, ...]]:
    """Mean and rows with a value of each metric, by VBench's word for it; and what is left out."""
    counted: dict[str, tuple[float, list[Row]]] = {}
    left_out = []
    for name in dict.fromkeys(row.dimension for row in rows if row.dimension is not None):
        own = [row for row in rows if row.dimension == name]
        for mean in means(own):
            family, _, rest = mean.metric_id.partition(".")
            if family not in ("vbench", "vbench_i2v"):
                continue
            word = rest if family == "vbench" else f"i2v_{rest}"
            if word in counted:  # one metric of two dimensions: flickering of all clips stands before it
                left_out.append(f"{name}: {word!r} is that of all clips; --protocol standard has this one there")
            elif mean.mean is None or mean.label not in OF_VBENCH:
                left_out.append(f"{mean.metric_id}: {mean.reason or f'{mean.label}, not VBench’s'}")
            else:
                counted[word] = (
                    _of_all(word, own, mean.mean),
                    [row for row in own if row.score and row.score.raw is not None],
                )
    return counted, tuple(left_out)


def _of_all(word: str, rows: Sequence[Row], mean: float) -> float:
    """VBench's value of a set of clips: over all their frames where it counts so, else the `mean` over the clips."""
    scores = [row.score for row in rows if row.score is not None and row.score.raw is not None]
    if word not in OVER_FRAMES or any(score.protocol == "long2s" for score in scores):
        return mean
    counts = [score.frames_used - OVER_FRAMES[word] for score in scores]
    return sum((score.raw or 0) * count for score, count in zip(scores, counts, strict=True)) / sum(counts)


def _results(counted: dict[str, tuple[float, list[Row]]]) -> dict[str, Any]:
    return {
        word: [
            mean,
            [{"video_path": row.file, "video_results": _of_video(word, row.score.raw)} for row in rows if row.score],
        ]
        for word, (mean, rows) in counted.items()
    }


def _of_video(word: str, raw: float | None) -> float | bool | None:
    if raw is None:
        return None
    if word == "dynamic_degree" and raw in (0, 1):
        return bool(raw)
    return 100 * raw if word == "imaging_quality" else raw


def _prompts(counted: dict[str, tuple[float, list[Row]]]) -> list[dict[str, Any]]:
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for word, (_, rows) in counted.items():
        for row in rows:
            dimensions, videos = found.setdefault(_prompt(row), ({}, {}))
            dimensions[word] = videos[row.file] = None
    return [
        {"prompt_en": prompt, "dimension": list(dimensions), "video_list": list(videos)}
        for prompt, (dimensions, videos) in found.items()
    ]


def _prompt(row: Row) -> str:
    """What was asked, else the name of the file, as VBench takes it for its users' videos."""
    if row.prompt is not None:
        return row.prompt
    found = numbered(row.file)
    return Path(row.file).stem if found is None else found[0]


def _write(file: Path, document: object) -> None:
    file.write_text(json.dumps(document, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
