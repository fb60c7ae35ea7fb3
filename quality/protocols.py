"""By which protocol a clip is measured: as a whole, as VBench measures its own prompts, or in pieces of two seconds.

- `custom`: the whole clip, as VBench measures its users' videos. Every dimension has it.
- `standard`: the same formulas on clips of VBench's own prompts, named `<prompt>-<k>.mp4`; flickering only of clips in
  which nothing moves.
- `long2s`: VBench-Long (VBench++, arXiv 2411.13503; A.5 of its code `vbench2_beta_long`), which VBench asks for where
  clips have 5 s or more: the clip is cut into pieces of 2 * int(fps) frames, the last one filled from before up to that
  length, and the value is the mean over the pieces. VBench encodes each piece anew, which moves flickering and picture
  quality; here nothing is encoded, so the label is `like` at best. This is VBench without `--dev_flag`; the slow-fast
  part that the flag adds is a dimension of its own, `vbench_long.subject_slow_fast`.

Only VBench's dimensions have the last two; others are measured as `custom` whatever is asked, and their scores say so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePath
from statistics import fmean
from typing import Literal

from quality.engine import Clip, measure_clips
from quality.registry import UNAVAILABLE, of_name
from quality.score import Protocol, Score, Series
from quality.stream import PIECE_SECONDS, Pixels, Shot, pieces

AskedProtocol = Literal["auto", "custom", "standard", "long2s"]
"""`auto`: `long2s` for VBench's dimensions of clips of LONG seconds or more, else `custom`."""
LONG = 5.0
"""Seconds from which VBench measures a clip in pieces."""
IN_STANDARD = {"temporal_flickering": "temporal_flickering.static_filtered"}
"""What VBench measures under its standard protocol in place of a dimension."""
NUMBERED = re.compile(r"(.+)-(\d+)")
"""VBench's names of files: the prompt, and the number of the sample."""


def numbered(name: str) -> tuple[str, int] | None:
    """Prompt and number of a file that is named as VBench names them; None for another."""
    match = NUMBERED.fullmatch(PurePath(name).stem)
    return None if match is None else (match[1], int(match[2]))


def in_protocol(names: Sequence[str], asked: AskedProtocol) -> tuple[str, ...]:
    """The dimensions that measure a video in place of `names`: by `standard` some have another."""
    return tuple(dict.fromkeys(IN_STANDARD.get(name, name) for name in names)) if asked == "standard" else tuple(names)


def protocol_of(name: str, asked: AskedProtocol, seconds: float) -> Protocol:
    """The protocol by which the dimension `name` measures a clip of so many seconds; 0: a still, or nobody knows."""
    if name in UNAVAILABLE:
        return "custom"
    metric = of_name(name).METRIC
    if metric.protocol != "custom" or not metric.id.startswith("vbench."):
        return metric.protocol
    if asked == "auto" or (asked == "long2s" and not seconds):
        return "long2s" if seconds >= LONG else "custom"
    return asked


def measure_in_pieces(names: Sequence[str], frames: Iterable[Pixels], shot: Shot) -> list[Score]:
    """One score per dimension by `long2s`. `shot` has the time of each frame. Raises what `frames` raises.

    At most two seconds of frames are held, and only where the last piece overlaps the one before.
    """
    lengths = pieces(shot.frame_count or 0, shot.rate() if (shot.frame_count or 0) > 1 else 1.0)
    source = enumerate(frames)
    kept: list[Pixels] = []

    def own(piece: range) -> Iterator[Pixels]:
        yield from kept
        for number, frame in islice(source, len(piece) - len(kept)):
            if number >= lengths[-1].start and piece is not lengths[-1]:
                kept.append(frame)
            yield frame

    measured: list[list[Score]] = []
    for piece in lengths:
        of_piece = _of_piece(shot, piece)
        (outcome,) = measure_clips([Clip(names, own(piece), of_piece)])
        if isinstance(outcome, Exception):
            raise outcome
        measured.append(outcome)
    starts = [shot.time(piece.start) for piece in lengths]
    return [_mean(each, starts) for each in zip(*measured, strict=True)]


def _of_piece(shot: Shot, piece: range) -> Shot:
    times = tuple(shot.time(number) - shot.time(piece.start) for number in piece)
    return replace(shot, times=times if all(map(math.isfinite, times)) else None, frame_count=len(piece))


def _mean(scores: Sequence[Score], starts: Sequence[float]) -> Score:
    """The mean over the pieces; none where one has no value."""
    first = scores[0]
    without = next((number for number, score in enumerate(scores, start=1) if score.raw is None), None)
    if without is not None:
        reason = f"piece {without} of {len(scores)}: {scores[without - 1].reason}"
        return first.model_copy(
            update={"protocol": "long2s", "raw": None, "fidelity": None, "reason": reason, "frames_used": 0,
                    "series": None, "note": None}
        )  # fmt: skip
    values = tuple(score.raw for score in scores if score.raw is not None)
    usable = all(map(math.isfinite, starts))
    return first.model_copy(
        update={
            "protocol": "long2s",
            "raw": fmean(values),
            "fidelity": "like" if first.fidelity == "equal" else first.fidelity,
            "frames_used": sum(score.frames_used for score in scores),
            "series": Series(values=values, seconds=tuple(starts)) if usable else None,
            "note": f"mean of {len(values)} pieces of {PIECE_SECONDS} s, not encoded anew",
        }
    )
