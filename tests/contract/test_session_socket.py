"""`/ws/{session_id}` over a real server: the whole log to everybody, chat in, and nothing lost by leaving."""

import json
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from models.errors import InferenceFailed
from pipelines.store import decisions
from serving.gateway import services
from tests.support.ad_server import SpeakingServer
from tests.support.gateway_users import bearer, logged_in
from tests.support.session_client import Client

RECEIVE_SECONDS = 30


@pytest.fixture(scope="module")
def client(server):
    return Client(server.http)


@pytest.fixture(scope="module")
def finished(client):
    """A session that ran to its end by itself."""
    session_id = client.start(mode="auto")["session_id"]
    client.wait(session_id)
    return session_id


@pytest.fixture(scope="module")
def board(client):
    """A session that waits with its storyboard; tests leave it there."""
    return client.reach("storyboard")


class Watcher:
    """An open socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def next(self):
        return json.loads(self._socket.recv(timeout=RECEIVE_SECONDS))

    def until(self, **wanted):
        """Frames up to and with the first that has these values."""
        seen = [self.next()]
        while any(seen[-1].get(name) != value for name, value in wanted.items()):
            seen.append(self.next())
        return seen

    def say(self, message):
        self._socket.send(message)

    def rest(self, at_most=None):
        """Frames until the server closes, and the code with which it does; None after `at_most` frames."""
        seen: list[Any] = []
        try:
            while at_most is None or len(seen) < at_most:
                seen.append(self.next())
        except ConnectionClosed as closed:
            return seen, closed.rcvd and closed.rcvd.code
        return seen, None


@contextmanager
def watching(server, session_id, after=None, headers=None):
    query = "" if after is None else f"?after={after}"
    address = f"ws{server.url.removeprefix('http')}/ws/{session_id}{query}"
    with connect(address, additional_headers=headers or bearer(server.key)) as socket:
        yield Watcher(socket)


def log(client, session_id):
    answer = client.http.get(f"/api/v1/generations/{session_id}/events")
    return [event["seq"] for event in answer.json()["items"]]


def closing_code(server, session_id, after=None, headers=None):
    with watching(server, session_id, after, headers) as watcher:
        seen, code = watcher.rest()
    assert seen == []
    return code


# --- out ---


def test_a_session_is_directed_from_story_to_complete_over_one_socket(server, client):
    session_id = client.start()["session_id"]
    completed: list[Any] = []
    told: list[int] = []
    with watching(server, session_id) as watcher:
        while not completed or completed[-1]["stage"] != "complete":
            seen = watcher.until(type="stage_complete")
            told += [frame["progress"] for frame in seen if frame["progress"] is not None]
            completed.append(seen[-1])
            if completed[-1]["data"]["awaiting_approval"]:
                watcher.say("looks good")
    assert [frame["stage"] for frame in completed] == [
        "story", "reference_image", "storyboard", "video", "complete",
    ]  # fmt: skip
    assert [frame["data"].get("next_stage") for frame in completed] == [
        "reference_image", "storyboard", "video", "complete", None,
    ]  # fmt: skip
    assert completed[-1]["progress"] == 100
    assert told == sorted(told)  # also past an approval, when finished stages are passed again
    done = client.get(session_id)
    assert done["status"] == "complete"
    assert [entry["role"] for entry in done["conversation_history"]] == ["user", "assistant"] * 4


def test_frames_say_what_is_made_in_the_contracts_words_and_what_was_finished_is_told_once(server, client, board):
    seq = client.get(board)["seq"]
    with watching(server, board, after=0) as watcher:
        seen = watcher.rest(at_most=seq)[0]
    assert [frame["seq"] for frame in seen] == list(range(1, seq + 1))
    again = [frame for frame in seen if frame["event"] == "step_reused"]
    assert 0 < len(again) <= 2 * 2  # two approvals; before, one for each of more than ten finished steps
    assert all(frame["message"].endswith("used again") for frame in again)
    assert not [frame for frame in seen if "stages" in frame["data"]]
    begun = [frame["message"] for frame in seen if frame["event"] == "step_started"]
    assert {"draft 1 of the story: started", "picture of scene 1: started", "the reference image: started"} <= set(
        begun
    )
    assert not [frame for frame in seen if frame["message"] == "started"]
    internal = ("scenes finished", "stitch", "quality", "reference_image finished")
    assert not [frame for frame in seen if any(word in frame["message"] for word in internal)]


def test_every_event_is_a_frame_and_the_socket_closes_with_the_session(server, client, finished):
    with watching(server, finished) as watcher:
        seen, code = watcher.rest()
    assert code == 1000
    assert [frame["seq"] for frame in seen] == log(client, finished)
    assert {frame["type"] for frame in seen} == {"stage_progress", "stage_complete"}
    assert [frame["stage"] for frame in seen if frame["type"] == "stage_complete"] == [
        "story", "reference_image", "storyboard", "video", "complete",
    ]  # fmt: skip
    assert all(frame["session_id"] == finished for frame in seen)


def test_whoever_leaves_and_comes_back_sees_no_gap_and_nothing_twice(server, client):
    session_id = client.start(mode="auto")["session_id"]
    seen: list[Any] = []
    code = None
    while code is None:
        with watching(server, session_id, after=seen[-1]["seq"] if seen else None) as watcher:
            frames, code = watcher.rest(at_most=7)
        seen += frames
    assert code == 1000
    assert [frame["seq"] for frame in seen] == log(client, session_id)
    assert client.get(session_id)["status"] == "complete"  # nobody's leaving cancelled it


def test_a_session_goes_on_across_a_restart_of_the_gateway_without_a_gap(tmp_path):
    """Client, worker and gateway all go at once; what the client knows is its session and the last `seq` it saw."""
    with SpeakingServer(tmp_path) as first, first.studio.holding(1):
        session_id = Client(first.http).start(mode="auto")["session_id"]
        with watching(first, session_id) as watcher:
            seen = watcher.until(stage="reference_image")  # its picture is held at the first step
    with SpeakingServer(tmp_path) as second:
        with watching(second, session_id, after=seen[-1]["seq"]) as watcher:
            rest, code = watcher.rest()
        assert code == 1000
        seen += rest
        assert [frame["seq"] for frame in seen] == log(Client(second.http), session_id)
        assert (seen[-1]["stage"], Client(second.http).get(session_id)["status"]) == ("complete", "complete")
    assert [frame["seq"] for frame in seen] == list(range(1, len(seen) + 1))
    told = [frame["progress"] for frame in seen if frame["progress"] is not None]
    assert told == sorted(told)


def test_two_observers_see_the_same(server, board):
    with watching(server, board) as first, watching(server, board) as second:
        first.say("why is it so dark?")
        both = [each.until(type="conversation_update", message="why is it so dark?") for each in (first, second)]
    assert both[0] == both[1]
    assert both[0][-1]["data"]["role"] == "user"


def test_the_detail_says_from_where_to_follow(server, client, board):
    seq = client.get(board)["seq"]
    with watching(server, board, after=seq) as watcher:
        watcher.say("why?")
        assert watcher.next()["seq"] == seq + 1


def test_a_failed_session_is_a_stage_error(server, client):
    session_id = client.reach("reference_image")
    seq = client.get(session_id)["seq"]
    server.studio.fail_with = InferenceFailed("out of paint")
    try:
        client.post(session_id, "/approve", stage="reference_image")
        with watching(server, session_id, after=seq) as watcher:
            seen, code = watcher.rest()
    finally:
        server.studio.fail_with = None
    assert (code, seen[-1]["type"], seen[-1]["stage"]) == (1000, "stage_error", "error")
    assert "out of paint" in seen[-1]["message"]
    assert seen[-1]["data"]["stopped_at"] == "storyboard"
    found = client.get(session_id)
    assert (found["status"], found["current_stage"]) == ("error", "storyboard")
    assert "out of paint" in found["error"]


def test_silence_is_a_heartbeat_with_the_newest_seq(server, client, board, monkeypatch):
    monkeypatch.setattr("serving.gateway.events.HEARTBEAT_SECONDS", 0.05)
    seq = client.get(board)["seq"]
    with watching(server, board, after=seq) as watcher:
        assert watcher.next() == {"type": "heartbeat", "session_id": board, "seq": seq}


# --- in ---


def test_chat_as_json_redraws_the_scene_that_it_names(server, client):
    session_id = client.reach("storyboard")
    before = client.get(session_id)
    with watching(server, session_id, after=before["seq"]) as watcher:
        watcher.say(json.dumps({"type": "chat", "message": "Make it night.", "scene_number": 1, "client_id": "c1"}))
        seen = watcher.until(type="stage_complete")
    assert [frame["data"]["role"] for frame in seen if frame["type"] == "conversation_update"] == ["user", "assistant"]
    drawn = [frame["scene_number"] for frame in seen if frame["event"] == "step_completed"]
    assert set(drawn) == {1}  # drawn, and held against the minimums
    after = client.get(session_id)["outputs"]["storyboard"]["images"]
    changed = [
        one["prompt"] != new["prompt"]
        for one, new in zip(before["outputs"]["storyboard"]["images"], after, strict=True)
    ]
    assert changed == [number == 0 for number in range(len(after))]


def test_chat_that_names_no_scene_is_asked_back(server, client, board):
    seq = client.get(board)["seq"]
    with watching(server, board, after=seq) as watcher:
        watcher.say("make it brighter")
        said, answered = watcher.next(), watcher.next()
    assert (said["data"]["role"], answered["data"]["role"]) == ("user", "assistant")
    assert answered["message"].startswith("Which scene")


@pytest.mark.parametrize("message", [
        "ping", "PING", ' "ping"\n', "ping!", "pong", "heartbeat", "keep-alive", "keepalive",
        '{"type": "ping"}', '{"type":"ping","id":7}', '{"type": "pong"}', '{"type": "keep_alive"}',
        '{"event": "heartbeat"}',
        '{"action": "ping"}', '{"ping": 1764180000}',
    ],
)  # fmt: skip
def test_a_ping_gets_a_pong_and_says_nothing(server, client, board, message):
    before = client.get(board)
    with watching(server, board, after=before["seq"]) as watcher:
        watcher.say(message)
        assert watcher.next() == {"type": "pong", "session_id": board, "seq": before["seq"]}
    assert client.get(board) == before


@pytest.mark.parametrize("message", ["null", "42", "true", "[]", '"hello"', "", b"ping", b""])
def test_what_programs_send_never_starts_work(server, client, board, message):
    before = client.get(board)
    with watching(server, board, after=before["seq"]) as watcher:
        watcher.say(message)
        assert watcher.next()["type"] == "error"
    assert client.get(board) == before


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "chat", "message": ', "bad_request"),
        ('{"type": "approve", "message": "yes"}', "invalid_request"),
        ('{"type": "chat"}', "invalid_request"),
        ("", "invalid_request"),
        ("x" * 2001, "invalid_request"),
        ("x" * 20_000, "payload_too_large"),
        (b"bytes", "bad_request"),
        ("[" * 10_000, "invalid_request"),
    ],
    ids=["cut off", "unknown type", "no message", "empty", "long", "too large", "binary", "nested"],
)
def test_what_cannot_be_read_is_an_error_frame_and_the_talk_goes_on(server, client, board, message, code):
    seq = client.get(board)["seq"]
    with watching(server, board, after=seq) as watcher:
        watcher.say(message)
        refused = watcher.next()
        assert (refused["type"], refused["error"]["code"], refused["seq"]) == ("error", code, seq)
        watcher.say("why?")
        assert watcher.next()["type"] == "conversation_update"


# --- whose it is ---


def test_an_unknown_session_closes_with_1008(server, board):
    assert closing_code(server, "no-such-session") == 1008
    with logged_in(server, "bruno") as bruno:
        token = bruno.headers["authorization"].partition(" ")[2]
        assert closing_code(server, board, headers=bearer(token)) == 1008


def test_a_cursor_from_the_future_closes_with_1008(server, client, board):
    assert closing_code(server, board, after=client.get(board)["seq"] + 1) == 1008


def test_without_credentials_no_socket_opens(server, board):
    with pytest.raises(InvalidStatus) as refused, watching(server, board, headers={"X-Nothing": "at all"}):
        pass
    assert refused.value.response.status_code == 401


def test_a_ticket_opens_it_for_a_browser(server, client, board):
    ticket, seq = client.http.post("/api/auth/ticket").json()["ticket"], client.get(board)["seq"]
    address = f"ws{server.url.removeprefix('http')}/ws/{board}?ticket={ticket}&after={seq - 1}"
    with connect(address) as socket:
        assert json.loads(socket.recv(timeout=RECEIVE_SECONDS))["seq"] == seq


def test_who_talks_too_fast_is_told_and_a_session_takes_so_many_messages_a_minute(client, server, monkeypatch):
    monkeypatch.setattr(services, "MESSAGES_PER_MINUTE", 5)
    session_id = client.reach("story")
    with watching(server, session_id, after=client.get(session_id)["seq"]) as socket:
        for number in range(12):
            socket.say(f"what is scene {number}?")
        refused = _errors(socket, 7)
    assert all(error["code"] == "queue_full" and "messages in a minute" in error["message"] for error in refused)
    answer = server.http.post(f"/api/v1/interactive/{session_id}/chat", json={"message": "and scene 2?"})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


def test_a_session_takes_so_many_messages_in_all(client, server, monkeypatch):
    monkeypatch.setattr(decisions, "MAX_MESSAGES", 2)
    session_id = client.reach("story")
    address = f"/api/v1/interactive/{session_id}/chat"
    answers = [server.http.post(address, json={"message": "what is it about?"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert "begin a new session" in answers[-1].json()["error"]["message"]


def _errors(socket, count):
    """The errors of the next frames, until there are so many."""
    found: list[Any] = []
    while len(found) < count:
        frame = socket.next()
        if frame["type"] == "error":
            found.append(frame["error"])
    return found
