"""Connections that never say what they want keep nobody out, and end by themselves."""

import json
import socket
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from websockets.sync.client import connect

from serving.deployments import connections
from serving.gateway import body_limit
from tests.support.gateway_process import start_gateway
from tests.support.gateway_server import serve
from tests.support.gateway_users import bearer
from tests.support.waiting import PATIENCE_SECONDS

HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "


@contextmanager
def half_open(port, count, address="127.0.0.2", sent=HALF):
    """Connections from `address` that send the beginning of a request and no more."""
    with ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, (address, 0)))
            line.sendall(sent)
            lines.append(line)
        yield lines


def healthy(url, times=20):
    """Each time over a new connection."""
    for _ in range(times):
        assert httpx.get(f"{url}/healthz", timeout=5).status_code == 200


def is_closed(line, seconds=30):
    """Whether the server ends the connection within so many seconds."""
    line.settimeout(seconds)
    try:
        while line.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.fixture
def server(tmp_path):
    with serve(tmp_path, working=False) as server:
        yield server


def port_of(server):
    return int(server.url.rpartition(":")[2])


def test_three_thousand_half_open_connections_keep_nobody_out(tmp_path):
    gateway = start_gateway(tmp_path)
    try:
        with half_open(gateway.port, 3000):
            healthy(gateway.url)
        with ExitStack() as stack:  # from many addresses, which share what one may not have alone
            for number in range(5):
                stack.enter_context(half_open(gateway.port, 1000, f"127.0.0.{10 + number}"))
            healthy(gateway.url)
    finally:
        gateway.stop()


def test_a_server_that_may_open_few_files_answers_beside_as_many_half_open_connections(tmp_path):
    gateway = start_gateway(tmp_path, max_files=300)
    try:
        with half_open(gateway.port, 290):
            healthy(gateway.url)
            body = {"prompt": "an ad for a steel bottle"}
            made = httpx.post(
                f"{gateway.url}/api/v1/interactive/start", json=body, headers=bearer(gateway.key), timeout=30
            )
            assert made.status_code == 201
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HALF, id="half a head"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HALF, id="half a head after an answer"),
    ],
)
def test_a_request_that_does_not_begin_in_time_is_closed(server, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with half_open(port_of(server), 1, sent=sent) as (line,):
        assert is_closed(line)


def test_a_head_without_an_end_is_closed(server):
    with half_open(port_of(server), 1) as (line,):
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                line.sendall(b"x" * 10_000)
        assert is_closed(line)


def test_a_body_that_does_not_arrive_is_answered_and_closed(server, monkeypatch):
    monkeypatch.setattr(body_limit, "BODY_SECONDS", 0.3)
    head = (
        b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\nAuthorization: Bearer " + server.key.encode() + b'\r\n\r\n{"prompt": '
    )
    with half_open(port_of(server), 1, sent=head) as (line,):
        line.settimeout(30)
        assert b" 408 " in line.recv(65536).partition(b"\r\n")[0]


def test_bodies_that_arrive_together_have_room_for_so_much_and_no_more(server, monkeypatch):
    monkeypatch.setattr(body_limit, "ROOM_PER_OWNER", 300_000)
    head = (
        b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 200000\r\nAuthorization: Bearer " + server.key.encode() + b"\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"x" * 199_000
    )
    with half_open(port_of(server), 3, sent=head) as lines:
        answered = []
        for line in lines:
            line.settimeout(1)
            try:
                answered.append(line.recv(65536).partition(b"\r\n")[0])
            except TimeoutError:
                continue  # it has room, and the server waits for the rest
        assert len(answered) == 2
        assert all(b" 429 " in each for each in answered)
    healthy(server.url, 1)


# --- who leaves when there is no room -------------------------------------------------------------------------------


class Line:
    """A transport as far as `Connections` uses one."""

    def __init__(self):
        self.closed = False

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = True


class Cycle:
    def __init__(self, more_body=False, response_complete=False):
        self.more_body, self.response_complete = more_body, response_complete


class Protocol:
    def __init__(self, cycle=None):
        self.cycle = cycle


def test_the_oldest_connection_without_a_complete_request_leaves_for_a_new_one():
    known = connections.Connections(room=4, per_address=10)
    lines = [Line() for _ in range(6)]
    cycles = [Cycle(), None, Cycle(more_body=True), Cycle(response_complete=True), Cycle(), Cycle()]
    for line, cycle in zip(lines, cycles, strict=True):
        assert known.admit(line, Protocol(cycle), "a")
    assert [line.closed for line in lines] == [False, True, True, False, False, False]


def test_where_all_are_at_work_a_new_one_is_refused():
    known = connections.Connections(room=2, per_address=10)
    for _ in range(2):
        assert known.admit(Line(), Protocol(Cycle()), "a")
    assert not known.admit(Line(), Protocol(), "b")


def test_an_address_has_its_share_and_makes_room_for_its_own_only():
    known = connections.Connections(room=10, per_address=2)
    other, mine = Line(), [Line(), Line(), Line()]
    assert known.admit(other, Protocol(), "b")
    assert all(known.admit(line, Protocol(), "a") for line in mine)
    assert [line.closed for line in (other, *mine)] == [False, True, False, False]


def test_a_websocket_stays_open_longer_than_a_request_may_take_to_begin(server, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with httpx.Client(base_url=server.url, headers=bearer(server.key)) as client:
        made = client.post("/api/v1/interactive/start", json={"prompt": "an ad for a steel water bottle"}).json()
    address = f"{server.url.replace('http', 'ws')}/ws/{made['session_id']}"
    with connect(address, additional_headers=bearer(server.key)) as session:
        with half_open(port_of(server), 1) as (line,):
            assert is_closed(line)  # which began later than the session, and has had its time
        session.send("ping")
        while json.loads(session.recv(timeout=PATIENCE_SECONDS))["type"] != "pong":
            pass


def test_a_websocket_is_at_work_until_it_is_closed():
    known = connections.Connections(room=1, per_address=10)
    line = Line()
    known.admit(line, Protocol(), "a")
    known.upgrade(line)
    assert not known.admit(Line(), Protocol(), "a")
    line.abort()
    assert known.admit(Line(), Protocol(), "a")
