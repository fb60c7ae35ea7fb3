"""The minimums of the recipes' gates: the 5th percentile of what good takes score, by the model that scores.

`python -m benchmarks.quality.calibrate_gates [--stories 64] [--clips 96]` has the agents write stories of products in
places that no training saw, draws and films them, keeps the takes that the classical judge finds right, prints a table
and writes `benchmarks/results/gate_minimums.json`; about ten minutes on one core. The recipes repeat these numbers, and
a test holds the two together. Only the sketch family has a judge that knows the truth: other scorers get a minimum when
somebody has good takes of theirs, and abstain until then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.toy_stories import Shown, Studio, settings, still_request, stories

RESULTS = Path(__file__).parents[1] / "results" / "gate_minimums.json"
PERCENTILE = 5
SEED = 1
"""Of the stories; `benchmarks.quality.choosing` uses others."""


def row(dimension: str, scores: list[tuple[float, bool]]) -> dict[str, Any]:
    """The minimum of a dimension from scores and whether their takes are right. It is rounded down."""
    good = [score for score, right in scores if right]
    least = float(np.percentile(good, PERCENTILE))
    return {
        "dimension": dimension,
        "minimum": math.floor(100 * least) / 100,
        "percentile_5": round(least, 4),
        "median": round(float(np.median(good)), 4),
        "lowest": round(min(good), 4),
        "good": len(good),
        "takes": len(scores),
    }


def measure(studio: Studio, shown: list[Shown], clips: int) -> list[dict[str, Any]]:
    """A row for stills and one for clips."""
    stills = studio.stills([still_request(one) for one in shown])
    right = [one.right(studio.judge(still)) for one, still in zip(shown, stills, strict=True)]
    scored = [
        _value(studio.still_score(still, one.scene.image_prompt)) for one, still in zip(shown, stills, strict=True)
    ]
    rows = [row("keyframe_alignment", list(zip(scored, right, strict=True)))]
    print(rows[-1], flush=True)
    filmed: list[tuple[float, bool]] = []
    some = np.random.default_rng(SEED).permutation(len(shown))[:clips]
    for index in some:
        one = shown[int(index)]
        frames = studio.clip(one, stills[int(index)])
        middle = one.right(studio.judge(frames[len(frames) // 2]))
        filmed.append((_value(studio.clip_score(frames, one.scene.video_prompt)), middle))
    rows.append(row("text_alignment", filmed))
    print(rows[-1], flush=True)
    return rows


def _value(score: Any) -> float:
    if score.raw is None:
        raise RuntimeError(f"{score.metric_id} has no value: {score.reason}")
    return float(score.raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=64)
    parser.add_argument("--clips", type=int, default=96)
    given = parser.parse_args()
    started = time.monotonic()
    studio = Studio()
    rows = measure(studio, asyncio.run(stories(given.stories, SEED)), given.clips)
    found = {
        "what": f"{PERCENTILE}th percentile of the scores of takes that the classical judge finds right",
        "implementation": studio.scorer,
        "rows": rows,
        "settings": {**settings(), "stories": given.stories, "clips": given.clips, "seed": SEED},
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print("quality_gate: minimums:")
    for each in rows:
        print(f"  {each['dimension']}: {{{studio.scorer}: {each['minimum']}}}")


if __name__ == "__main__":
    main()
