"""Every route there is, from the OpenAPI document and the application itself: no token is 401, a stranger's id is 404.

A route whose path parameter is in no table below fails the suite: whoever adds one says here how to make such an id, or
that it is nobody's own.
"""

import base64
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import Mount, Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from serving.gateway.app import create_app
from serving.gateway.auth.gate import PUBLIC
from tests.support.gateway_server import IMAGE, VIDEO, serve
from tests.support.gateway_users import bearer, logged_in
from tests.support.tiny_models import png

MEANT_TO_BE_PUBLIC = {
    "/",
    "/healthz",
    "/health",
    "/api/health",
    "/readyz",
    "/api/auth/login",
    "/api/auth/refresh",
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui-bundle.js",
    "/docs/swagger-ui.css",
    "/openapi.json",
}
"""What anybody may ask. Making another address public is a decision that shows here."""

METHODS = ("get", "post", "put", "patch", "delete")


def make_video(client):
    return created(client.post("/v1/videos", json={"model": VIDEO.name, "prompt": "a bottle"}))["id"]


def make_artifact(client):
    body = {"model": IMAGE.name, "prompt": "a bottle", "size": "64x64"}
    return created(client.post("/v1/images/generations", json=body))["data"][0]["artifact"]


def make_key(client):
    return created(client.post("/api/auth/keys", json={"name": "test"}))["id"]


def make_session(client):
    return created(client.post("/api/v1/interactive/start", json={"prompt": "an ad for a steel bottle"}))["session_id"]


def make_generation(client):
    return created(client.post("/api/v1/generations", json={"brief": {"prompt": "an ad for a steel bottle"}}))["id"]


def make_group(client):
    prompt = "an ad for a steel bottle"
    body = {
        "base_prompt": prompt,
        "comparison_type": "prompt",
        "variations": [{"prompt": prompt}, {"prompt": prompt * 2}],
    }
    return created(client.post("/api/generations/generate/parallel", json=body))["group_id"]


def make_story(client):
    """Its progress ends at once: it is cancelled."""
    name = f"story-{uuid.uuid4()}"
    body = {"prompt": "an ad for a steel bottle", "client_generation_id": name}
    answer = client.post("/api/master-mode/generate-story", json=body, headers={"Prefer": "respond-async"})
    client.post(f"/api/v1/generations/{created(answer)['generation_id']}/cancel")
    return name


def created(answer):
    assert answer.status_code in (200, 201, 202), answer.text
    return answer.json()


# --- the tables to extend ---

NOT_OWNED = {"model_id", "unread_id"}
"""Path parameters that name what everybody sees alike."""

MAKERS: dict[str, Callable[[httpx.Client], str]] = {
    "video_id": make_video,
    "sha256": make_artifact,
    "key_id": make_key,
    "session_id": make_session,
    "generation_id": make_generation,
    "group_id": make_group,
    "client_generation_id": make_story,
}
"""How a logged-in client makes what a path parameter names."""

COMPANIONS: dict[str, str] = {"scene_number": "1"}
"""Path parameters that only mean something below an owned one, such as a scene's number, with a value that is valid."""

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/interactive/{session_id}/approve"): {"json": {"stage": "story"}},
    ("POST", "/api/v1/interactive/{session_id}/regenerate"): {"json": {"stage": "story"}},
    ("POST", "/api/v1/interactive/{session_id}/reference-images/upload"): {"files": {"images": png(1).data}},
    ("POST", "/api/v1/interactive/{session_id}/inpaint"): {
        "json": {"image_id": 0, "mask_data": base64.b64encode(png(1).data).decode(), "prompt": "a hat"}
    },
    ("POST", "/api/v1/interactive/{session_id}/chat"): {"json": {"message": "make it brighter"}},
    ("POST", "/api/v1/generations/{generation_id}/approve"): {"json": {"stage": "story"}},
    ("POST", "/api/v1/generations/{generation_id}/regenerate"): {"json": {"stage": "story"}},
    ("PATCH", "/api/v1/generations/{generation_id}"): {"json": {"facts": {"brand": "Dew"}}},
    ("POST", "/api/v1/generations/{generation_id}/select"): {"json": {"take_id": "a take"}},
    ("POST", "/api/generations/comparison/{group_id}/winner"): {"json": {"generation_id": "a generation"}},
}
"""By method and path: keyword arguments of httpx (`json`, `files`) for routes with an id that need a valid body."""


# --- the routes ---


@dataclass(frozen=True)
class Operation:
    method: str
    path: str

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)[:}]", self.path))

    @property
    def owned(self) -> tuple[str, ...]:
        return tuple(name for name in self.parameters if name in MAKERS)

    def ask(self, client: httpx.Client, values: dict[str, str]) -> httpx.Response:
        path = re.sub(r"{(\w+)(:\w+)?}", lambda match: values[match[1]], self.path)
        return client.request(self.method, path, **BODIES.get((self.method, self.path), {}))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("routes"), working=False) as server:
        yield server


@pytest.fixture(scope="module")
def bruno(server):
    with logged_in(server, "bruno") as client:
        yield client


@pytest.fixture(scope="module")
def operations(server):
    """Those of the OpenAPI document, and those that the application keeps out of it."""
    paths = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    described = {
        Operation(method.upper(), path) for path, each in paths.items() for method in METHODS if method in each
    }
    hidden = {
        Operation(method, route.path)
        for route in create_app(server.services).routes
        if isinstance(route, Route | APIRoute)
        for method in (route.methods or {"GET"}) - {"HEAD", "OPTIONS"}
    }
    assert len(described) > 10
    return sorted(described | hidden, key=str)


