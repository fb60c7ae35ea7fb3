"""Whether scores choose well: the best of four stills against the first, and what the gate has made again.

`python -m benchmarks.quality.choosing [--part gate|ranking] [--prompts 200] [--shipped 200] [--stories 32]
[--clips 24]` prints two tables and writes `benchmarks/results/choosing.json`; a part alone leaves the other one's rows.
About twelve minutes on one core. The ranking and the gate are those of the product; right and wrong are told by the
classical judge, never by the scorer. The first table draws at a poor setting, which leaves something to choose, and at
the shipped one, at which a single still is nearly always right. For the second, bad takes are planted: the prompt is
drawn with another colour, and judged as if it had not been.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agents.__main__ import IMAGE
from benchmarks.quality.toy_stories import Shown, Studio, settings, still_request, stories
from configs.settings import load_recipe
from models.interfaces import ImageRequest, NoiseSpec, Pixels
from models.sketch.training.world import SceneSpec, plain_caption, sample_spec
from models.sketch.training.world.reference import reference_array
from models.sketch.training.world.spec import COLOURS
from pipelines.coherence import derived_seed
from pipelines.stages.candidates import rank
from pipelines.stages.gate import judgement, minimums_of
from quality.paired import Measurement, Outcome, estimate
from quality.score import Score

RESULTS = Path(__file__).parents[1] / "results" / "choosing.json"
CANDIDATES = 4
SHIPPED = (IMAGE.num_inference_steps, IMAGE.guidance_scale)
POOR = (2, 1.0)
"""Steps and guidance at which about every thirteenth shape is wrong. With one step all four stills of a prompt are
wrong alike (0.62 right, and 0.63 with the best choice), and with more guidance pictures burn out: at (2, 4.5) the best
of four had no more right shapes."""
SEED = 2
GATED = "express"
"""The recipe whose gate is looked at; a test says that all recipes have the same minimums."""


RANKS: dict[str, dict[str, float]] = {
    "text_alignment": {"text_alignment": 1.0},
    "product_similarity": {"product_similarity": 1.0},
    "both": {"text_alignment": 1.0, "product_similarity": 1.0},
}


def ranked(studio: Studio, count: int, sampling: tuple[int, float]) -> dict[str, Any]:
    """The first of each prompt's candidates against the best of them by each of RANKS, at `sampling`: the share of
    right shapes. `any` is what the best choice of all could reach.

    Only prompts of which some stills are right and some wrong are scored: in the others no choice changes anything.
    """
    rng = np.random.default_rng(SEED)
    specs = [replace(sample_spec(rng, "heldout", "1:1"), moment=0.0, camera="static") for _ in range(count)]
    requests = [_candidate(spec, index, k, sampling) for index, spec in enumerate(specs) for k in range(CANDIDATES)]
    stills = studio.stills(requests)
    right = np.array([studio.judge(still).shape == specs[at // CANDIDATES].shape for at, still in enumerate(stills)])
    right = right.reshape(count, CANDIDATES)
    measured: dict[str, list[Measurement]] = {name: [] for name in RANKS}
    for index, spec in enumerate(specs):
        own = right[index]
        scores = None
        if own.any() and not own.all():
            reference = reference_array(spec, np.random.default_rng(index))
            pictures = stills[index * CANDIDATES : (index + 1) * CANDIDATES]
            scores = [studio.candidate_scores(still, plain_caption(spec), reference) for still in pictures]
        for name, weights in RANKS.items():
            best = 0 if scores is None else int(np.argmax(rank(weights, scores).totals))
            for arm, number in (("first", 0), ("best", best)):
                measured[name].append(Measurement(arm, str(index), index, float(own[number])))
    found: dict[str, Any] = {"any": float(right.any(axis=1).mean())}
    for name, values in measured.items():
        outcome = Outcome(name, values)
        found[name] = {
            "first": outcome.mean("first"),
            "best": outcome.mean("best"),
            "difference": asdict(estimate(outcome, {"best": 1.0, "first": -1.0})),
        }
    print(sampling, found, flush=True)
    return {"steps": sampling[0], "guidance": sampling[1], "prompts": count, "candidates": CANDIDATES, "shape": found}


def _candidate(spec: SceneSpec, index: int, k: int, sampling: tuple[int, float]) -> ImageRequest:
    seed = derived_seed(SEED, "prompt", index)
    width, height = IMAGE.sizes["1:1"]
    return ImageRequest(
        prompt=plain_caption(spec),
        width=width,
        height=height,
        noise=NoiseSpec(seed=seed if k == 0 else derived_seed(seed, "candidate", k)),
        num_inference_steps=sampling[0],
        guidance_scale=sampling[1],
    )


def gated(studio: Studio, shown: Sequence[Shown], clips: int) -> list[dict[str, Any]]:
    """Which good takes, and which of another colour, the gate has made again: of stills, then of clips."""
    rng = np.random.default_rng(SEED)
    wrong = [str(rng.choice([colour for colour in COLOURS if colour != one.colour])) for one in shown]
    good = studio.stills([still_request(one) for one in shown])
    planted = studio.stills([
        still_request(one, one.recoloured(colour)) for one, colour in zip(shown, wrong, strict=True)
    ])  # fmt: skip
    kinds: dict[str, list[tuple[Shown, Pixels]]] = {"good": [], "wrong colour": []}
    for one, first, other in zip(shown, good, planted, strict=True):
        if one.right(studio.judge(first)):
            kinds["good"].append((one, first))
        if studio.judge(other).colour != one.colour:
            kinds["wrong colour"].append((one, other))
    rows = []
    for kind, takes in kinds.items():
        rows.append(
            _retaken(
                "keyframe", kind, [(one.scene.image_prompt, studio.gate_scores(one, still)) for one, still in takes]
            )
        )
    for kind, takes in kinds.items():
        some = [takes[int(index)] for index in rng.permutation(len(takes))[:clips]]
        scores = []
        for one, still in some:
            frames = studio.clip(one, still)
            if kind == "wrong colour" or one.right(studio.judge(frames[len(frames) // 2])):
                scores.append((one.scene.video_prompt, studio.gate_scores(one, frames)))
        rows.append(_retaken("clip", kind, scores))
    return rows


def _retaken(medium: Any, kind: str, takes: Sequence[tuple[str, Mapping[str, Score]]]) -> dict[str, Any]:
    gate = load_recipe(GATED).quality_gate
    found = [judgement(minimums_of(gate, medium, prompt), scores) for prompt, scores in takes]
    if any(one.abstained or one.unmeasured for one in found):
        raise RuntimeError(f"the gate of {GATED!r} does not judge the {medium}s of this scorer: {found[0]}")
    by = {}
    for name in dict.fromkeys(name for one in found for name in one.minimums):
        judged = [
            (one, scores[name].raw) for one, (_, scores) in zip(found, takes, strict=True) if name in one.minimums
        ]
        raws = np.array([raw for _, raw in judged], np.float64)
        by[name] = {
            "minimum": judged[0][0].minimums[name],
            "judged": len(judged),
            "missed": round(float(np.mean([name in one.missed for one, _ in judged])), 4),
            "scores_5_50_95": [round(float(value), 4) for value in np.percentile(raws, (5, 50, 95))],
        }
    retaken = round(float(np.mean([bool(one.missed) for one in found])), 4)
    made = {"medium": medium, "takes": kind, "count": len(found), "retaken": retaken, "by": by}
    print(made, flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("gate", "ranking"))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--shipped", type=int, default=200, help="prompts at the shipped setting")
    parser.add_argument("--stories", type=int, default=32)
    parser.add_argument("--clips", type=int, default=24)
    given = parser.parse_args()
    studio = Studio()
    parts: dict[str, Callable[[], Any]] = {
        "gate": lambda: gated(studio, asyncio.run(stories(given.stories, SEED)), given.clips),
        "ranking": lambda: [ranked(studio, given.prompts, POOR), ranked(studio, given.shipped, SHIPPED)],
    }
    made: dict[str, Any] = {}
    for name in parts if given.part is None else (given.part,):
        started = time.monotonic()
        made[name] = {
            "rows": parts[name](),
            "implementation": studio.scorer,
            "seconds": round(time.monotonic() - started, 1),
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
        }
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if given.part and RESULTS.exists() else {}
    found |= made
    found["settings"] = {**settings(), "stories": given.stories, "seed": SEED}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
