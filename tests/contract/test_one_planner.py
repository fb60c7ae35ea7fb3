"""The command line and the server refuse the same wrong ad for the same reason, each by its own name of the field."""

import json

import pytest

from pipelines.errors import BadInput
from serving.cli.main import app
from tests.support.ad_server import BRIEF, PROMPT, SpeakingServer
from tests.support.storyboards import storyboard

URL = "/api/v1/generations"
BOARD = ("--storyboard", "FILE")
OK = ("--prompt", PROMPT, "--duration", "9")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose generations nobody runs."""
    with SpeakingServer(tmp_path_factory.mktemp("planner"), working=False) as server:
        yield server


@pytest.fixture(scope="module")
def http(server):
    return server.http


def changed_scenes(**changes):
    return [{**scene, **changes} for scene in storyboard()["scenes"]]


TWICE = "the storyboard says it as well: change it there and leave it out here, or leave the storyboard out"
MISTAKES = [
    # flags (`FILE`: the storyboard), body, the board in both, the flag and the field that are named, the reason
    ((*BOARD, "--prompt", PROMPT), {"brief": {"prompt": PROMPT}}, {}, "--prompt", "brief.prompt", TWICE),
    ((*BOARD, "--title", "Sun"), {"brief": {"title": "Sun"}}, {}, "--title", "brief.title", TWICE),
    ((*BOARD, "--duration", "9"), {"brief": {"duration": 9}}, {}, "--duration", "brief.duration", TWICE),
    ((*BOARD, "--scenes", "3"), {"brief": {"num_scenes": 3}}, {}, "--scenes", "brief.num_scenes", TWICE),
    (BOARD, {"brief": {}}, {"duration": 12}, "--storyboard", "storyboard", "duration is 12 s"),
    (BOARD, {"brief": {}}, {"format": "a/9"}, "--storyboard", "storyboard", "format is 'a/9'"),
    (
        BOARD, {"brief": {}}, {"scenes": changed_scenes(scene_number=2)},
        "--storyboard", "storyboard", "scene 1: scene_number is 2, must be 1",
    ),
    ((), {"brief": {}}, None, "--prompt", "brief.prompt", "missing; say what the ad is for, in 10 to 5000 characters"),
    ((*OK[:3], "8"), {"brief": {**BRIEF, "duration": 8}}, None, "--duration", "brief.duration", "(got '8')"),
    ((*OK, "--scenes", "1"), {"brief": {**BRIEF, "num_scenes": 1}}, None, "--scenes", "brief.num_scenes", "(got 1)"),
    ((*OK, "--scenes", "20"), {"brief": {**BRIEF, "num_scenes": 20}}, None, "--scenes", "brief.num_scenes", "9 s"),
    ((*OK, "--recipe", "grand"), {"recipe": "grand", "brief": BRIEF}, None, None, None, "no recipe 'grand'"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "body", "board", "flag", "field", "reason"), MISTAKES)
def test_the_same_mistake_is_refused_by_both_for_the_same_reason(
    http, tmp_path, flags, body, board, flag, field, reason
):
    file = tmp_path / "board.json"
    if board is not None:
        file.write_text(json.dumps(storyboard(**board)))
        body = {**body, "storyboard": storyboard(**board)}
    answer = http.post(URL, json={"recipe": "express", **body})
    assert answer.status_code == 422, answer.text
    served = answer.json()["error"]
    assert (served["code"], served["param"]) == ("invalid_request", field)

    asked = [str(file) if word == "FILE" else word for word in flags]
    recipe = () if "--recipe" in flags else ("--recipe", "express")
    with pytest.raises(BadInput) as caught:
        app(args=["pipeline", *asked, *recipe, "--output", str(tmp_path / "ad")], standalone_mode=False)
    assert str(caught.value) == (f"{flag}: {caught.value.reason}" if flag else caught.value.reason)
    assert served["message"] == (f"{field}: {caught.value.reason}" if field else caught.value.reason)
    assert reason in caught.value.reason
    assert not (tmp_path / "ad").exists()


def test_a_storyboard_alone_is_an_ad_for_the_server(http):
    answer = http.post(URL, json={"recipe": "express", "brief": {"seed": 4}, "storyboard": storyboard(title="Sun")})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["prompt"], made["title"], made["duration"], made["seed_value"]) == (PROMPT, "Sun", 9, 4)


def test_a_comparison_names_its_own_fields(http):
    body = {
        "base_prompt": PROMPT, "duration": 9, "num_scenes": 20, "comparison_type": "settings",
        "variations": [{"coherence_settings": {"seed_value": number}} for number in range(2)],
    }  # fmt: skip
    refused = http.post("/api/generations/generate/parallel", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "num_scenes")
    refused = http.post("/api/generations/generate/parallel", json={**body, "num_scenes": 2, "base_prompt": " "})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "base_prompt")


def test_a_server_that_refuses_is_quoted_by_the_flags(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_API_KEY", server.key)
    flags = ("--prompt", PROMPT, "--duration", "8", "--recipe", "express", "--server", server.url)
    with pytest.raises(BadInput, match=r"^--duration: must be 9 to 60 seconds for recipe 'express' \(got '8'\)$"):
        app(args=["pipeline", *flags, "--output", str(tmp_path / "ad")], standalone_mode=False)
    assert not (tmp_path / "ad").exists()
