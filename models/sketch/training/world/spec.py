"""Words for a scene: varied captions from a small grammar, and the structured description.

Knows nothing of pixels. Captions leave parts out and carry words that mean nothing here ("hero shot", "campaign"),
because the prompts that the models will meet are written by agents, not by this file.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

SHAPES = ("bottle", "can", "mug", "box", "jar", "shoe", "watch", "lamp")
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black")
MATERIALS = ("matte", "glossy", "metallic")
SETTINGS = ("table", "beach", "studio", "city", "forest", "kitchen", "desert", "snow")
LIGHTS = ("soft", "warm", "cool", "dramatic")
CAMERAS = ("static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit")
ASPECTS = ("1:1", "9:16", "16:9")

Split = Literal["train", "heldout"]

HELD_OUT_SHARE = 0.1
"""Of the 640 combinations of shape, colour and setting."""

_SIZES = {"1:1": (64, 64), "9:16": (80, 48), "16:9": (48, 80)}


@dataclass(frozen=True)
class SceneSpec:
    """Everything that a picture or a clip depends on."""

    shape: str
    colour: str
    material: str
    setting: str
    light: str
    camera: str
    aspect: str
    x: float
    """Product centre, in half short sides from the middle; right is positive."""
    ground: float
    """Where the product stands, in half short sides below the middle."""
    scale: float
    """Larger dimension of the product as a share of the short side."""
    moment: float
    """Share of the camera move that a still picture is taken at; a clip always runs from 0 to 1."""
    seed: int
    """Decides the details of the backdrop and the wording."""


def frame_size(aspect: str) -> tuple[int, int]:
    """Height, width of a frame in pixels."""
    return _SIZES[aspect]


def is_held_out(shape: str, colour: str, setting: str) -> bool:
    digest = hashlib.sha256(f"{shape}|{colour}|{setting}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE


def _combination(rng: np.random.Generator, split: Split) -> tuple[str, str, str]:
    while True:
        shape, colour, setting = (str(rng.choice(names)) for names in (SHAPES, COLOURS, SETTINGS))
        if is_held_out(shape, colour, setting) == (split == "heldout"):
            return shape, colour, setting


def sample_spec(rng: np.random.Generator, split: Split = "train", aspect: str | None = None) -> SceneSpec:
    """One scene; a third of them taken from within a camera move, so that models know moved framings too."""
    shape, colour, setting = _combination(rng, split)
    camera = str(rng.choice(CAMERAS))
    return SceneSpec(
        shape=shape,
        colour=colour,
        material=str(rng.choice(MATERIALS)),
        setting=setting,
        light=str(rng.choice(LIGHTS)),
        camera=camera,
        aspect=aspect or str(rng.choice(ASPECTS, p=(0.5, 0.25, 0.25))),
        x=float(rng.uniform(-0.25, 0.25)),
        ground=float(rng.uniform(0.5, 0.7)),
        scale=float(rng.uniform(0.52, 0.72)),
        moment=float(rng.uniform(0, 1)) if rng.random() < 0.33 else 0.0,
        seed=int(rng.integers(2**31)),
    )


SHAPE_WORDS = {
    "bottle": ("bottle", "bottle", "water bottle", "flask"),
    "can": ("can", "can", "soda can", "drink can"),
    "mug": ("mug", "mug", "coffee mug", "cup"),
    "box": ("box", "box", "gift box", "package"),
    "jar": ("jar", "jar", "cream jar", "pot"),
    "shoe": ("shoe", "shoe", "sneaker", "running shoe"),
    "watch": ("watch", "watch", "wristwatch", "wrist watch"),
    "lamp": ("lamp", "lamp", "table lamp", "desk lamp"),
}
COLOUR_WORDS = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden yellow"),
    "green": ("green",),
    "teal": ("teal", "teal", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "black": ("black",),
}
MATERIAL_WORDS = {
    "matte": ("matte", "matt"),
    "glossy": ("glossy", "shiny", "polished"),
    "metallic": ("metallic", "steel", "metal", "brushed metal"),
}
SETTING_WORDS = {
    "table": ("on a wooden table", "on a table", "in a living room on a table", "on a desk"),
    "beach": ("on the beach", "on a sunny beach", "on the sand by the sea", "at the seaside"),
    "studio": ("in a studio", "on a grey studio background", "in a photo studio", "on a plain background"),
    "city": ("in a night city", "in the city at night", "before a skyline at night", "on a neon street"),
    "forest": ("in a forest", "in the green woods", "among trees in the forest", "in the woods"),
    "kitchen": ("in a kitchen", "on a kitchen counter", "in a bright kitchen", "in a tiled kitchen"),
    "desert": ("in the desert", "on desert dunes", "in the desert at sunset", "among sand dunes"),
    "snow": ("in the snow", "in snowy mountains", "on a snowy mountain", "in a winter landscape"),
}
LIGHT_WORDS = {
    "soft": ("soft light", "soft daylight", "even light"),
    "warm": ("warm light", "golden light", "warm glow"),
    "cool": ("cool light", "cold light", "bluish light"),
    "dramatic": ("dramatic light", "hard side light", "moody light"),
}
CAMERA_WORDS = {
    "static": ("static camera", "static shot", "locked camera"),
    "push_in": ("camera pushes in", "slow push in", "zoom in"),
    "pull_back": ("camera pulls back", "slow pull back", "zoom out"),
    "pan_left": ("camera pans left", "pan left"),
    "pan_right": ("camera pans right", "pan right"),
    "tilt_up": ("camera tilts up", "tilt up"),
    "tilt_down": ("camera tilts down", "tilt down"),
    "orbit": ("camera orbits the product", "orbit shot"),
}
OPENINGS = (
    "a photo of", "product photo of", "an ad showing", "close up of", "hero shot of", "a picture of", "we see",
    "advertisement for", "a wide shot of", "an elegant shot of", "a scene with", "medium shot of", "the camera finds",
)  # fmt: skip
FILLERS = (
    "high quality", "cinematic", "sharp focus", "fresh and bold", "for everyday people", "new campaign", "brand film",
    "no people", "clean composition", "the product stays in the centre", "calm mood", "a moment of joy", "made to last",
    "ready for the day", "detailed", "commercial photography", "vivid colours", "inviting atmosphere", "call to action",
    "the story begins", "discover more", "made for you", "minimal", "premium look", "simple and honest", "morning",
    "friends around", "a new day", "keep it close", "the same product again", "confident mood", "shop now", "slow pace",
)  # fmt: skip


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _article(noun: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        return f"the {noun}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def product_words(spec: SceneSpec, rng: np.random.Generator, colour: bool, shape: bool, material: bool) -> str:
    """The product as a noun phrase that names only what it is told to."""
    words = []
    if colour:
        words.append(_pick(rng, COLOUR_WORDS[spec.colour]))
    if material:
        words.append(_pick(rng, MATERIAL_WORDS[spec.material]))
    if rng.random() < 0.5:
        words.reverse()
    words.append(_pick(rng, SHAPE_WORDS[spec.shape]) if shape else _pick(rng, ("product", "object", "item", "thing")))
    return _article(" ".join(words), rng)


def _place(spec: SceneSpec) -> str:
    return "on the left" if spec.x < -0.12 else "on the right" if spec.x > 0.12 else "in the centre"


def caption(spec: SceneSpec, rng: np.random.Generator | None = None, *, named: float = 0.95, clip: bool = False) -> str:
    """One caption; the same one for the same spec unless a generator is given.

    `named` is how often the colour, and how often the shape, is said; a `clip` says its camera move.
    """
    rng = rng or np.random.default_rng(spec.seed)
    product = product_words(spec, rng, rng.random() < named, rng.random() < named, rng.random() < 0.5)
    setting = _pick(rng, SETTING_WORDS[spec.setting]) if rng.random() < 0.95 else ""
    subject = f"{_pick(rng, OPENINGS)} {product}" if rng.random() < 0.5 else product
    front = rng.random() < 0.15 and setting
    parts = [f"{setting}, {subject}" if front else f"{subject} {setting}".strip()]
    if rng.random() < 0.4:
        parts.append(_pick(rng, LIGHT_WORDS[spec.light]))
    if rng.random() < 0.2 and spec.moment == 0:
        parts.append(_place(spec))
    for chance in (0.35, 0.2):
        if rng.random() < chance:
            parts.insert(int(rng.integers(len(parts) + 1)), _pick(rng, FILLERS))
    if clip or rng.random() < 0.1:
        parts.append(_pick(rng, CAMERA_WORDS[spec.camera]))
    text = (". " if rng.random() < 0.15 else ", ").join(parts)
    return text + ("." if rng.random() < 0.2 else "")


def describe(spec: SceneSpec) -> dict[str, str | float | int]:
    """The scene as plain data, with the words a reader would use."""
    return {**asdict(spec), "position": _place(spec)}
