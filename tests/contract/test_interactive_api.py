"""`/api/v1/interactive` over a real server, worker and store: a session from its start to the finished ad, directed."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from models.errors import InferenceFailed
from models.interfaces import ChatRequest, ImageRequest
from pipelines.media import decode_image
from tests.support.ad_server import PROMPT
from tests.support.gateway_users import logged_in
from tests.support.scripted_desk import agent_of
from tests.support.session_client import Client
from tests.support.tiny_models import png

STAGES = ("story", "reference_image", "storyboard", "video")


@pytest.fixture(scope="module")
def idle(idle_server):
    return Client(idle_server.http)


@pytest.fixture
def client(server):
    server.studio.requests.clear()
    return Client(server.http)


@pytest.fixture(scope="module")
def board(server):
    """A session that waits with its storyboard; tests leave it there."""
    client = Client(server.http)
    return client.reach("storyboard")


def refused(answer, status=400, code="bad_request"):
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return answer.json()["error"]["message"]


def drawn(server):
    return [request for request in server.studio.requests if isinstance(request, ImageRequest)]


def asked(server, agent):
    requests = [request for request in server.studio.requests if isinstance(request, ChatRequest)]
    return [request.messages[1].content for request in requests if agent_of(request) == agent]


def mask(width=48, height=80):
    """White in its upper half."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[: height // 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# --- from start to end ---


def test_a_session_goes_from_story_to_complete_by_approvals(client):
    made = client.start(title="Bottle")
    assert (made["status"], made["current_stage"], made["outputs"]) == ("story", "story", {})
    session_id = made["session_id"]
    for stage, following in zip(STAGES, (*STAGES[1:], "complete"), strict=True):
        seen = client.wait(session_id)
        assert (seen["status"], seen["current_stage"], seen["awaiting_approval"]) == (stage, stage, True)
        assert stage in seen["outputs"]
        status = client.get(session_id, "/status")
        assert (status["status"], status["has_output"], status["awaiting_approval"]) == (stage, True, True)
        answer = client.post(session_id, "/approve", stage=stage, notes=f"the {stage} is fine")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["approved_stage"], answer.json()["next_stage"]) == (stage, following)
    done = client.wait(session_id)
    assert (done["status"], done["current_stage"], done["progress"], done["error"]) == (
        "complete",
        "complete",
        100,
        None,
    )
    assert [entry["content"] for entry in done["conversation_history"]] == [f"the {stage} is fine" for stage in STAGES]
    video = done["outputs"]["video"]
    assert video["duration"] == 9.0
    assert client.http.get(video["video_url"]).headers["content-type"] == "video/mp4"
    assert client.http.get(video["thumbnail_url"]).status_code == 200
    assert done["updated_at"] > done["created_at"]


def test_mode_auto_runs_to_the_end_by_itself(client):
    done = client.wait(client.start(mode="auto")["session_id"])
    assert (done["status"], done["conversation_history"]) == ("complete", [])
    assert set(done["outputs"]) == set(STAGES)


