"""The gateway: services in, FastAPI application out.

RequestIds ─> Measured ─> Gate ─> BodyLimit ─> routes
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from serving.gateway import health
from serving.gateway.auth import routes as auth
from serving.gateway.auth.gate import PUBLIC, Gate
from serving.gateway.events import EventStreams
from serving.gateway.generations import routes as generations
from serving.gateway.interactive import routes as interactive
from serving.gateway.interactive import socket as session_socket
from serving.gateway.master_mode import routes as master_mode
from serving.gateway.metrics import HttpMetrics
from serving.gateway.middleware import BodyLimit, Measured, RequestIds
from serving.gateway.openai import artifacts, chat, images, models, scores, videos
from serving.gateway.openai.models import model_list
from serving.gateway.openapi import TAGS, describe, operation_id
from serving.gateway.original import routes as original
from serving.gateway.problems import ErrorResponse, install
from serving.gateway.services import MEGABYTE, Services

ROUTES = (
    health,
    auth,
    models,
    chat,
    images,
    videos,
    scores,
    artifacts,
    generations,
    original,
    master_mode,
    interactive,
    session_socket,
)


def described() -> FastAPI:
    """The routes with their OpenAPI document, without services: it can describe itself and serve nothing."""
    app = FastAPI(
        title="AdMint",
        version=version("admint"),
        summary="Ads from a brief, on your own machines.",
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        generate_unique_id_function=operation_id,
        responses={"default": {"model": ErrorResponse}},
    )
    for routes in ROUTES:
        app.include_router(routes.router)
    describe(app, PUBLIC)
    return app


def create_app(services: Services) -> FastAPI:
    """A new application over `services`. It closes its event streams and the decoders when it is shut down."""
    streams = EventStreams(services.store, services.ads.index)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        yield
        await streams.close()
        services.decoders.close()

    app = described()
    app.router.lifespan_context = lifespan
    app.state.services = services
    app.state.model_list = model_list(services.backend.specs.values())
    app.state.metrics = HttpMetrics()
    app.state.event_streams = streams
    install(app)
    form_bytes = services.limits.video_bytes + MEGABYTE
    app.add_middleware(BodyLimit, json_bytes=services.limits.json_bytes, form_bytes=form_bytes)
    app.add_middleware(Gate, auth=services.auth)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(RequestIds)
    return app
