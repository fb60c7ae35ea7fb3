"""Names of models that run elsewhere, as old callers write them, and the model here that stands in for one.

A client written for a hosted service names that service's model (`flux-pro`, `kling-v1.5`, `gpt-4o`). It is answered by
the nearest model here, and told so; a name that nobody knows is an error that suggests the nearest spelling.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal

ModelKind = Literal["chat", "image", "video"]

ELSEWHERE: dict[ModelKind, re.Pattern[str]] = {
    "image": re.compile(
        r"(flux|dall-?e|gpt-image|chatgpt-image|stable-diffusion|stable-image|sdxl|sd-?[1-3]|midjourney|ideogram|imagen|"
        r"recraft|playground-v|kandinsky|seedream|qwen-image|hidream|nano-banana|photon|titan-image|nova-canvas|firefly|"
        r"dreamshaper|z-image|hunyuan-?image|gemini-[\w.-]+-image|grok-[\w.-]+-image)(?![a-z])"
    ),
    "video": re.compile(
        r"(kling|sora|veo|runway(ml)?|gen-?[1-4]|luma|ray-?[1-3]|dream-machine|pika|hailuo|minimax-video|video-01|seedance|wan|"
        r"hunyuan-?video|ltx|mochi|cogvideo|stable-video|svd|animate-?diff|pixverse|vidu|nova-reel|zeroscope|i2vgen|"
        r"skyreels)(?![a-z])"
    ),
    "chat": re.compile(
        r"(gpt|chatgpt|o[134]|claude|gemini|gemma|llama|meta-llama|mistral|mixtral|ministral|codestral|qwen|qwq|deepseek|"
        r"grok|command|phi|yi|kimi|moonshot|glm|nova|llava|text-davinci|ernie|minimax)(?![a-z])"
    ),
}
"""How the names of hosted and of widely used open models begin, by what those make; the first that fits counts."""


def kind_elsewhere(name: str) -> ModelKind | None:
    """What the model of that name makes where it runs; None for a name that nobody knows.

    A provider before it and a version behind it do not count: `openai/sora-2`, `kwaivgi/kling-v1.6:3f0457e`.
    """
    bare = re.split(r"[:@]", name.strip().lower().rpartition("/")[2])[0].replace("_", "-")
    return next((kind for kind, names in ELSEWHERE.items() if names.match(bare)), None)


def stand_in(name: str, kind: ModelKind, models: Sequence[str]) -> str | None:
    """The model of `models`, all of `kind`, that is nearest to the model `name` of elsewhere; None if it is none.

    One whose name begins with the same word (`flux-pro`: `flux.1-schnell`), else the first.
    """
    if not models or kind_elsewhere(name) != kind:
        return None
    word = _first_word(name)
    return next((model for model in models if _first_word(model) == word), models[0])


def nearest_name(name: str, kind: ModelKind, models: Sequence[str], strict: bool) -> tuple[str, tuple[str, ...]]:
    """`name` itself, unless it is a model's of elsewhere: then the nearest of `models`, with a note; not if `strict`.

    A name that nobody knows is left to whoever looks it up.
    """
    nearest = None if strict or name in models else stand_in(name, kind, models)
    return (name, ()) if nearest is None else (nearest, (stand_in_note(name, nearest),))


def stand_in_note(name: str, model: str) -> str:
    """What a caller is told whose model `name` was not used."""
    return f"model {name[:80]!r} does not run here: {model!r} is used, the nearest that does"


def unknown_model(name: str, kind: ModelKind | None, known: Sequence[str]) -> str:
    """The error of a name that no model of `kind` (None: of any) has: which one is near, and which there are."""
    word = f"{kind} model" if kind else "model"
    near = difflib.get_close_matches(name.lower(), known, n=1) or list(known[:1])
    nearest = f"the nearest is {near[0]!r}; " if near else ""
    return f"no {word} {name[:80]!r}: {nearest}the {word}s are {', '.join(known) or 'none'}"


def _first_word(name: str) -> str:
    found = re.match(r"[a-z]+", name.lower().rpartition("/")[2])
    return found[0] if found else ""
