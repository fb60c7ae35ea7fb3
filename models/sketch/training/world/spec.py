"""What one scene is: the frozen `SceneSpec`, its vocabulary, and how specs are drawn at random.

A share of the (shape, colour, setting) combinations is held out by a stable hash, so that training never sees them
whatever its seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

SHAPES = ("bottle", "can", "mug", "box", "jar", "shoe", "watch", "lamp")
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black")
MATERIALS = ("matte", "glossy", "metallic")
SETTINGS = ("table", "beach", "studio", "city", "forest", "kitchen", "desert", "snow")
TIMES = ("morning", "noon", "evening", "night")
CAMERAS = ("static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit")
ASPECTS = ("1:1", "9:16", "16:9")

Split = Literal["train", "heldout"]

HELD_OUT_SHARE = 0.1
"""Of the 640 combinations of shape, colour and setting."""

TURN = 0.45
"""Largest yaw of a product in a scene, in radians; references are turned further."""

_SIZES = {"1:1": (128, 128), "9:16": (160, 96), "16:9": (96, 160)}


@dataclass(frozen=True)
class SceneSpec:
    """Everything that a picture or a clip depends on."""

    shape: str
    colour: str
    material: str
    setting: str
    time: str
    camera: str
    aspect: str
    x: float
    """Product centre, in half short sides from the middle; right is positive."""
    ground: float
    """Where the product stands, in half short sides below the middle."""
    scale: float
    """Larger dimension of the product as a share of the short side."""
    turn: float
    """Yaw of the product in radians from its usual view; drawn in steps of `products.catalogue.TURN_STEP`."""
    moment: float
    """Share of the camera move that a still picture is taken at; a clip always runs from 0 to 1."""
    seed: int
    """Decides the details of the backdrop and the wording."""


def frame_size(aspect: str) -> tuple[int, int]:
    """Height, width of a frame in pixels."""
    return _SIZES[aspect]


def is_held_out(shape: str, colour: str, setting: str) -> bool:
    """Whether training must never see this product in this setting."""
    digest = hashlib.sha256(f"{shape}|{colour}|{setting}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE


def products_held_out() -> list[tuple[str, str]]:
    """Shape and colour of every product that has at least one setting in which training never sees it."""
    return [
        (shape, colour)
        for shape in SHAPES
        for colour in COLOURS
        if any(is_held_out(shape, colour, setting) for setting in SETTINGS)
    ]


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
        time=str(rng.choice(TIMES)),
        camera=camera,
        aspect=aspect or str(rng.choice(ASPECTS, p=(0.5, 0.25, 0.25))),
        x=float(rng.uniform(-0.25, 0.25)),
        ground=float(rng.uniform(0.5, 0.7)),
        scale=float(rng.uniform(0.52, 0.72)),
        turn=float(rng.uniform(-TURN, TURN)),
        moment=float(rng.uniform(0, 1)) if rng.random() < 0.33 else 0.0,
        seed=int(rng.integers(2**31)),
    )
