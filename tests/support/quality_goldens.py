"""Golden values of the learned dimensions, from the published formulas alone: no code of `quality` is used here.

Written as the formulas stand in the papers, sum by sum. `python -m tests.support.quality_goldens` writes the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).parents[1] / "unit" / "quality_goldens.json"
Floats = npt.NDArray[np.float64]
FRAMES, WIDTH = 24, 6


def units(count: int, width: int, seed: int) -> Floats:
    """Random vectors of length 1."""
    rows = np.random.default_rng(seed).standard_normal((count, width))
    found: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def case() -> dict[str, Floats]:
    """What the backbones see: a vector per frame that wanders, and the vector of the text."""
    wander = np.cumsum(np.concatenate([units(1, WIDTH, 1) * 2, units(FRAMES - 1, WIDTH, 2)]), axis=0)
    return {"frames": wander / np.linalg.norm(wander, axis=1, keepdims=True), "text": units(1, WIDTH, 3)[0]}


def computed() -> dict[str, float]:
    """The values by dimension, rounded to 9 places."""
    made = case()
    frames = [np.float32(row).astype(float) for row in made["frames"]]
    text = np.float32(made["text"]).astype(float)

    def cos(a: Floats, b: Floats) -> float:
        return float(sum(x * y for x, y in zip(a, b, strict=True)))

    def alike(row: list[Floats]) -> float:
        found = 0.0
        for number in range(1, len(row)):
            to_before = max(0.0, cos(row[number], row[number - 1]))
            to_first = max(0.0, cos(row[number], row[0]))
            found += (to_before + to_first) / 2
        return found / (len(row) - 1)

    consistency = alike(frames)

    # VBench-Long at 5 frames a second: pieces of 10 frames, the last one filled up from before.
    pieces = [frames[0:10], frames[10:20], frames[14:24]]
    slow = sum(alike(piece) for piece in pieces) / 3
    fast = alike([piece[0] for piece in pieces])
    assert 0.85 < fast < 0.86  # two entries of its table
    mapped = 0.985466305825542 + (fast - 0.85) / 0.01 * (0.986316598986252 - 0.985466305825542)

    to_picture = [max(0.0, cos(frame, frames[3])) for frame in frames]
    steps = [max(0.0, cos(frames[n], frames[n - 1])) for n in range(1, FRAMES)]
    subject = 0.4 * max(to_picture) + 0.3 * sum(steps) / len(steps) + 0.3 * min(steps)

    means = [
        (apart, sum(cos(frames[n], frames[n - apart]) for n in range(apart, FRAMES)) / (FRAMES - apart))
        for apart in (2, 5, 10, 20)
    ]
    horizon = 0.0
    for place in range(3):
        horizon += (means[place + 1][0] - means[place][0]) * (means[place + 1][1] + means[place][1]) / 2
    horizon /= 20 - 2

    alignment = sum(cos(frame, text) for frame in frames) / FRAMES
    values = {
        "subject_consistency": consistency,
        "background_consistency": consistency,
        "imagenet_consistency": consistency,
        "aesthetic_quality": alignment / 10,
        "appearance_style": alignment,
        "clipscore.text": alignment,
        "overall_consistency": cos(frames[4], text),
        "temporal_style": cos(frames[4], text),
        "vbench_i2v.subject": subject,
        "vbench_long.subject_slow_fast": 0.5 * slow + 0.5 * mapped,
        "long_horizon": horizon,
    }
    return {name: round(value, 9) for name, value in sorted(values.items())}


if __name__ == "__main__":
    FILE.write_text(json.dumps(computed(), indent=1) + "\n")