def test_the_same_start_under_one_key_is_one_session(idle):
    body = {"prompt": PROMPT}
    first, second = (
        idle.http.post("/api/v1/interactive/start", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["session_id"] == second.json()["session_id"]
    assert second.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("body", [{"prompt": "short"}, {"target_duration": 8}, {"mode": "fast"}, {"title": "x" * 201}])
def test_a_start_outside_of_the_contract_is_422_in_its_error_shape(idle, body):
    answer = idle.http.post("/api/v1/interactive/start", json={"prompt": PROMPT, **body})
    refused(answer, 422, "invalid_request")


def test_a_generation_of_another_recipe_is_no_session(idle):
    body = {"recipe": "express", "brief": {"prompt": PROMPT}}
    generation_id = idle.http.post("/api/v1/generations", json=body).json()["id"]
    refused(idle.http.get(f"/api/v1/interactive/{generation_id}"), 404, "not_found")


def test_what_a_session_refuses_is_said_in_the_contracts_stages(client):
    finished = client.start(mode="auto")["session_id"]
    client.wait(finished)
    told = [
        client.post(finished, "/approve", stage="video"),
        client.post(finished, "/reference-images/upload"),
        client.post(client.reach("story"), "/regenerate", stage="video"),
    ]
    assert [answer.status_code for answer in told] == [400, 415, 400]
    for answer in told:
        message = answer.json()["error"]["message"]
        assert not any(word in message for word in ("'quality'", "'stitch'", "'scenes'")), message
    assert "the generation is complete" in told[0].json()["error"]["message"]


def test_a_start_takes_a_brand_and_a_quality_gate_and_names_what_it_does_not_know(idle):
    quality = {"minimums": {"text_alignment": 0.2}, "retakes": 2}
    answer = idle.http.post(
        "/api/v1/interactive/start", json={"prompt": PROMPT, "brand_name": "Dew", "quality": quality, "model": "kling"}
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    row = idle.http.get(f"/api/v1/generations/{made['session_id']}").json()
    assert (row["quality_gate"], row["seed_value"]) == (quality, made["seed"])
    said = "'model' is no field of this request: it was not used"
    assert said in made["warnings"]
    status = idle.get(made["session_id"], "/status")
    assert (said in status["warnings"], status["approval_status"]) == (True, None)


# --- approving ---


@pytest.mark.parametrize("stage", ["story", "reference_image", "video", "complete", "error"])
def test_approving_a_stage_that_is_not_the_current_one_changes_nothing(client, board, stage):
    before = client.get(board)
    refused(client.post(board, "/approve", stage=stage))
    assert client.get(board) == before


@pytest.mark.parametrize("indices", [[9], [0, 0], []])
def test_a_selection_that_cannot_be_kept_is_refused(client, board, indices):
    before = client.get(board)
    answer = client.post(board, "/approve", stage="storyboard", selected_indices=indices)
    assert "selected_indices" in refused(answer, *((422, "invalid_request") if not indices else ()))
    assert client.get(board) == before


def test_the_selected_draft_becomes_the_story(client):
    session_id = client.reach("story")
    client.post(session_id, "/regenerate", stage="story", feedback="Put it in a forest.")
    seen = client.wait(session_id)["outputs"]["story"]
    assert len(seen["drafts"]) > 1
    assert seen["selected_index"] > 0
    client.post(session_id, "/approve", stage="story", selected_indices=[0])
    kept = client.wait(session_id)["outputs"]["story"]
    assert (kept["selected_index"], kept["story"]) == (0, seen["drafts"][0]["story"])


# --- making anew ---


def test_feedback_reaches_the_agents(client, server):
    session_id = client.reach("story")
    answer = client.post(session_id, "/regenerate", stage="story", feedback="Put it in a forest.", modifications=None)
    assert (answer.status_code, answer.json()["regenerated"]) == (200, True)
    seen = client.wait(session_id)
    assert (seen["status"], seen["awaiting_approval"]) == ("story", True)
    assert any("Put it in a forest." in question for question in asked(server, "director"))
    said, answered = seen["conversation_history"]
    assert (said["role"], said["content"]) == ("user", "Put it in a forest.")
    assert (answered["role"], "in a forest" in answered["content"]) == ("assistant", True)
    assert all(" in a forest: " in line for line in seen["outputs"]["story"]["story"].splitlines()[1:-1])


def test_a_stage_is_made_anew_once_however_often_the_request_arrives(client):
    session_id = client.reach("story")
    asked = {"stage": "story", "feedback": "Put it in a forest.", "key": "anew"}
    first, again = (client.post(session_id, "/regenerate", **asked) for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    said = [entry["content"] for entry in client.wait(session_id)["conversation_history"] if entry["role"] == "user"]
    assert said == ["Put it in a forest."]
    other = client.post(session_id, "/regenerate", **{**asked, "feedback": "In a kitchen."})
    assert refused(other, 422, "key_reused")


def test_notes_of_an_approval_reach_the_agents_that_come_next(client, server):
    session_id = client.reach("story")
    answer = client.post(session_id, "/approve", stage="story", notes="Keep the bottle in the sun.")
    assert answer.status_code == 200, answer.text
    client.wait(session_id)
    written = asked(server, "writer")
    assert written
    assert all("Note of the owner: Keep the bottle in the sun." in question for question in written)


def test_one_scene_is_drawn_anew_and_the_others_stay(client, server):
    session_id = client.reach("storyboard")
    before = client.get(session_id)["outputs"]["storyboard"]["images"]
    server.studio.requests.clear()
    changes = {"scene_number": 2, "prompt": "a red bottle"}
    assert client.post(session_id, "/regenerate", stage="storyboard", modifications=changes).status_code == 200
    after = client.wait(session_id)["outputs"]["storyboard"]["images"]
    assert [request.prompt for request in drawn(server)] == ["a red bottle"]
    assert [one["path"] == other["path"] for one, other in zip(before, after, strict=True)] == [
        frame["scene_number"] != 2 for frame in after
    ]
    assert after[1]["prompt"] == "a red bottle"


@pytest.mark.parametrize(
    "body",
    [
        {"stage": "video"},
        {"stage": "complete"},
        {"stage": "storyboard", "modifications": {"scene_number": 99}},
    ],
    ids=["not begun", "an end", "no such scene"],
)
def test_what_cannot_be_made_anew_is_400_and_changes_nothing(client, board, body):
    before = client.get(board)
    refused(client.post(board, "/regenerate", **body))
    assert client.get(board) == before


def test_nothing_is_made_anew_while_it_is_at_work(idle):
    session_id = idle.start()["session_id"]
    refused(idle.post(session_id, "/regenerate", stage="story"), 409, "conflict")


# --- chat ---


def test_chat_that_names_no_scene_is_asked_back_and_draws_nothing(client, server, board):
    answer = client.post(board, "/chat", message="make it brighter")
    assert answer.status_code == 200, answer.text
    said, answered = answer.json()["conversation_history"][-2:]
    assert (said["role"], said["content"]) == ("user", "make it brighter")
    assert (answered["role"], answered["content"][:11]) == ("assistant", "Which scene")
    assert (answer.json()["status"], answer.json()["awaiting_approval"]) == ("storyboard", True)
    assert drawn(server) == []


def test_chat_that_names_a_scene_makes_that_one_anew(client, server):
    session_id = client.reach("storyboard")
    server.studio.requests.clear()
    client.post(session_id, "/chat", message="scene 1: put snow on the ground")
    client.wait(session_id)
    assert len(drawn(server)) == 1
    assert drawn(server)[0].prompt.endswith(", with snow")


def test_a_chat_message_that_is_sent_twice_counts_once(client, board):
    for _ in range(2):
        seen = client.post(board, "/chat", message="why so dark?", client_id="m1").json()
    assert [entry["content"] for entry in seen["conversation_history"]].count("why so dark?") == 1


# --- pictures of one's own ---


def test_uploaded_references_take_the_place_of_the_drawn_one(client, server):
    session_id = client.reach("story")
    files = [("images", (f"{number}.png", png(number).data, "image/png")) for number in (1, 2)]
    answer = client.http.post(f"/api/v1/interactive/{session_id}/reference-images/upload", files=files)
    assert answer.status_code == 200, answer.text
    images = answer.json()["images"]
    assert [(one["index"], one["source"], one["quality_score"], one["prompt"]) for one in images] == [
        (0, "manual", None, ""), (1, "manual", None, ""),
    ]  # fmt: skip
    assert client.http.get(images[0]["url"]).headers["content-type"] == "image/png"
    client.post(session_id, "/approve", stage="story")
    seen = client.wait(session_id)
    assert seen["outputs"]["reference_image"]["images"] == images
    assert drawn(server) == []
    client.post(session_id, "/approve", stage="reference_image", selected_indices=[1])
    client.wait(session_id)
    used = {tuple(one.image.sha256 for one in request.references) for request in drawn(server)}
    assert used == {(images[1]["path"],)}


@pytest.mark.parametrize("stage", ["reference_image", "storyboard"])
def test_references_come_too_late_once_the_story_is_approved(client, board, stage):
    files = {"images": ("bottle.png", png(1).data, "image/png")}
    session_id = board if stage == "storyboard" else client.reach(stage)
    before = client.get(session_id)
    message = refused(client.http.post(f"/api/v1/interactive/{session_id}/reference-images/upload", files=files))
    assert stage in message
    assert client.get(session_id) == before


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("images", (f"{number}.png", png(1).data)) for number in range(4)], 422),
        ([("images", ("a.png", b"no picture"))], 422),
        ([("images", ("a.png", b"\x89PNG" + bytes(10 * 2**20)))], 413),
        ([("other", (None, "text"))], 422),
    ],
    ids=["four", "no picture", "too large", "no file"],
)
def test_uploads_keep_their_limits(idle, files, status):
    session_id = idle.start()["session_id"]
    answer = idle.http.post(f"/api/v1/interactive/{session_id}/reference-images/upload", files=files)
    assert answer.status_code == status, answer.text
    assert idle.get(session_id)["seq"] == 0


