"""The stories that the coherence table is measured on: what each scene is to show, and pictures of its product.

`python -m benchmarks.coherence.stories > benchmarks/coherence/stories.yaml` draws them anew: two sets of 24 stories of
4 scenes, the second for the replication. Every story is about one product of the sketch world in four places at four
times, and at least one of its combinations of shape, colour and setting was seen by no training of the family. As
writers do, the first scene names the product in full and later ones leave some of it to the references, so that these
have something to do. Pictures are rendered when they are needed; none is stored.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from models.sketch.training.world import render_reference
from models.sketch.training.world.captions import COLOUR_WORDS, MATERIAL_WORDS, SETTING_WORDS, SHAPE_WORDS, TIME_WORDS
from models.sketch.training.world.spec import (
    MATERIALS,
    SETTINGS,
    TIMES,
    is_held_out,
    products_held_out,
)

FILE = Path(__file__).parent / "stories.yaml"
SETS = ("first", "second")
STORIES = 24
SCENES = 4
REFERENCES = 2
MOVES = ("static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down")
SAID = ("all", "colour", "material", "shape")
"""What a prompt says of the product beside its shape; the first scene says all."""


@dataclass(frozen=True)
class Scene:
    """What one scene is asked to show."""

    setting: str
    time: str
    camera: str
    says: str
    """One of SAID."""
    prompt: str


@dataclass(frozen=True)
class Story:
    """One product in four places."""

    story: str
    """Its name, `first-01`."""
    seed: int
    """Of everything that is drawn of it, at every arm."""
    shape: str
    colour: str
    material: str
    scenes: tuple[Scene, ...]

    def references(self) -> list[Image.Image]:
        """Photographs of the product alone, from different sides; always the same ones."""
        product = (self.shape, self.colour, self.material)
        return [render_reference(product, np.random.default_rng((self.seed, k))) for k in range(REFERENCES)]


def read(name: str) -> tuple[Story, ...]:
    """The stories of one set."""
    known = yaml.safe_load(FILE.read_text())
    return tuple(
        Story(**{**story, "scenes": tuple(Scene(**scene) for scene in story["scenes"])}) for story in known[name]
    )


def drawn(seed: int = 1) -> dict[str, tuple[Story, ...]]:
    """Both sets. 41 of the 80 products have a combination held out: 24 are in the first set, 17 in the second, which
    has 7 products of the first again, in another material."""
    rng = np.random.default_rng(seed)
    products = products_held_out()
    products = [products[k] for k in rng.permutation(len(products))]
    chosen = [*products, *products[: 2 * STORIES - len(products)]]
    materials = [str(m) for m in rng.choice(MATERIALS, len(products))]
    materials += [MATERIALS[(MATERIALS.index(m) + 1) % len(MATERIALS)] for m in materials]
    made: dict[str, tuple[Story, ...]] = {}
    for place, name in enumerate(SETS):
        span = range(place * STORIES, (place + 1) * STORIES)
        made[name] = tuple(_story(f"{name}-{k - span.start + 1:02d}", *chosen[k], materials[k], rng) for k in span)
    return made


def _story(name: str, shape: str, colour: str, material: str, rng: np.random.Generator) -> Story:
    unseen = [setting for setting in SETTINGS if is_held_out(shape, colour, setting)]
    others = [setting for setting in rng.permutation(SETTINGS) if setting not in unseen]
    settings = [str(s) for s in rng.permutation([*unseen, *others][:SCENES])]
    times = [str(t) for t in rng.permutation(TIMES)]
    moves = [str(m) for m in rng.choice(MOVES, SCENES, replace=False)]
    says = [SAID[0], *(str(s) for s in rng.permutation(SAID[1:]))]
    product = (shape, colour, material)
    return Story(
        story=name,
        seed=int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"),
        shape=shape,
        colour=colour,
        material=material,
        scenes=tuple(
            Scene(setting, time, move, said, _prompt(product, setting, time, said, rng))
            for setting, time, move, said in zip(settings, times, moves, says, strict=True)
        ),
    )


def _prompt(product: tuple[str, str, str], setting: str, time: str, says: str, rng: np.random.Generator) -> str:
    shape, colour, material = product
    words = [
        *([_one(COLOUR_WORDS[colour], rng)] if says in ("all", "colour") else []),
        *([_one(MATERIAL_WORDS[material], rng)] if says in ("all", "material") else []),
        SHAPE_WORDS[shape][0],
    ]
    noun = " ".join(words)
    article = "the" if says != "all" else "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun} {_one(SETTING_WORDS[setting], rng)}, {_one(TIME_WORDS[time], rng)}"


def _one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def written(sets: dict[str, tuple[Story, ...]]) -> str:
    """The file: one line a scene."""
    lines = ["# Drawn by `python -m benchmarks.coherence.stories`: change that, not this."]
    for name, stories in sets.items():
        lines.append(f"{name}:")
        for story in stories:
            head = {key: getattr(story, key) for key in ("story", "seed", "shape", "colour", "material")}
            lines += [f"- {_line(head)[1:-1]}".replace(", ", "\n  "), "  scenes:"]
            lines += [f"  - {_line(vars(scene))}" for scene in story.scenes]
    return "\n".join(lines) + "\n"


def _line(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1000).strip()


if __name__ == "__main__":
    sys.stdout.write(written(drawn()))
