"""A session directed in words over a real server: what is said is done to the plan, and what is not named stays."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from models.interfaces import ChatResult, ImageRequest, VideoRequest
from pipelines.agents.direction_model import EditAnswer
from tests.support.ad_server import Speaker, SpeakingServer, SpeakingStudios
from tests.support.gateway_server import Studio
from tests.support.session_client import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SpeakingServer(tmp_path_factory.mktemp("direction")) as server:
        yield server


@pytest.fixture
def client(server):
    server.studio.requests.clear()
    return Client(server.http)


def drawn(server):
    return [request for request in server.studio.requests if isinstance(request, ImageRequest)]


def answer(seen):
    last = seen["conversation_history"][-1]
    assert last["role"] == "assistant"
    return last["content"]


def frames(seen):
    return seen["outputs"]["storyboard"]["images"]


def told(seen):
    return seen["outputs"]["story"]["story"].splitlines()[1:-1]


def mask(level, width=48, height=80):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width), level, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_time_of_day_said_at_the_story_changes_that_beat_alone(client, server):
    session_id = client.reach("story")
    before = told(client.get(session_id))
    server.studio.requests.clear()
    client.post(session_id, "/chat", message="make scene 2 happen at night")
    seen = client.wait(session_id)
    assert (seen["status"], seen["awaiting_approval"]) == ("story", True)
    after = told(seen)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, *[True] * (len(after) - 2)]
    assert " at night: " in after[1]
    assert "Scene 2 plays at night." in answer(seen)
    assert server.studio.requests == []  # no agent was asked


def test_an_edit_of_one_scene_keeps_the_takes_of_the_others(client, server):
    session_id = client.reach("storyboard")
    before = client.get(session_id)
    server.studio.requests.clear()
    client.post(session_id, "/chat", message="scene 2 on a snowy mountain at night")
    seen = client.wait(session_id)
    assert (seen["status"], seen["awaiting_approval"]) == ("storyboard", True)
    assert len(drawn(server)) == 1
    assert "on a snowy mountain at night" in drawn(server)[0].prompt
    assert len(server.studio.requests) == 1
    for old, new in zip(frames(before), frames(seen), strict=True):
        assert (old["prompt"] == new["prompt"]) == (new["scene_number"] != 2)
        assert (old["content"] == new["content"]) == (new["scene_number"] != 2)
    assert "Made anew: the picture of scene 2." in answer(seen)
    assert " on a snowy mountain at night: " in told(seen)[1]
    again = client.post(session_id, "/chat", message="scene 2 on a snowy mountain at night").json()
    assert (again["awaiting_approval"], "is so already" in answer(again)) == (True, True)


def test_a_colour_is_the_products_in_every_scene_text_and_picture(client, server):
    session_id = client.reach("storyboard")
    server.studio.requests.clear()
    client.post(session_id, "/chat", message="the bottle should be red")
    seen = client.wait(session_id)
    assert (seen["status"], seen["awaiting_approval"]) == ("storyboard", True)
    pictures = drawn(server)
    assert len(pictures) == 1 + len(frames(seen))  # the reference as well
    assert all("red steel water bottle" in request.prompt for request in pictures)
    assert all(" red " in frame["prompt"] for frame in frames(seen))
    assert "Made anew: the reference image, the pictures of scene 1" in answer(seen)
    assert not any(request for request in server.studio.requests if not isinstance(request, ImageRequest))


def test_a_camera_move_changes_no_picture_and_is_filmed_later(client, server):
    session_id = client.reach("storyboard")
    before = frames(client.get(session_id))
    server.studio.requests.clear()
    client.post(session_id, "/chat", message="scene 1: zoom in")
    seen = client.wait(session_id)
    assert [frame["url"] for frame in frames(seen)] == [frame["url"] for frame in before]
    assert "Camera: push_in" in frames(seen)[0]["content"]
    assert drawn(server) == []
    assert "it is filmed so when you approve" in answer(seen)
    client.post(session_id, "/approve", stage="storyboard")
    client.wait(session_id)
    filmed = [request for request in server.studio.requests if isinstance(request, VideoRequest)]
    assert filmed[0].camera in ("push_in", "static")  # as far as the model knows moves


@pytest.mark.parametrize("message", ["not approved", "is it approved?", "no", "make it better", "thanks", "ping", "42"])
def test_what_is_no_wish_throws_nothing_away(client, server, message):
    session_id = client.reach("story")
    before = client.get(session_id)
    server.studio.requests.clear()
    seen = client.post(session_id, "/chat", message=message).json()
    assert seen["awaiting_approval"] is True
    assert seen["outputs"] == before["outputs"]
    assert answer(seen)
    assert drawn(server) == []


class Reader(Speaker):
    """A language model that reads directions; of other questions it answers as a `Speaker`."""

    def complete(self, request, watcher):
        if "owner of a video ad wants changed" not in request.messages[0].content:
            return super().complete(request, watcher)
        edit = {name: "" for name in EditAnswer.model_fields} | {"scenes": [2], "setting": "in an old castle"}
        answer = json.dumps({"edits": [edit]})
        return ChatResult(text=answer, prompt_tokens=1, completion_tokens=1, seconds=0.0)


class ReadingStudios(SpeakingStudios):
    def chat(self, spec):
        return Reader(self._studio)


def test_a_large_chat_model_reads_what_the_rules_leave_open(tmp_path):
    with SpeakingServer(tmp_path, ReadingStudios(Studio())) as server:
        client = Client(server.http)
        session_id = client.reach("story")
        client.post(session_id, "/chat", message="give the second shot the mood of an old castle")
        seen = client.wait(session_id)
    assert " in an old castle" in told(seen)[1]
    assert "Scene 2 plays in an old castle" in answer(seen)


def test_selected_scenes_of_the_storyboard_fill_the_whole_ad(client):
    session_id = client.start(target_duration=9)["session_id"]
    while client.wait(session_id)["status"] != "storyboard":
        client.post(session_id, "/approve", stage=client.get(session_id)["status"])
    count = len(frames(client.get(session_id)))
    kept = [index for index in range(count) if index != 1]
    assert client.post(session_id, "/approve", stage="storyboard", selected_indices=kept).status_code == 200
    seen = client.wait(session_id)
    assert [clip["scene_number"] for clip in seen["outputs"]["video"]["clips"]] == [index + 1 for index in kept]
    client.post(session_id, "/approve", stage="video")
    assert client.wait(session_id)["outputs"]["video"]["duration"] == 9.0


def test_several_references_are_drawn_and_the_selected_one_conditions(client, server):
    session_id = client.start(number_of_reference_images=3, seed=7, aspect_ratio="1:1")["session_id"]
    client.wait(session_id)
    client.post(session_id, "/approve", stage="story")
    seen = client.wait(session_id)
    images = seen["outputs"]["reference_image"]["images"]
    assert (len({one["path"] for one in images}), seen["seed"], seen["aspect_ratio"]) == (3, 7, "1:1")
    body = {"image_id": 2, "mask_data": mask(255, 64, 64), "prompt": "a red cap"}
    assert client.post(session_id, "/inpaint", **body).status_code == 200
    edited = client.wait(session_id)["outputs"]["reference_image"]["images"]
    assert [one["path"] == other["path"] for one, other in zip(images, edited, strict=True)] == [True, True, False]
    server.studio.requests.clear()
    client.post(session_id, "/approve", stage="reference_image", selected_indices=[1])
    client.wait(session_id)
    assert {one.image.sha256 for request in drawn(server) for one in request.references} == {images[1]["path"]}


def test_a_session_without_a_seed_draws_one_and_reports_it(client):
    first, second = (client.start(seed=None)["seed"] for _ in range(2))
    assert first != second
    assert max(first, second) < 2**53


def test_an_empty_mask_is_refused_and_an_edited_frame_keeps_its_own_prompt(client):
    session_id = client.reach("storyboard")
    before = frames(client.get(session_id))[0]
    refused = client.post(session_id, "/inpaint", image_id=0, mask_data=mask(0), prompt="a blue poster")
    assert (refused.status_code, "the mask is empty" in refused.json()["error"]["message"]) == (400, True)
    client.post(session_id, "/inpaint", image_id=0, mask_data=mask(255), prompt="a blue poster")
    seen = client.wait(session_id)
    assert (frames(seen)[0]["prompt"], frames(seen)[0]["version"]) == (before["prompt"], 2)
    assert "'a blue poster'" in answer(seen)


@pytest.mark.parametrize(
    ("modifications", "said"),
    [
        ("make it funny", "make it funny"), (["make it funny", "shorter"], "make it funny; shorter"),
        ({"camera": "zoom in on it"}, "camera move: zoom in on it"),
        ({"style": {"mood": "noir"}}, "style: {'mood': 'noir'}"),
    ],
)  # fmt: skip
def test_modifications_of_any_kind_reach_the_agents(client, modifications, said):
    session_id = client.reach("story")
    answered = client.post(session_id, "/regenerate", stage="story", modifications=modifications)
    assert answered.status_code == 200, answered.text
    assert client.wait(session_id)["conversation_history"][0]["content"] == said


def test_a_camera_move_in_other_letters_and_a_scene_by_its_short_name_are_understood(client, server):
    session_id = client.reach("storyboard")
    before = frames(client.get(session_id))
    changes = {"scene": 1, "camera": "Push-In", "place": "on the beach"}
    assert client.post(session_id, "/regenerate", stage="storyboard", modifications=changes).status_code == 200
    after = frames(client.wait(session_id))
    assert "Camera: push_in" in after[0]["content"]
    assert [one["path"] == other["path"] for one, other in zip(before, after, strict=True)][1:] == [True] * len(
        after[1:]
    )


def test_a_setting_that_a_stage_has_no_use_for_is_said(client):
    session_id = client.reach("story")
    answered = client.post(session_id, "/regenerate", stage="story", modifications={"seed": 5}).json()
    assert answered["message"] == "Being made anew: story. Not used here: seed."


def test_unknown_modifications_are_wishes_and_known_ones_are_applied(client, server):
    session_id = client.reach("story")
    answered = client.post(
        session_id, "/regenerate", stage="story", modifications={"tone": "funny", "camera": "push_in"}
    )
    assert answered.status_code == 200, answered.text
    seen = client.wait(session_id)
    assert seen["conversation_history"][0]["content"] == "tone: funny; camera: push_in"
    client.post(session_id, "/approve", stage="story")
    client.wait(session_id)
    client.post(session_id, "/approve", stage="reference_image")
    client.wait(session_id)
    server.studio.requests.clear()
    changes = {"scene_number": 1, "setting": "on the beach", "seed": 5}
    client.post(session_id, "/regenerate", stage="storyboard", modifications=changes)
    client.wait(session_id)
    assert ("on the beach" in drawn(server)[0].prompt, drawn(server)[0].noise.seed) == (True, 5)
    assert len(drawn(server)) == 1
