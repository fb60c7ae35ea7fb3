"""An open stream ends with what opened it: over a real server, event streams and WebSockets alike."""

import json
from contextlib import contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from serving.gateway.auth import open_streams
from tests.support.ad_server import PROMPT, frames
from tests.support.gateway_server import serve
from tests.support.gateway_users import bearer, log_in, new_user

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, serve(tmp_path_factory.mktemp("ends"), working=False) as server:
        patch.setattr(open_streams, "CHECK_SECONDS", 0.02)
        yield server


class Person:
    """A user with a session that waits, what they ask with, and what ends it."""

    def __init__(self, server, name, way):
        self.server, self.name, self.way = server, name, way
        server.call(new_user(server.services.auth, name))
        self.token = log_in(server, name).json()["access_token"]
        made = self.post("/api/auth/keys", {"name": "program"})
        self.key, self.key_id = made["key"], made["id"]
        self.session = self.post("/api/v1/interactive/start", {"prompt": PROMPT})["session_id"]

    def post(self, path, body=None):
        answer = httpx.post(f"{self.server.url}{path}", json=body, headers=bearer(self.token), timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def opened_with(self):
        """Query and headers of the stream."""
        if self.way == "ticket":
            return f"?ticket={self.post('/api/auth/ticket')['ticket']}", {}
        return "", bearer(self.key if self.way == "key" else self.token)

    def end(self):
        if self.way == "key":
            httpx.delete(
                f"{self.server.url}/api/auth/keys/{self.key_id}", headers=bearer(self.token), timeout=60
            ).raise_for_status()
        elif self.way == "disabled":
            self.server.call(self.server.services.auth.accounts.set_disabled(self.name, True))
        else:
            self.post("/api/auth/logout")


WAYS = ("login", "ticket", "key", "disabled")


@contextmanager
def event_stream(server, path, query, headers):
    with httpx.stream("GET", f"{server.url}{path}{query}", headers=STREAM | headers, timeout=60) as stream:
        assert stream.status_code == 200, stream.read()
        yield frames(stream)


@pytest.mark.parametrize("way", WAYS)
def test_an_event_stream_ends_and_says_why(server, way):
    person = Person(server, f"sse-{way}", way)
    with event_stream(server, f"/api/v1/generations/{person.session}/events", *person.opened_with()) as events:
        person.end()
        *_, last = events
    assert last["event"] == open_streams.STREAM_ENDED
    assert json.loads(last["data"])["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("way", WAYS)
def test_a_websocket_is_closed_with_1008(server, way):
    person = Person(server, f"ws-{way}", way)
    query, headers = person.opened_with()
    address = f"ws{server.url.removeprefix('http')}/ws/{person.session}{query}"
    with connect(address, additional_headers=headers) as session:
        person.end()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                session.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "log in again" in closed.value.rcvd.reason


def test_others_streams_go_on(server):
    stays, goes = Person(server, "stays", "key"), Person(server, "goes", "key")
    address = f"ws{server.url.removeprefix('http')}/ws/"
    with (
        connect(f"{address}{stays.session}", additional_headers=bearer(stays.key)) as kept,
        connect(f"{address}{goes.session}", additional_headers=bearer(goes.key)) as cut,
    ):
        goes.end()
        with pytest.raises(ConnectionClosed):
            while True:
                cut.recv(timeout=30)
        kept.send("hello")
        kinds = []
        while "conversation_update" not in kinds and "error" not in kinds:
            kinds.append(json.loads(kept.recv(timeout=30))["type"])


def test_a_websocket_has_its_request_id(server):
    person = Person(server, "numbered", "key")
    headers = bearer(person.key) | {"X-Request-ID": "mine-1"}
    with connect(f"ws{server.url.removeprefix('http')}/ws/{person.session}", additional_headers=headers) as session:
        assert session.response is not None
        assert session.response.headers["x-request-id"] == "mine-1"
    with event_stream(server, f"/api/v1/generations/{person.session}/events", "", headers):
        pass
