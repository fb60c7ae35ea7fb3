"""`/v1/models`: what this server offers."""

from __future__ import annotations

from fastapi import APIRouter, Request

from serving.gateway.problems import Problem
from serving.gateway.schemas.models import ModelList, ModelObject, model_object
from serving.gateway.services import services

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(request: Request) -> ModelList:
    """Every model, with its limits."""
    return ModelList(data=[model_object(spec) for spec in services(request).backend.specs.values()])


@router.get("/{model_id}")
async def get_model(request: Request, model_id: str) -> ModelObject:
    """One model."""
    specs = services(request).backend.specs
    if model_id not in specs:
        raise Problem("model_not_found", f"no model {model_id!r}: the models are {', '.join(specs)}", "model")
    return model_object(specs[model_id])
