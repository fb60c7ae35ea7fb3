"""`Idempotency-Key` on every route that creates something lasting: once per key, per owner and per body."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.ad_server import PROMPT, SpeakingServer
from tests.support.gateway_server import VIDEO
from tests.support.gateway_users import logged_in

ASYNC = {"Prefer": "respond-async"}


def pair(other):
    variations = [{"prompt": PROMPT}, {"prompt": other}]
    return {"base_prompt": PROMPT, "comparison_type": "prompt", "variations": variations}


def clip(prompt):
    return {"model": VIDEO.name, "prompt": prompt, "seed": 1}


ROUTES: dict[str, tuple[str, Any, Any, str]] = {
    "unified": ("/api/v1/generations", {"brief": {"prompt": PROMPT}}, {"brief": {"prompt": PROMPT * 2}}, "id"),
    "master": ("/api/master-mode/generate-story", {"prompt": PROMPT}, {"prompt": PROMPT * 2}, "generation_id"),
    "interactive": ("/api/v1/interactive/start", {"prompt": PROMPT}, {"prompt": PROMPT * 2}, "session_id"),
    "original": ("/api/generations/generate", {"prompt": PROMPT}, {"prompt": PROMPT * 2}, "generation_id"),
    "comparison": ("/api/generations/generate/parallel", pair(PROMPT * 2), pair(PROMPT * 3), "group_id"),
    "video": ("/v1/videos", clip("a bottle"), clip("a mug"), "id"),
}
"""Address, a body, another body, and the field of the answer that names what was created."""
DIRECTING = {
    "/api/v1/generations/{generation_id}/regenerate",
    "/api/v1/interactive/{session_id}/regenerate",
    "/api/v1/interactive/{session_id}/inpaint",
}
"""Routes that make something of a generation anew: tested with the other tests of theirs."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("keys"), working=False) as server:
        yield server


def ask(client, path, body, key):
    return client.post(path, json=body, headers={**ASYNC, "Idempotency-Key": key})


@pytest.mark.parametrize("name", ROUTES)
def test_a_request_sent_again_gets_the_same_answer_and_creates_nothing(server, name):
    path, body, _, field = ROUTES[name]
    first = ask(server.http, path, body, f"again-{name}")
    second = ask(server.http, path, json.loads(json.dumps(body)), f"again-{name}")
    assert first.status_code == second.status_code < 300, first.text
    assert first.json() == second.json()
    assert first.json()[field]
    assert ("Idempotency-Replayed" in first.headers, second.headers["Idempotency-Replayed"]) == (False, "true")


@pytest.mark.parametrize("name", ROUTES)
def test_of_many_that_come_at_once_all_but_the_first_say_that_they_are_repeated(server, name):
    path, body, _, field = ROUTES[name]
    with ThreadPoolExecutor(8) as together:
        answers = list(together.map(lambda _: ask(server.http, path, body, f"at-once-{name}"), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 201, 202}
    assert len({answer.json()[field] for answer in answers}) == 1
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true") == 15


DELETED = {"unified", "original", "video"}
"""Routes whose result one call deletes."""


@pytest.mark.parametrize("name", sorted(DELETED))
def test_a_late_retry_of_what_was_deleted_is_gone_and_makes_nothing(server, name):
    path, body, other, field = ROUTES[name]
    made = ask(server.http, path, body, f"gone-{name}").json()[field]
    for _ in range(2):  # a clip is cancelled first
        server.http.delete(f"/v1/videos/{made}" if name == "video" else f"/api/v1/generations/{made}")
    listed = server.http.get("/api/v1/generations").json()
    answer = ask(server.http, path, body, f"gone-{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone"), answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert server.http.get("/api/v1/generations").json() == listed
    assert ask(server.http, path, other, f"gone-{name}").status_code == 422
    assert ask(server.http, path, body, f"gone-{name}-another").status_code < 300


@pytest.mark.parametrize("name", ROUTES)
def test_the_key_of_another_request_is_refused(server, name):
    path, body, other, _ = ROUTES[name]
    ask(server.http, path, body, f"other-{path}")
    answer = ask(server.http, path, other, f"other-{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "key_reused"), answer.text


@pytest.mark.parametrize("name", ROUTES)
def test_a_key_belongs_to_its_owner(server, name):
    path, body, _, field = ROUTES[name]
    mine = ask(server.http, path, body, f"mine-{path}").json()[field]
    with logged_in(server, "bruno") as bruno:
        answer = ask(bruno, path, body, f"mine-{path}")
    assert answer.status_code < 300, answer.text
    assert answer.json()[field] != mine
    assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", "two words", "x" * 201])
def test_a_key_that_is_none_is_refused(server, key):
    path, body, _, _ = ROUTES["unified"]
    answer = ask(server.http, path, body, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_every_route_that_answers_accepted_or_created_takes_a_key_but_those_that_hand_out_secrets(server):
    paths = server.http.get("/openapi.json").json()["paths"]
    creating = {
        path
        for path, operations in paths.items()
        if "post" in operations and {"201", "202"} & set(operations["post"]["responses"])
    }
    keyed = {
        path
        for path, operations in paths.items()
        if "post" in operations
        and any(each["name"].lower() == "idempotency-key" for each in operations["post"].get("parameters", []))
    }
    drawn_again = {"/v1/images/generations", "/v1/images/edits"}  # the same file, see test_openai_images
    assert keyed == {path for path, *_ in ROUTES.values()} | DIRECTING | drawn_again
    assert creating - keyed == {"/api/auth/keys"}
