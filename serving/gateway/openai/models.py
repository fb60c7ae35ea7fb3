"""`/v1/models`: OpenAI's model object, and the limits that a client must know to ask for what a model can do."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Request, Response

from models.spec import ChatModelSpec, ImageModelSpec, PictureModelSpec, VideoModelSpec
from serving.backends.interface import Spec
from serving.gateway.openai.answers import ModelList, ModelObject, PictureLimits
from serving.gateway.problems import Problem
from serving.gateway.requests import Id
from serving.gateway.services import services
from serving.model_names import kind_elsewhere, unknown_model


def model_list(specs: Iterable[Spec]) -> bytes:
    """A `ModelList` as JSON, made once per server: it is the same for everybody and asked for often."""
    return ModelList(data=[model_object(spec) for spec in specs]).model_dump_json().encode()


def model_object(spec: Spec) -> ModelObject:
    return ModelObject(
        id=spec.name,
        kind=spec.kind,
        family=spec.family,
        licence=spec.licence,
        commercial=spec.commercial,
        commercial_condition=spec.commercial_condition or None,
        vision=spec.vision if isinstance(spec, ChatModelSpec) else None,
        limits=None if isinstance(spec, ChatModelSpec) else picture_limits(spec),
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
            "sound": spec.sound,
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
        presets=tuple(spec.presets),
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
        kind = kind_elsewhere(model_id)
        served = [spec.name for spec in specs.values() if kind in (None, spec.kind)]
        raise Problem("model_not_found", unknown_model(model_id, kind, served), "model")
    return model_object(specs[model_id])
