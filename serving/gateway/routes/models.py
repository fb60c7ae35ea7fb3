"""`/v1/models`: what this server offers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.gateway.problems import Problem
from serving.gateway.schemas.models import ModelList, ModelObject, model_object
from serving.gateway.services import services

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """Every model, with its limits."""
    return Response(request.app.state.model_list, media_type="application/json")


@router.get("/{model_id}")
async def get_model(request: Request, model_id: str) -> ModelObject:
    """One model."""
    specs = services(request).backend.specs
    if model_id not in specs:
        raise Problem("model_not_found", f"no model {model_id!r}: the models are {', '.join(specs)}", "model")
    return model_object(specs[model_id])