# --- edits ---


def test_an_edit_is_version_two_and_the_original_stays(client, server):
    session_id = client.reach("storyboard")
    before = client.get(session_id)["outputs"]["storyboard"]["images"][1]
    body = {"image_id": 1, "mask_data": mask(), "prompt": "a red hat", "negative_prompt": "hair"}
    answer = client.post(session_id, "/inpaint", **body)
    assert answer.status_code == 200, answer.text
    edited = answer.json()
    assert (edited["version"], edited["original_image_url"]) == (2, before["url"])
    assert edited["edit_history"] == [before["url"], edited["edited_image_url"]]
    old, new = (decode_image(client.http.get(url).content) for url in edited["edit_history"])
    assert (old[40:] == new[40:]).all()
    assert (old[:40] != new[:40]).any()
    assert (drawn(server)[-1].prompt, drawn(server)[-1].negative_prompt) == ("a red hat", "hair")
    seen = client.wait(session_id)
    after = seen["outputs"]["storyboard"]["images"][1]
    assert (after["url"], after["version"], after["edit_history"]) == (
        edited["edited_image_url"], 2, edited["edit_history"],
    )  # fmt: skip
    assert (seen["status"], seen["awaiting_approval"]) == ("storyboard", True)


def canvas(mode):
    """What a drawing canvas gives: white strokes over the upper half, or half clear red ones; clear elsewhere."""
    strokes = {"white": (255, 255, 255, 255), "red": (255, 0, 0, 128)}[mode]
    image = Image.new("RGBA", (48, 80), (0, 0, 0, 0))
    image.paste(strokes, (0, 0, 48, 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("mode", ["white", "red"])
def test_the_strokes_of_a_canvas_are_repainted_and_nothing_else(client, mode):
    session_id = client.reach("storyboard")
    answer = client.post(session_id, "/inpaint", image_id=0, mask_data=canvas(mode), prompt="a red hat").json()
    old, new = (decode_image(client.http.get(url).content) for url in answer["edit_history"])
    assert (old[40:] == new[40:]).all()
    assert (old[:40] != new[:40]).any()


def test_an_edit_is_made_once_however_often_the_request_arrives(client, server):
    session_id = client.reach("storyboard")
    body = {"image_id": 0, "mask_data": mask(), "prompt": "a red hat", "key": "hat"}
    first, again = (client.post(session_id, "/inpaint", **body) for _ in range(2))
    assert first.status_code == 200, first.text
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert [request.prompt for request in drawn(server)].count("a red hat") == 1
    client.wait(session_id)
    assert client.post(session_id, "/inpaint", **{**body, "prompt": "a hat", "key": "other"}).json()["version"] == 3
    client.wait(session_id)
    assert "another picture" in refused(client.post(session_id, "/inpaint", **body), 409, "conflict")


def test_an_edit_that_takes_long_says_where_to_watch(client, server, monkeypatch):
    monkeypatch.setattr("serving.gateway.interactive.edits.WAIT_SECONDS", 0.2)
    session_id = client.reach("storyboard")
    with server.studio.holding(1):
        answer = client.post(session_id, "/inpaint", image_id=0, mask_data=mask(), prompt="a red hat")
    assert (answer.status_code, answer.json()["edited_image_url"], answer.json()["version"]) == (202, None, 2)
    assert f"/ws/{session_id}" in answer.json()["message"]
    seen = client.wait(session_id)["outputs"]["storyboard"]["images"][0]
    assert (seen["version"], seen["edit_history"][0]) == (2, answer.json()["original_image_url"])


def test_an_edit_of_the_drawn_reference_that_fails_leaves_the_reference_as_it_was(client, server):
    session_id = client.reach("reference_image")
    before = client.get(session_id)["outputs"]["reference_image"]["images"]
    server.studio.fail_with = InferenceFailed("out of paint")
    try:
        answer = client.post(session_id, "/inpaint", image_id=0, mask_data=mask(64, 64), prompt="a blue bottle")
    finally:
        server.studio.fail_with = None
    assert "out of paint" in refused(answer, 500, "inference_failed")
    seen = client.get(session_id)
    assert (seen["status"], seen["current_stage"]) == ("error", "reference_image")
    assert seen["outputs"]["reference_image"]["images"] == before


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"image_id": 9}, 400),
        ({"mask_data": "not base64!"}, 422),
        ({"mask_data": mask(80, 48)}, 400),
        ({"mask_data": base64.b64encode(bytes(10 * 2**20 + 1)).decode()}, 413),
        ({"prompt": " "}, 422),
    ],
    ids=["no such image", "no base64", "another aspect", "too large", "no prompt"],
)
def test_an_edit_that_cannot_be_made_changes_nothing(client, board, change, status):
    before = client.get(board)
    answer = client.post(board, "/inpaint", **({"image_id": 0, "mask_data": mask(), "prompt": "a hat"} | change))
    assert answer.status_code == status, answer.text
    assert client.get(board) == before


def test_there_is_nothing_to_edit_in_a_story(idle):
    session_id = idle.start()["session_id"]
    refused(idle.post(session_id, "/inpaint", image_id=0, mask_data=mask(), prompt="a hat"))


# --- whose it is ---


def test_someone_elses_session_is_404(server, board):
    with logged_in(server, "bruno") as bruno:
        refused(bruno.get(f"/api/v1/interactive/{board}"), 404, "not_found")
        refused(bruno.post(f"/api/v1/interactive/{board}/approve", json={"stage": "storyboard"}), 404, "not_found")
