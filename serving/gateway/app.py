"""The gateway: services in, FastAPI application out.

ReverseProxies ─> RequestIds ─> SafeAnswers ─> Cors ─> Answered ─> Measured ─> Gate ─> HeadOfGet ─> BodyLimit ─> routes
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from models.interfaces import ReferenceRole
from models.spec import AspectRatio, CameraMove
from pipelines.recipe import StageName
from pipelines.records import ComparisonType, Event, EventKind, GenerationStatus, Severity
from pipelines.steps import AgentRole, TakeKind
from serving.gateway import health, pages
from serving.gateway.auth import routes as auth
from serving.gateway.auth.gate import PUBLIC, Gate, asking
from serving.gateway.body_limit import BodyLimit
from serving.gateway.browsers import Cors, SafeAnswers
from serving.gateway.events import EventStreams
from serving.gateway.generations import routes as generations
from serving.gateway.interactive import routes as interactive
from serving.gateway.interactive import socket as session_socket
from serving.gateway.interactive.answers import SessionStage, WorkStage
from serving.gateway.interactive.schemas import SessionCommand
from serving.gateway.interactive.views import SessionMessage
from serving.gateway.master_mode import routes as master_mode
from serving.gateway.master_mode.answers import ProgressUpdate
from serving.gateway.metrics import HttpMetrics
from serving.gateway.middleware import Answered, HeadOfGet, Measured, RequestIds
from serving.gateway.openai import absent, artifacts, chat, images, models, scores, videos
from serving.gateway.openai.answers import ImageEvent
from serving.gateway.openai.chat import ChatStreamItem
from serving.gateway.openai.models import model_list
from serving.gateway.openapi import DESCRIPTION, SERVERS, TAGS, describe, operation_id
from serving.gateway.original import routes as original
from serving.gateway.problems import ErrorResponse, install
from serving.gateway.proxies import ReverseProxies
from serving.gateway.services import MEGABYTE, Services
from serving.tracing import Traced

ROUTES = (
    pages,
    health,
    auth,
    models,
    chat,
    images,
    absent,
    videos,
    scores,
    artifacts,
    generations,
    original,
    master_mode,
    interactive,
    session_socket,
)


def _said(kind: Any, text: str) -> Any:
    return Annotated[kind, Field(description=text)]


STREAMED: Mapping[str, Any] = {
    "GenerationStreamItem": _said(Event | ErrorResponse, "An event of a generation, or why its stream ends early."),
    "ProgressStreamItem": _said(ProgressUpdate | ErrorResponse, "A step of master mode, or why its stream ends early."),
    "ChatStreamItem": _said(ChatStreamItem, "A piece of an answer, or why it ends early; `[DONE]` follows the last."),
    "ImageStreamItem": _said(ImageEvent | ErrorResponse, "One image of a stream, or why there are no more."),
    "SessionMessage": _said(SessionMessage, "What the WebSocket `/ws/{session_id}` sends, by its `type`."),
    "SessionCommand": _said(SessionCommand, "What it takes; a text that is no JSON object is a chat `message`."),
}
"""What event streams and the WebSocket carry, by the name of the schema."""


LISTS: Mapping[str, tuple[Any, str]] = {
    "AgentRole": (AgentRole, "Who speaks in a conversation."),
    "AspectRatio": (AspectRatio, "Width to height."),
    "CameraMove": (CameraMove, "A move of the camera."),
    "ComparisonType": (ComparisonType, "What the generations of a comparison differ in."),
    "EventKind": (EventKind, "What happened."),
    "GenerationStatus": (GenerationStatus, "How far a generation is."),
    "ReferenceRole": (ReferenceRole, "What a reference image shows."),
    "SessionStage": (SessionStage, "A stage of a session, or how it ended."),
    "Severity": (Severity, "How much an event matters."),
    "StageName": (StageName, "A stage of a generation, in the order in which they run."),
    "TakeKind": (TakeKind, "What a take is."),
    "WorkStage": (WorkStage, "A stage of a session."),
}
"""Closed lists of values that many fields share, by the name of the schema."""


def described() -> FastAPI:
    """The routes with their OpenAPI document, without services: it can describe itself and serve nothing."""
    app = FastAPI(
        title="AdMint",
        version=version("admint"),
        summary="Ads from a brief, on your own machines.",
        description=DESCRIPTION,
        servers=[dict(each) for each in SERVERS],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        generate_unique_id_function=operation_id,
        responses={"default": {"model": ErrorResponse}},
        openapi_url=None,  # `serving.gateway.pages` serves it, with pages that ask no other host
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address with the caller's own Host header in it
    )
    for routes in ROUTES:
        app.include_router(routes.router)
    describe(app, PUBLIC, STREAMED, LISTS)
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
    app.add_middleware(BodyLimit, json_bytes=services.limits.json_bytes, form_bytes=form_bytes, owner=asking)
    app.add_middleware(HeadOfGet)
    app.add_middleware(Gate, auth=services.auth)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(Traced)
    app.add_middleware(Answered)
    app.add_middleware(Cors, origins=services.auth.origins)
    app.add_middleware(SafeAnswers)
    app.add_middleware(RequestIds)
    app.add_middleware(ReverseProxies, proxies=services.proxies)
    return app
