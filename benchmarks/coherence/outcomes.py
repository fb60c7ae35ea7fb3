"""Outcomes of the coherence table that are no dimension of the product: what a judge that knows the world reads back
from the finished pictures, and how alike product and style are across scenes to two observers.

The judge (`models.sketch.training.world.judge`) is classical and no generator was trained with it. The observers are
the packaged models of the sketch world, its CLIP for the product and its patches for the style, which were trained on
that world and are called toys; and ImageNet features of EfficientNet-lite0, where its weights are on this machine
(extra `scores-local`). With clips, the last frame of each is looked at: what a scene was at its end.

On one core a run of four stills takes 0.13 s of the judge, 0.1 s of the sketch world's models and 0.4 s of
EfficientNet-lite0.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from configs.settings import library_root, load_model
from models.scorers.backbone import load_network
from models.scorers.efficientnet import STAGES, EfficientNetLite0
from models.sketch.training.world.judge import Judge, Verdict
from models.sketch.training.world.spec import frame_size
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.lab.outcomes import WORST, ExtraOutcome, TakenRun
from pipelines.media import stream_clip
from quality.colour import lab, palette, palette_difference
from quality.cross_scene import gram
from quality.finder import DENSE
from quality.preprocessing import embedded, preprocess
from quality.score import Fidelity, NoValue
from serving.profile_models import LibraryLoader

ASPECT = "1:1"
GATE = 0.5
"""Least cosine of a scene to its own prompt, by the sketch world's CLIP: a scene below it shows something else, and
likeness to it says nothing. Of 192 scenes rendered as asked all reach it; of the same with another story's product, few
do (`tests/integration/test_coherence_table.py`)."""
KEPT = 64
"""Pictures of which a process remembers what was seen in them."""
CROP = 0.7
"""Side of the square around the product, as a share of the picture's: products are 0.52 to 0.72 of it."""
OBSERVERS = {"sketch": ("sketch-clip", "hf.clip"), "imagenet": ("efficientnet-lite0", "lite224")}
"""Scorer model and preprocessing of each observer's vector of a picture."""
SKETCH_PATCHES = "sketch-observer"
TEXTURE_STAGES = 4
"""Of EfficientNet-lite0, whose output stands for the style: 14 x 14 places with 80 numbers each of a picture."""
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
        for name, similarity in (("product_similarity", product_similarity), ("style_similarity", style_similarity)):
            for suffix, worst in (("", False), (WORST, True)):
                own = f"{observer}.{name}{suffix}"
                found[own] = ExtraOutcome(f"{own}@1", label, partial(similarity, observer, worst))
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
        return [_frames(run.read, str(sha256))[1] for sha256 in clips]
    return [_picture(run.read(run.takes[f"scene-{number}/keyframe"])) for number in numbers]


def _picture(data: bytes) -> Picture:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@lru_cache(maxsize=16)
def _frames(read: Callable[[str], bytes], sha256: str) -> tuple[Picture, Picture]:
    """The first and the last frame of a clip. Kept, as `seen` is: every outcome of a run asks for the same ones."""
    frames = list(stream_clip(read(sha256)))
    return frames[0], frames[-1]


def small(picture: Picture) -> Picture:
    """At the size that the judge knows."""
    height, width = frame_size(ASPECT)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


# --- the judge ---


@cache
def _judge() -> Judge:
    return Judge()


class Seen(NamedTuple):
    """A picture as a key: outcomes of a run look at the same ones, and so do the arms that share them."""

    pixels: bytes
    size: tuple[int, ...]

    @property
    def picture(self) -> Picture:
        return np.frombuffer(self.pixels, np.uint8).reshape(self.size)


def seen(picture: Picture) -> Seen:
    return Seen(picture.tobytes(), picture.shape)


def verdict(picture: Picture) -> Verdict:
    """What the judge sees in a picture of any size."""
    return _verdict(seen(small(picture)))


@lru_cache(maxsize=KEPT)
def _verdict(look: Seen) -> Verdict:
    return _judge().judge(look.picture)


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


