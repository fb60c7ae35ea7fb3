"""The models of a server as descriptions: what a request may ask of them. Their weights are the server's affair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.steps import Json

Kind = TypeVar("Kind", ChatModelSpec, ImageModelSpec, VideoModelSpec)
WORDS: dict[type, str] = {ChatModelSpec: "chat", ImageModelSpec: "image", VideoModelSpec: "video"}


def served_model(server: str, models: Sequence[Json], kind: type[Kind], name: str | None) -> Kind:
    """The model `name` among the `data` of `GET /v1/models`, or the first of its kind. Raises BadInput."""
    word = WORDS[kind]
    known = {str(model["id"]): model for model in models if model["kind"] == word}
    chosen = known.get(name) if name is not None else next(iter(known.values()), None)
    if chosen is None:
        asked = "" if name is None else f" {name!r}"
        raise BadInput(f"{server} has no {word} model{asked}: its {word} models are {', '.join(known) or 'none'}")
    common = {"name": chosen["id"], "kind": word, "family": chosen["family"], "licence": chosen["licence"]}
    return kind.model_validate({**common, "vram_gb": 0.0, **_limits(chosen)})


def _limits(model: Json) -> dict[str, Any]:
    limits = model.get("limits")
    if limits is None:
        return {"vision": bool(model.get("vision"))}
    found = {
        "sizes": {ratio: tuple(map(int, size.split("x"))) for ratio, size in limits["sizes"].items()},
        "size_multiple": limits["size_multiple"],
        "num_inference_steps": limits["num_inference_steps"],
        "guidance_scale": limits["guidance_scale"],
        "references": limits["max_references"],
        "max_pixels": limits["max_pixels"],
    }
    if model["kind"] == "image":
        return found
    moving = {name: limits[name] for name in ("max_frames", "frame_multiple", "first_frame", "camera_moves")}
    return {**found, **moving, "native_fps": limits["fps"]}
