"""`/healthz`: this process answers. `/readyz`: every deployment has generated once. `/metrics`: for Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from models.interfaces import Plain
from serving.gateway.metrics import HttpMetrics
from serving.gateway.problems import READY_RETRY_SECONDS, ErrorResponse, Problem
from serving.gateway.services import services

router = APIRouter(tags=["health"])

READY = "ready"


class Health(Plain):
    """The gateway answers."""

    status: Literal["ok"] = "ok"
    """Always `ok`: without it there is no answer."""


class Readiness(Plain):
    """Every model has generated once."""

    status: Literal["ready"] = "ready"
    """Always `ready`: until then the answer is 503."""
    deployments: dict[str, str]
    """State by deployment: `ready`, or what is waited for."""


@router.get("/healthz")
@router.get("/health", include_in_schema=False)
@router.get("/api/health", include_in_schema=False)
async def healthz() -> Health:
    """200 while this process answers, whatever state the models are in. `/health` and `/api/health` are the same."""
    return Health()


@router.get("/readyz", responses={503: {"model": ErrorResponse, "description": "What is waited for"}})
async def readyz(request: Request) -> Readiness:
    """200 when every deployment is ready, else 503 that says what is waited for."""
    deployments = dict(await services(request).backend.ready())
    waiting = [f"{name}: {state}" for name, state in deployments.items() if state != READY]
    if waiting:
        headers = {"Retry-After": str(READY_RETRY_SECONDS)}
        raise Problem("not_ready", f"waiting for {'; '.join(waiting)}", None, {"deployments": deployments}, headers)
    return Readiness(deployments=deployments)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    http: HttpMetrics = request.app.state.metrics
    used = services(request)
    text = http.text(await used.backend.counters(), await used.store.count_waiting())
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
