"""`/v1/models`: OpenAI's model object, and the limits that a client must know to ask for what a model can do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from fastapi import APIRouter, Request, Response

from models.interfaces import Plain
from models.spec import ChatModelSpec, ImageModelSpec, PictureModelSpec, VideoModelSpec
from serving.backends.interface import Spec
from serving.gateway.problems import Problem
from serving.gateway.requests import Id
from serving.gateway.services import services


class PictureLimits(Plain):
    """What an image or video model accepts."""

    sizes: dict[str, str]
    """Default `WIDTHxHEIGHT` by aspect ratio."""
    size_multiple: int
    """Both sides in pixels are multiples of it."""
    max_pixels: int
    """Width x height x frames of one request."""
    max_references: int
    """Reference images that a request may have; 0: none."""
    reference_mask: bool
    """Whether `ip_adapter.mask` can keep the references to a region."""
    num_inference_steps: int
    """Its default number of denoising steps."""
    guidance_scale: float
    """Its default guidance."""
    loras: tuple[str, ...]
    """Names of the LoRAs that can be asked for."""
    fps: int | None = None
    """Video models: frames per second of its clips."""
    max_frames: int | None = None
    """Video models: frames of a clip at most."""
    frame_multiple: int | None = None
    """Frame counts are a multiple of it plus 1; any count when 1."""
    first_frame: Literal["required", "optional", "unused"] | None = None
    """Video models: whether a clip starts from a picture."""
    camera_moves: tuple[str, ...] | None = None
    """Video models: the moves of the camera that it knows."""


class ModelObject(Plain):
    """A model that this server offers."""

    id: str
    """What it is asked for by."""
    object: Literal["model"] = "model"
    """OpenAI's name for this kind of object."""
    created: int = 0
    """Not known of local weights; 0."""
    owned_by: str = "local"
    """Always `local`: it runs on this server's machines."""
    kind: Literal["chat", "image", "video"]
    """What it makes: `chat`, `image` or `video`."""
    family: str
    """The code that runs it, such as `animatediff`."""
    licence: str
    """Licence of its weights."""
    vision: bool | None = None
    """Chat models: whether messages may carry images."""
    limits: PictureLimits | None = None
    """Image and video models: what can be asked of it."""


class ModelList(Plain):
    """The models of this server."""

    object: Literal["list"] = "list"
    """OpenAI's name for this kind of object."""
    data: list[ModelObject]
    """One for each model."""


def model_list(specs: Iterable[Spec]) -> bytes:
    """A `ModelList` as JSON, made once per server: it is the same for everybody and asked for often."""
    return ModelList(data=[model_object(spec) for spec in specs]).model_dump_json().encode()


def model_object(spec: Spec) -> ModelObject:
    if isinstance(spec, ChatModelSpec):
        return ModelObject(id=spec.name, kind="chat", family=spec.family, licence=spec.licence, vision=spec.vision)
    return ModelObject(
        id=spec.name, kind=spec.kind, family=spec.family, licence=spec.licence, limits=picture_limits(spec)
    )


def picture_limits(spec: ImageModelSpec | VideoModelSpec) -> PictureLimits:
    common = _common_limits(spec)
    if isinstance(spec, ImageModelSpec):
        return common
    return common.model_copy(
        update={
            "fps": spec.native_fps,
            "max_frames": spec.max_frames,
            "frame_multiple": spec.frame_multiple,
            "first_frame": spec.first_frame,
            "camera_moves": spec.camera_moves,
        }
    )


def _common_limits(spec: PictureModelSpec) -> PictureLimits:
    return PictureLimits(
        sizes={ratio: f"{width}x{height}" for ratio, (width, height) in spec.sizes.items()},
        size_multiple=spec.size_multiple,
        max_pixels=spec.pixel_budget(),
        max_references=spec.references,
        reference_mask=spec.reference_mask,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        loras=tuple(spec.loras),
    )


router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """Every model of this server, with its limits."""
    return Response(request.app.state.model_list, media_type="application/json")


@router.get("/{model_id}")
async def get_model(request: Request, model_id: Id) -> ModelObject:
    """One model, with its limits."""
    specs = services(request).backend.specs
    if model_id not in specs:
        raise Problem("model_not_found", f"no model {model_id!r}: the models are {', '.join(specs)}", "model")
    return model_object(specs[model_id])