def _weights(name: str) -> tuple[ScorerModelSpec, Library]:
    """Raises NoValue where they are not on this machine."""
    spec, library = load_model(name, ScorerModelSpec), Library(library_root())
    if not library.present(spec):
        raise NoValue(f"the weights of {spec.name} are not here: admint models pull {spec.name}")
    return spec, library


@cache
def _scorer(name: str) -> Any:
    """A scorer model by its name. Raises NoValue."""
    spec, library = _weights(name)
    return LibraryLoader(library, "cpu").scorer(spec)


def vectors(observer: str, pictures: Sequence[Picture]) -> list[Vector]:
    """Of length 1. Raises NoValue."""
    return [_vector(observer, seen(picture)) for picture in pictures]


@lru_cache(maxsize=KEPT)
def _vector(observer: str, look: Seen) -> Vector:
    name, preprocessing = OBSERVERS[observer]
    features = embedded(_scorer(name), preprocessing, [look.picture]).astype(np.float64).reshape(-1)
    made: Vector = features / max(float(np.linalg.norm(features)), 1e-12)
    return made


@lru_cache(maxsize=KEPT)
def _style(observer: str, look: Seen) -> Vector:
    """The Gram matrix of a picture: of the sketch world's patches, or of the ImageNet network's middle."""
    if observer == "sketch":
        return gram([embedded(_scorer(SKETCH_PATCHES), DENSE.preprocessing, [look.picture])[0, 1:]])
    import torch

    with torch.inference_mode():
        places = _middle_of_lite0()(preprocess(OBSERVERS[observer][1], _tensor(look.picture)))[0].flatten(1).T
    return gram([torch.nn.functional.normalize(places, dim=1).numpy()])


@cache
def _middle_of_lite0() -> Any:
    """EfficientNet-lite0 up to the end of a stage in its middle. Raises NoValue."""
    import torch

    spec, library = _weights(OBSERVERS["imagenet"][0])
    network = load_network(spec, library.folders(spec)["main"], "cpu", lambda state: EfficientNetLite0())
    blocks = network.blocks[: sum(stage.repeats for stage in STAGES[:TEXTURE_STAGES])]
    return torch.nn.Sequential(network.stem, network.stem_norm, torch.nn.ReLU6(), *blocks)


def _tensor(picture: Picture) -> Any:
    import torch

    return torch.from_numpy(np.array(picture.transpose(2, 0, 1)[None], order="C"))


def alignments(run: TakenRun, pictures: Sequence[Picture]) -> list[float]:
    """Cosine of each scene to its own prompt."""
    network = _scorer(OBSERVERS["sketch"][0])
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
    scenes = vectors(observer, [crop(picture) for picture in _counted(run)])
    references = vectors(observer, [_picture(one.png) for one in run.story.references])
    pairs = [float(scenes[0] @ later) for later in scenes[1:]]
    pairs += [float(reference @ scene) for reference in references for scene in scenes]
    return min(pairs) if worst else float(np.mean(pairs))


def style_similarity(observer: str, worst: bool, run: TakenRun) -> float:
    """Mean cosine, or the least, of the Gram matrices of all pairs of whole scenes that show what they were asked to,
    as the dimension `style_similarity` has it. Raises NoValue where fewer than two do."""
    grams = [_style(observer, seen(picture)) for picture in _counted(run)]
    pairs = [float((one * other).sum()) for one, other in combinations(grams, 2)]
    return min(pairs) if worst else float(np.mean(pairs))


def _counted(run: TakenRun) -> list[Picture]:
    """The scenes that reach the fidelity gate. Raises NoValue where fewer than two do."""
    pictures = shown(run)
    counted = [picture for picture, cosine in zip(pictures, alignments(run, pictures), strict=True) if cosine >= GATE]
    if len(counted) < 2:
        raise NoValue(f"{len(counted)} of {len(pictures)} scenes show what was asked for (least alignment {GATE:g})")
    return counted


def boundary_similarity(observer: str, run: TakenRun) -> float:
    """Mean cosine of the last frame of each clip to the first of the next."""
    clips = [_frames(run.read, run.takes[f"scene-{number}/clip"]) for number in range(1, len(run.story.scenes) + 1)]
    ends = [vectors(observer, [before[1], after[0]]) for before, after in pairwise(clips)]
    return float(np.mean([a @ b for a, b in ends]))