@pytest.fixture(scope="module")
def sockets(server):
    """Every WebSocket route."""
    routes = create_app(server.services).routes
    assert not [route for route in routes if isinstance(route, Mount)], "a mounted application needs tests of its own"
    return [Operation("WS", r.path) for r in routes if isinstance(r, WebSocketRoute | APIWebSocketRoute)]


# --- cover ---


def test_what_is_public_is_meant_to_be(server):
    assert PUBLIC == MEANT_TO_BE_PUBLIC


def test_every_path_parameter_has_a_place_in_the_tables(operations, sockets):
    known = NOT_OWNED | set(MAKERS) | set(COMPANIONS)
    uncovered = [str(each) for each in (*operations, *sockets) if set(each.parameters) - known]
    assert not uncovered, f"say in this file how to make the ids of {uncovered}"
    orphans = [
        str(each) for each in (*operations, *sockets) if set(each.parameters) & set(COMPANIONS) and not each.owned
    ]
    assert not orphans, f"{orphans} have a companion without an owned id"


def test_the_tables_name_nothing_that_is_gone(operations, sockets):
    used = {name for each in (*operations, *sockets) for name in each.parameters}
    assert not (NOT_OWNED | set(MAKERS) | set(COMPANIONS)) - used
    assert not set(BODIES) - {(each.method, each.path) for each in operations}


# --- no token ---


def test_without_credentials_every_address_that_is_not_public_is_401(server, operations):
    with httpx.Client(base_url=server.url, timeout=60) as stranger:
        wrong = []
        for each in operations:
            answer = each.ask(stranger, dict.fromkeys(each.parameters, "x"))
            closed = answer.status_code == 401 and answer.json()["error"]["code"] == "unauthorized"
            if closed is (each.path in MEANT_TO_BE_PUBLIC):
                wrong.append(f"{each}: {answer.status_code} {answer.text[:80]}")
    assert not wrong


def test_without_credentials_no_websocket_opens(server, sockets):
    for each in sockets:
        assert _handshake(server, each, dict.fromkeys(each.parameters, "x")) == 401, each


# --- someone else's ids ---


def test_someone_elses_id_answers_exactly_like_an_unknown_one(anna, bruno, operations):
    wrong = []
    for each in operations:
        if not each.owned:
            continue
        hers = COMPANIONS | {name: MAKERS[name](anna) for name in each.owned}
        nobodys = COMPANIONS | {name: _other(hers[name]) for name in each.owned}
        stranger, unknown, owner = each.ask(bruno, hers), each.ask(bruno, nobodys), each.ask(anna, hers)
        if stranger.status_code != 404 or _without(stranger, hers) != _without(unknown, nobodys):
            wrong.append(f"{each}: {stranger.status_code} {stranger.text}, for an unknown id {unknown.text}")
        if owner.status_code in (401, 403, 404, 405, 422) or owner.status_code >= 500:
            wrong.append(f"{each}: even its owner gets {owner.status_code} {owner.text}; has it its body in BODIES?")
    assert not wrong


def test_no_list_shows_what_is_someone_elses(anna, bruno, operations):
    ids = [make(anna) for make in MAKERS.values()]
    wrong = []
    for each in operations:
        if each.method != "GET" or each.parameters or each.path in PUBLIC:
            continue
        text = each.ask(bruno, {}).text
        wrong += [f"{each} shows {one}" for one in ids if one in text]
    assert not wrong


@pytest.mark.parametrize(("path", "parameter", "make"), [("/v1/videos", "after", make_video)])
def test_someone_elses_id_in_a_query_is_404(anna, bruno, path, parameter, make):
    hers = make(anna)
    assert anna.get(path, params={parameter: hers}).status_code == 200
    assert bruno.get(path, params={parameter: hers}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        lambda sha: (
            "/v1/images/generations",
            {"model": IMAGE.name, "prompt": "a bottle", "coherence": {"start": {"artifact": sha}}},
        ),
        lambda sha: ("/v1/videos", {"model": VIDEO.name, "prompt": "a bottle", "input_reference": {"file_id": sha}}),
        lambda sha: ("/v1/scores", {"artifact": sha, "dimensions": ["imaging_quality"]}),
    ],
    ids=["images", "videos", "scores"],
)
def test_someone_elses_artifact_in_a_body_is_404(anna, bruno, body):
    path, content = body(make_artifact(anna))
    answer = bruno.post(path, json=content)
    if answer.status_code in (415, 422):
        pytest.fail(f"the body is not valid: {answer.text}")
    assert answer.status_code == 404, answer.text


def test_nobody_opens_someone_elses_websocket(server, anna, bruno, sockets):
    for each in sockets:
        hers = COMPANIONS | {name: MAKERS[name](anna) for name in each.owned}
        token = bruno.headers["authorization"].partition(" ")[2]
        assert _handshake(server, each, hers, bearer(token)) in (404, 1008), each


def _handshake(server, operation, values, headers=None):
    """The status with which a WebSocket is refused, or the code with which it is closed before any message."""
    path = re.sub(r"{(\w+)(:\w+)?}", lambda match: values[match[1]], operation.path)
    try:
        with connect(f"ws{server.url.removeprefix('http')}{path}", additional_headers=headers) as open_socket:
            open_socket.recv(timeout=10)
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0
    return 200


def _other(value: str) -> str:
    """An id of the same form that nobody has."""
    return value[:-1] + ("0" if value[-1] != "0" else "1")


def _without(answer: httpx.Response, values: dict[str, str]) -> str:
    text = answer.text
    for value in sorted(values.values(), key=len, reverse=True):  # an id may hold a companion
        text = text.replace(value, "ID")
    return text
