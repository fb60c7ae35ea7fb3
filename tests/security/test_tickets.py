"""Tickets for browsers: a WebSocket and an event stream behind the gate, on a real server."""

import asyncio
import socket
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipelines.store.account_tables import Credential
from serving.gateway.auth.gate import Gate, caller
from serving.gateway.auth.tokens import hashed, new_token
from serving.gateway.middleware import RequestIds
from tests.support.gateway_server import serve
from tests.support.gateway_users import bearer, log_in, new_user
from tests.support.waiting import PATIENCE_SECONDS

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Room:
    """A small application behind the same gate, beside the server that gives its tickets."""

    url: str
    queries: list[str]

    def enter(self, query="", **headers):
        return connect(f"ws{self.url.removeprefix('http')}/ws{query}", additional_headers=headers)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("tickets"), working=False) as server:
        server.call(new_user(server.services.auth, "anna"))
        yield server


@pytest.fixture(scope="module")
def room(server):
    app, queries = FastAPI(), []
    app.add_middleware(Gate, auth=server.services.auth)
    app.add_middleware(RequestIds)

    @app.websocket("/ws")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        queries.append(str(socket.query_params))
        await socket.send_text(caller(socket).username)
        await socket.close()

    @app.get("/stream")
    async def stream(request: Request) -> StreamingResponse:
        queries.append(str(request.query_params))
        return StreamingResponse(iter([f"data: {caller(request).username}\n\n"]), media_type="text/event-stream")

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2))
    listener.listen()
    served = asyncio.run_coroutine_threadsafe(running.serve(sockets=[listener]), server.loop)
    yield Room(f"http://127.0.0.1:{listener.getsockname()[1]}", queries)
    running.should_exit = True
    served.result(30)


def ticket(client):
    answer = client.post("/api/auth/ticket")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["ticket"]


def refused(room, query="", **headers):
    with pytest.raises(InvalidStatus) as error, room.enter(query, **headers):
        pass
    assert b'"unauthorized"' in error.value.response.body or error.value.response.status_code == 403
    return error.value.response.status_code


def test_a_ticket_opens_one_websocket_and_one_only(room, anna):
    good = ticket(anna)
    with room.enter(f"?ticket={good}") as open_socket:
        assert open_socket.recv(timeout=PATIENCE_SECONDS) == "anna"
    assert refused(room, f"?ticket={good}") == 401


def test_a_ticket_opens_one_event_stream_and_no_other_address(room, anna):
    good = ticket(anna)
    assert httpx.get(f"{room.url}/stream?ticket={good}").status_code == 401  # not asked for as an event stream
    answer = httpx.get(f"{room.url}/stream?after=3&ticket={good}", headers=STREAM)
    assert (answer.status_code, answer.text) == (200, "data: anna\n\n")
    assert httpx.get(f"{room.url}/stream?ticket={good}", headers=STREAM).status_code == 401


def test_neither_route_nor_log_sees_the_ticket(room, anna):
    room.queries.clear()
    httpx.get(f"{room.url}/stream?after=3&ticket={ticket(anna)}&x=1", headers=STREAM)
    with room.enter(f"?ticket={ticket(anna)}"):
        pass
    assert room.queries == ["after=3&x=1", ""]


def test_a_websocket_without_credentials_never_opens(room):
    assert refused(room) == 401
    assert refused(room, "?ticket=made-up") == 401
    assert refused(room, Authorization="Bearer made-up") == 401


def test_a_program_needs_no_ticket(room, server):
    with room.enter(**bearer(server.key)) as open_socket:
        assert open_socket.recv(timeout=PATIENCE_SECONDS) == "admin"


def test_an_access_token_in_an_address_is_worth_nothing(room, server):
    token = log_in(server, "anna").json()["access_token"]
    assert refused(room, f"?ticket={token}") == 401
    assert refused(room, f"?token={token}") == 401


def test_a_key_that_may_only_read_opens_no_websocket(room, server):
    key = server.call(new_user(server.services.auth, "reader", scopes=("read",)))
    assert refused(room, **bearer(key)) == 403
    assert httpx.get(f"{room.url}/stream", headers=bearer(key)).status_code == 200


def test_an_old_ticket_and_that_of_a_disabled_user_open_nothing(room, server):
    auth = server.services.auth
    server.call(new_user(auth, "late"))
    user = server.call(auth.accounts.user("late"))
    old, fresh = new_token(), new_token()
    login = Credential(kind="login", id=server.call(auth.logins.open(user.id, hashed(new_token()), 1)))
    server.call(auth.logins.issue_ticket(user.id, login, ("read", "write"), hashed(old), -1))
    assert refused(room, f"?ticket={old}") == 401
    server.call(auth.logins.issue_ticket(user.id, login, ("read", "write"), hashed(fresh), 30))
    server.call(auth.accounts.set_disabled("late", True))
    assert refused(room, f"?ticket={fresh}") == 401
