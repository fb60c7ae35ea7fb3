"""Characters that no database holds are the caller's mistake wherever they come in: 422, never a server error."""

import pytest

from tests.support.ad_server import PROMPT, SpeakingServer

NUL, HALF = "\x00", "\ud83d"


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("unstorable"), working=False) as server:
        yield server.http


def refused(answer):
    return (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/generations", {"brief": {"prompt": PROMPT + NUL}}),
        ("/api/v1/generations", {"brief": {"prompt": PROMPT, "title": NUL}}),
        ("/api/generations/generate", {"prompt": PROMPT + NUL}),
        ("/api/v1/interactive/start", {"prompt": PROMPT + NUL}),
        ("/api/auth/login", {"username": NUL, "password": "12345678"}),
    ],
)
def test_a_body_with_a_nul_is_refused(http, path, body):
    answer = http.post(path, json=body)
    assert refused(answer), answer.text


@pytest.mark.parametrize("path", ["/api/v1/generations/a%00b", "/api/v1/generations?q=%00", "/v1/artifacts/%00"])
def test_an_address_with_a_nul_is_refused_or_names_nothing(http, path):
    assert http.get(path).status_code in (404, 422)


def test_half_a_character_is_refused(http):
    raw = '{"brief": {"prompt": "an ad for a bottle \\ud83d"}}'
    answer = http.post("/api/v1/generations", content=raw, headers={"content-type": "application/json"})
    assert refused(answer), answer.text
    assert HALF not in answer.text
