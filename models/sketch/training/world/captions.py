"""Words for a scene: varied captions from a small grammar, and the structured description.

Captions leave parts out and carry words that mean nothing here ("hero shot", "campaign"), because the prompts that the
models will meet are written by agents, not by this file.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from models.sketch.training.world.spec import SceneSpec

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
    "beach": ("on the beach", "on a sandy beach", "on the sand by the sea", "at the seaside"),
    "studio": ("in a studio", "on a studio background", "in a photo studio", "on a plain background"),
    "city": ("in the city", "in a city", "before a skyline", "on a city square"),
    "forest": ("in a forest", "in the green woods", "among trees in the forest", "in the woods"),
    "kitchen": ("in a kitchen", "on a kitchen counter", "in a modern kitchen", "in a tiled kitchen"),
    "desert": ("in the desert", "on desert dunes", "in a sandy desert", "among sand dunes"),
    "snow": ("in the snow", "in snowy mountains", "on a snowy mountain", "in a winter landscape"),
}
TIME_WORDS = {
    "morning": (
        "in the morning", "at sunrise", "in the early morning", "at dawn", "in soft morning light",
        "on a misty morning",
    ),
    "noon": (
        "at noon", "in bright midday sun", "at midday", "in bright daylight", "in the middle of the day",
        "on a sunny day",
    ),
    "evening": (
        "in the evening", "at sunset", "at golden hour", "at dusk", "in warm evening light", "in the golden hour",
    ),
    "night": ("at night", "after dark", "at midnight", "under the moon", "late at night", "in the dark of night"),
}  # fmt: skip
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
    "ready to go", "detailed", "commercial photography", "vivid colours", "inviting atmosphere", "call to action",
    "the story begins", "discover more", "made for you", "minimal", "premium look", "simple and honest",
    "friends around", "keep it close", "the same product again", "confident mood", "shop now", "slow pace",
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
    product = product_words(spec, rng, rng.random() < named, rng.random() < named, rng.random() < 0.75)
    setting = _pick(rng, SETTING_WORDS[spec.setting]) if rng.random() < 0.95 else ""
    hour = _pick(rng, TIME_WORDS[spec.time]) if rng.random() < 0.88 else ""
    subject = f"{_pick(rng, OPENINGS)} {product}" if rng.random() < 0.5 else product
    parts = _sentence(subject, setting, hour, rng)
    if rng.random() < 0.2 and spec.moment == 0:
        parts.append(_place(spec))
    for chance in (0.3, 0.15):
        if rng.random() < chance:
            parts.insert(int(rng.integers(len(parts) + 1)), _pick(rng, FILLERS))
    if clip or rng.random() < 0.1:
        parts.append(_pick(rng, CAMERA_WORDS[spec.camera]))
    text = (". " if rng.random() < 0.15 else ", ").join(parts)
    return text + ("." if rng.random() < 0.2 else "")


def _sentence(subject: str, setting: str, hour: str, rng: np.random.Generator) -> list[str]:
    """Subject, setting and hour in one of the orders that people use."""
    order = rng.random()
    if order < 0.5:
        return [f"{subject} {setting} {hour}".replace("  ", " ").strip()]
    if order < 0.7:
        return [f"{subject} {setting}".strip(), *([hour] if hour else [])]
    if order < 0.85:
        return [f"{setting} {hour}".strip(), subject] if setting or hour else [subject]
    return [*([hour] if hour else []), f"{subject} {setting}".strip()]


def plain_caption(spec: SceneSpec) -> str:
    """The scene in one plain sentence that says every attribute."""
    product = f"{COLOUR_WORDS[spec.colour][0]} {MATERIAL_WORDS[spec.material][0]} {SHAPE_WORDS[spec.shape][0]}"
    article = "an" if product[0] in "aeiou" else "a"
    return f"{article} {product} {SETTING_WORDS[spec.setting][0]}, {TIME_WORDS[spec.time][0]}"


def describe(spec: SceneSpec) -> dict[str, str | float | int]:
    """The scene as plain data, with the words a reader would use."""
    return {**asdict(spec), "position": _place(spec)}
