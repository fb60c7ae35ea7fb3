"""What a model takes, checked before anything is queued: every refusal names the field, the value and the limit.

The limits themselves are the model's description (`models.spec`); engines check again what only they can know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from models.errors import InvalidRequest
from models.interfaces import LoraUse
from models.spec import ImageModelSpec, PictureModelSpec, Size, VideoModelSpec
from serving.gateway.backends import Spec
from serving.gateway.problems import Problem, refuse

Kind = TypeVar("Kind", ImageModelSpec, VideoModelSpec)
ADDRESSES = {"chat": "/v1/chat/completions", "image": "/v1/images/generations", "video": "/v1/videos"}


def find_model(specs: Mapping[str, Spec], name: str | None, kind: type[Kind]) -> Kind:
    """The model `name`, or the first of its kind. Raises Problem: 404 unknown, 422 of another kind."""
    of_kind = [spec for spec in specs.values() if isinstance(spec, kind)]
    known = ", ".join(spec.name for spec in of_kind) or "none"
    word = kind.__name__.removesuffix("ModelSpec").lower()
    if name is None:
        if not of_kind:
            raise Problem("model_not_found", f"this server has no {word} model", "model")
        return of_kind[0]
    if name not in specs:
        raise Problem("model_not_found", f"no model {name!r}: the {word} models are {known}", "model")
    spec = specs[name]
    if not isinstance(spec, kind):
        refuse("model", f"model {name!r} is a {spec.kind} model: ask {ADDRESSES[spec.kind]}, or take one of {known}")
    return spec


def pick_size(spec: PictureModelSpec, text: str, like: Size | None = None) -> Size:
    """Width and height of `text`; for `auto` the model's own size, the nearest in shape to `like` if that is given."""
    if text == "auto":
        sizes = list(spec.sizes.values())
        return sizes[0] if like is None else min(sizes, key=lambda size: abs(_shape(size) - _shape(like)))
    width, height = (int(side) for side in text.split("x"))
    return width, height


def check_size(spec: PictureModelSpec, size: Size, frames: int = 1) -> None:
    """Raises Problem 422 with the multiple or the budget that `size` breaks."""
    width, height = size
    step = spec.size_multiple
    if width % step or height % step or min(size) < step:
        near = "x".join(str(max(step, round(side / step) * step)) for side in size)
        text = f"size {width}x{height}: both sides must be multiples of {step} for model {spec.name!r}; near is {near}"
        refuse("size", text, size_multiple=step)
    try:
        spec.check_pixels(width, height, frames)
    except InvalidRequest as error:
        refuse("size", str(error), max_pixels=spec.pixel_budget())


def check_loras(spec: PictureModelSpec, loras: Sequence[LoraUse]) -> None:
    names = [lora.name for lora in loras]
    for name in names:
        if name not in spec.loras:
            known = ", ".join(spec.loras) or "none"
            refuse("lora", f"model {spec.name!r} has no LoRA {name!r}: choose from {known}")
        if names.count(name) > 1:
            refuse("lora", f"LoRA {name!r} is named twice: give it once with one scale")


def check_references(spec: PictureModelSpec, count: int, param: str) -> None:
    if count > spec.references:
        text = f"{param}: model {spec.name!r} takes {spec.references} reference images, not {count}"
        refuse(param, text, max_references=spec.references)


def check_strength(strength: float, steps: int, param: str) -> None:
    """Some denoising step must run."""
    if int(steps * strength) < 1:
        refuse(param, f"{param} {strength} of {steps} steps runs no step", min_strength=round(1 / steps, 4))


def takes_references_natively(spec: PictureModelSpec) -> bool:
    """Whether the family reads several images itself (Flux.2, Qwen-Image-Edit-Plus), without an adapter."""
    return spec.references > 0 and "ip_adapter" not in spec.weights


def _shape(size: Size) -> float:
    return size[0] / size[1]
