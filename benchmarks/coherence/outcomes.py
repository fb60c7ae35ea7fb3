"""Outcomes of the coherence table that are no dimension of the product: what a judge that knows the world reads back
from the finished pictures, and how alike the product is across scenes to two observers.

The judge (`models.sketch.training.world.judge`) is classical and no generator was trained with it. The observers are
the packaged CLIP of the sketch world, which also was trained on it and is called a toy, and ImageNet features of
EfficientNet-lite0, where its weights are on this machine. With clips, the last frame of each is looked at: what a scene
was at its end.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import combinations, pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from configs.settings import library_root, load_model
from models.sketch.training.world.judge import Judge, Verdict
from models.sketch.training.world.spec import frame_size
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.lab.outcomes import ExtraOutcome, TakenRun
from pipelines.media import stream_clip
from quality.colour import lab, palette, palette_difference
from quality.preprocessing import preprocess
from quality.score import Fidelity, NoValue
from serving.profile_models import LibraryLoader

ASPECT = "1:1"
GATE = 0.5
"""Least cosine of a scene to its own prompt, by the sketch world's CLIP: a scene below it shows something else, and
likeness to it says nothing. Of 192 scenes rendered as asked all reach it; of the same with another story's product, few
do (`tests/integration/test_coherence_table.py`)."""
CROP = 0.7
"""Side of the square around the product, as a share of the picture's: products are 0.52 to 0.72 of it."""
OBSERVERS = {"sketch": ("sketch-clip", "hf.clip"), "imagenet": ("efficientnet-lite0", "lite224")}
LABELS: dict[str, Fidelity] = {"sketch": "toy", "imagenet": "proxy"}
Picture = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]


def extra_outcomes(until: str) -> dict[str, ExtraOutcome]:
    """By name, for `run_sweep`. The observers' are toys or proxies, the judge's are classical."""
    judged: dict[str, Callable[[Sequence[Verdict], TakenRun], float]] = {
        "judge.product": partial(right, ("colour", "shape")),
        "judge.colour": partial(right, ("colour",)),
        "judge.shape": partial(right, ("shape",)),
        "judge.setting": partial(right, ("setting",)),
        "judge.scene": partial(right, ("colour", "shape", "setting")),
        "judge.layout": layout,
    }
    found = {name: ExtraOutcome(f"{name}@1", "classical", partial(_judged, rule)) for name, rule in judged.items()}
    found["palette"] = ExtraOutcome("palette@1", "classical", palette_apart)
    for observer, label in LABELS.items():
        for name, worst in (("product_similarity", False), ("product_similarity.worst", True)):
            measure = partial(product_similarity, observer, worst)
            found[f"{observer}.{name}"] = ExtraOutcome(f"{observer}.{name}@1", label, measure)
        if until != "stills":
            name = f"{observer}.boundary_similarity"
            found[name] = ExtraOutcome(f"{name}@1", label, partial(boundary_similarity, observer))
    return found


# --- what a run shows ---


def shown(run: TakenRun) -> list[Picture]:
    """The still of each scene; with clips, the last frame of each."""
    numbers = range(1, len(run.story.scenes) + 1)
    clips = [run.takes.get(f"scene-{number}/clip") for number in numbers]
    if all(clips):
        return [_frames(run, str(sha256))[1] for sha256 in clips]
    return [_still(run, run.takes[f"scene-{number}/keyframe"]) for number in numbers]


def _still(run: TakenRun, sha256: str) -> Picture:
    return np.asarray(Image.open(io.BytesIO(run.read(sha256))).convert("RGB"))


def _frames(run: TakenRun, sha256: str) -> tuple[Picture, Picture]:
    """The first and the last frame of a clip."""
    frames = list(stream_clip(run.read(sha256)))
    return frames[0], frames[-1]


def small(picture: Picture) -> Picture:
    """At the size that the judge knows."""
    height, width = frame_size(ASPECT)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


# --- the judge ---


@cache
def _judge() -> Judge:
    return Judge()


_SEEN: dict[bytes, Verdict] = {}
"""Verdicts of this process by picture: several outcomes ask for the same one."""


def verdict(picture: Picture) -> Verdict:
    """What the judge sees in a picture of any size."""
    look = small(picture)
    if (key := look.tobytes()) not in _SEEN:
        _SEEN[key] = _judge().judge(look)
    return _SEEN[key]


def _judged(rule: Callable[[Sequence[Verdict], TakenRun], float], run: TakenRun) -> float:
    return rule([verdict(picture) for picture in shown(run)], run)


def right(attributes: Sequence[str], verdicts: Sequence[Verdict], run: TakenRun) -> float:
    """Share of the scenes in which every one of `attributes` is as asked."""
    asked = [{**run.story.known, **scene.known} for scene in run.story.scenes]
    return float(
        np.mean(
            [
                all(getattr(one, name) == known[name] for name in attributes)
                for one, known in zip(verdicts, asked, strict=True)
            ]
        )
    )


def layout(verdicts: Sequence[Verdict], _: TakenRun) -> float:
    """Mean distance of the product's place over all pairs of scenes, in half short sides."""
    return float(
        np.mean([np.hypot(a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]) for a, b in combinations(verdicts, 2)])
    )


def palette_apart(run: TakenRun) -> float:
    """CIEDE2000 between the main colours of two scenes, over all pairs: how little they share a look."""
    colours = [palette(lab(small(picture)).reshape(-1, 3)) for picture in shown(run)]
    return float(np.mean([palette_difference(one, other) for one, other in combinations(colours, 2)]))


# --- the observers ---


@cache
def _observer(name: str) -> Any:
    """A network by its place in OBSERVERS. Raises NoValue where its weights are not here."""
    spec = load_model(OBSERVERS[name][0], ScorerModelSpec)
    library = Library(library_root())
    if not library.present(spec):
        raise NoValue(f"the weights of {spec.name} are not here: admint models pull {spec.name}")
    return LibraryLoader(library, "cpu").scorer(spec)


def vectors(observer: str, pictures: Sequence[Picture]) -> list[Vector]:
    """Of length 1."""
    network, made = _observer(observer), []
    for picture in pictures:
        frame = _tensor(picture)
        features = np.asarray(network.features(preprocess(OBSERVERS[observer][1], frame)), np.float64).reshape(-1)
        made.append(features / max(float(np.linalg.norm(features)), 1e-12))
    return made


def _tensor(picture: Picture) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))


def alignments(run: TakenRun, pictures: Sequence[Picture]) -> list[float]:
    """Cosine of each scene to its own prompt."""
    network = _observer("sketch")
    texts = [np.asarray(network.text(scene.prompt)[0], np.float64) for scene in run.story.scenes]
    return [float(a @ b) for a, b in zip(vectors("sketch", pictures), texts, strict=True)]


def crop(picture: Picture) -> Picture:
    """The square around where the judge sees the product."""
    height, width = picture.shape[:2]
    side = round(CROP * min(height, width))
    x, y = verdict(picture).centre
    half = min(height, width) / 2
    left = int(np.clip(width / 2 + x * half - side / 2, 0, width - side))
    top = int(np.clip(height / 2 + y * half - side / 2, 0, height - side))
    return picture[top : top + side, left : left + side]


def product_similarity(observer: str, worst: bool, run: TakenRun) -> float:
    """Mean cosine, or the least, of the first scene's product to the later ones' and of each reference to every scene,
    over the scenes that show what they were asked to. Raises NoValue where fewer than two do."""
    pictures = shown(run)
    counted = [at for at, cosine in enumerate(alignments(run, pictures)) if cosine >= GATE]
    if len(counted) < 2:
        raise NoValue(f"{len(counted)} of {len(pictures)} scenes show what was asked for (least alignment {GATE:g})")
    scenes = vectors(observer, [crop(pictures[at]) for at in counted])
    references = vectors(
        observer, [np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")) for one in run.story.references]
    )
    pairs = [float(scenes[0] @ later) for later in scenes[1:]]
    pairs += [float(reference @ scene) for reference in references for scene in scenes]
    return min(pairs) if worst else float(np.mean(pairs))


def boundary_similarity(observer: str, run: TakenRun) -> float:
    """Mean cosine of the last frame of each clip to the first of the next."""
    clips = [_frames(run, run.takes[f"scene-{number}/clip"]) for number in range(1, len(run.story.scenes) + 1)]
    ends = [vectors(observer, [before[1], after[0]]) for before, after in pairwise(clips)]
    return float(np.mean([a @ b for a, b in ends]))
