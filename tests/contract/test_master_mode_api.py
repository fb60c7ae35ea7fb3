"""`/api/master-mode` over a real server: awaited or detached, and progress for whoever asks, early, late or twice."""

import json
import threading

import httpx
import pytest

from models.errors import InferenceFailed
from tests.support.ad_server import PROMPT, frames, until
from tests.support.gateway_users import bearer, new_user
from tests.support.tiny_models import png

URL = "/api/master-mode"
FORM = {"prompt": PROMPT, "duration": "9", "num_scenes": "2", "max_iterations": "2"}
OPTIONAL = {
    "scenes", "video_generation_params", "final_video_path", "video_generation_status", "scene_videos", "error_message",
}  # fmt: skip
STORY_FIELDS = {
    "success", "generation_id", "story", "approval_status", "final_score", "total_iterations",
    "story_conversation_history", "story_iterations", "scenes", "video_generation_params", "final_video_path",
    "video_generation_status", "scene_videos", "warnings", "seed_value",
}  # fmt: skip
CRITIQUE = {"approval_status", "overall_score", "critique", "strengths", "improvements", "priority_fixes"}
COHESION = {
    "overall_cohesion_score", "pair_wise_analysis", "global_issues", "scene_specific_feedback", "consistency_issues",
    "overall_recommendations",
}  # fmt: skip


@pytest.fixture(scope="module")
def told(http):
    """An awaited order with pictures, to the finished video."""
    files = [("reference_images", (f"{n}.png", png(n).data, "image/png")) for n in range(2)]
    fields = {**FORM, "client_generation_id": "mine-1", "generate_videos": "true"}
    answer = http.post(f"{URL}/generate-story", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return answer.json()


def progress(client, name, **headers):
    with client.stream("GET", f"{URL}/progress/{name}", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        return [json.loads(frame["data"]) for frame in frames(answer)]


def test_the_response_is_typed_as_in_the_contract(told):
    assert told.keys() == STORY_FIELDS
    assert (told["success"], told["video_generation_status"]) == (True, "success")
    assert 0 <= told["final_score"] <= 100
    assert told["approval_status"] in ("approved", "needs_revision")
    assert told["total_iterations"] == len(told["story_iterations"]) <= 2
    first = told["story_iterations"][0]
    assert first["critique"].keys() == CRITIQUE
    assert first["story_draft"]
    assert first["timestamp"]
    assert {line["role"] for line in told["story_conversation_history"]} == {"director", "critic"}


def test_the_scenes_come_with_their_cohesion_analysis(told):
    scenes = told["scenes"]
    assert (scenes["total_scenes"], len(scenes["scenes"])) == (2, 2)
    assert scenes["scenes"][0].keys() == {"scene_number", "content", "iterations", "approved", "final_critique"}
    assert scenes["scenes"][0]["final_critique"].keys() == CRITIQUE
    assert scenes["cohesion_analysis"].keys() == COHESION
    pair = scenes["cohesion_analysis"]["pair_wise_analysis"][0]
    assert (pair["from_scene"], pair["to_scene"]) == (1, 2)
    assert {line["role"] for line in scenes["conversation_history"]} >= {"writer", "scene_critic", "cohesor"}


def test_the_video_can_be_fetched_where_the_response_says(told, http):
    assert [params["scene_number"] for params in told["video_generation_params"]] == [1, 2]
    assert all(params["prompt"] and params["use_references"] for params in told["video_generation_params"])
    for path in (told["final_video_path"], *told["scene_videos"]):
        assert http.get(path).headers["content-type"] == "video/mp4"
    row = http.get(f"/api/v1/generations/{told['generation_id']}").json()
    assert (row["framework"], len(row["references"])) == ("master_mode", 2)


def test_flags_choose_what_is_made(http):
    story = http.post(f"{URL}/generate-story", json={**FORM, "generate_scenes": "false"}).json()
    assert (story["success"], story.keys() & OPTIONAL) == (True, set())
    assert http.get(f"{URL}/generate-story/{story['generation_id']}").json() == story
    scenes = http.post(f"{URL}/generate-story", json={**FORM, "seed": "5"}).json()
    assert scenes["scenes"]["total_scenes"] == 2
    assert scenes.keys() & OPTIONAL == {"scenes", "video_generation_params"}
    assert scenes["seed_value"] == 5


def test_what_an_order_leaves_out_is_as_the_contract_has_it(idle):

    answer = idle.post(f"{URL}/generate-story", json={"prompt": PROMPT}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    row = idle.get(f"/api/v1/generations/{answer.json()['generation_id']}").json()
    assert (row["stages"], row["title"], row["framework"]) == (["story", "scenes"], None, "master_mode")
    assert row["status"] == "pending"


def test_an_order_without_a_seed_draws_one_and_what_is_no_field_is_said(idle):
    asked = [{"prompt": PROMPT, "tone": "warm"}, {"prompt": PROMPT, "quality": {"minimums": {"text_alignment": 0.2}}}]
    first, second = (
        idle.post(f"{URL}/generate-story", json=one, headers={"Prefer": "respond-async"}).json() for one in asked
    )
    assert first["seed_value"] != second["seed_value"]
    assert max(first["seed_value"], second["seed_value"]) < 2**53
    assert "'tone' is no field of this request: it was not used" in first["warnings"]
    row = idle.get(f"/api/v1/generations/{second['generation_id']}").json()
    assert (row["seed_value"], row["quality_gate"]["minimums"]) == (second["seed_value"], {"text_alignment": 0.2})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"prompt": ""}, 422),
        ({"max_iterations": "0"}, 422),
        ({"max_iterations": "11"}, 422),
        ({"client_generation_id": "a/b"}, 422),
        ({"title": "x" * 201}, 422),
    ],
)
def test_an_order_outside_of_its_bounds_is_refused_and_nothing_is_stored(idle, fields, status):
    before = idle.get("/api/v1/generations").json()["total"]
    answer = idle.post(f"{URL}/generate-story", json={**FORM, **fields}, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "invalid_request"), answer.text
    assert idle.get("/api/v1/generations").json()["total"] == before


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("reference_images", (f"{n}.png", png(n).data)) for n in range(4)], 422),
        ([("reference_images", ("a.png", b"no picture"))], 422),
        ([("reference_images", ("a.png", b"\x89PNG" + bytes(10 * 2**20)))], 413),
    ],
    ids=["four", "no picture", "too large"],
)
def test_uploads_keep_their_limits(idle, files, status):
    before = idle.get("/api/v1/generations").json()["total"]
    answer = idle.post(f"{URL}/generate-story", data=FORM, files=files, headers={"Prefer": "respond-async"})
    assert answer.status_code == status, answer.text
    assert idle.get("/api/v1/generations").json()["total"] == before


def test_a_video_without_scenes_is_refused(http):
    answer = http.post(f"{URL}/generate-story", json={**FORM, "generate_scenes": "false", "generate_videos": "true"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_progress_passes_the_contracts_steps_in_order(told, http):
    steps = list(dict.fromkeys(update["step"] for update in progress(http, "mine-1")))
    assert steps == ["init", "upload", "story", "scenes", "video_params", "videos", "complete"]
    last = progress(http, told["generation_id"])[-1]
    assert (last["step"], last["status"], last["progress"]) == ("complete", "completed", 100)


def test_progress_names_what_is_made_and_leaves_the_noise_out(told, http):
    seen = progress(http, "mine-1")
    said = {update["message"] for update in seen}
    assert {"draft 1 of the story: started", "draft of scene 1: started", "clip of scene 2: started"} <= said
    assert not said & {"started", "already finished"}
    assert "reference images stored: 2" in said
    assert not [one for one in seen if one["step"] in ("story", "scenes") and " of 1024" in one["message"]]
    assert all(
        ": " in one["message"] or one["step"] not in ("story", "scenes")
        for one in seen
        if "finished in" in one["message"]
    )


def test_a_late_and_a_second_client_see_all_of_it_and_a_returning_one_the_rest(told, http):
    whole = progress(http, "mine-1")
    assert progress(http, "mine-1") == whole
    seen = whole[len(whole) // 2]["seq"]
    rest = progress(http, "mine-1", **{"last-event-id": str(seen)})
    assert rest == [update for update in whole if update["seq"] > seen]
    end = http.get(f"{URL}/progress/mine-1", headers={"last-event-id": "999999"})
    assert end.status_code == 204


def test_an_order_is_detached_on_request_and_its_result_fetched_later(http):
    answer = http.post(f"{URL}/generate-story", json={**FORM, "seed": "9"}, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    later = answer.json()
    until(http, later["generation_id"], "completed")
    made = http.get(later["result_url"]).json()
    assert (made["generation_id"], made["success"]) == (later["generation_id"], True)
    assert progress(http, later["generation_id"])[-1]["step"] == "complete"


def test_a_client_that_listens_before_its_order_arrives_hears_it(http):
    heard = []
    listener = threading.Thread(target=lambda: heard.extend(progress(http, "early")))
    listener.start()
    http.post(f"{URL}/generate-story", json={**FORM, "client_generation_id": "early", "generate_scenes": "false"})
    listener.join(60)
    assert [heard[0]["step"], heard[-1]["step"]] == ["init", "complete"]


def test_hanging_up_does_not_cancel_and_asking_again_finds_the_same_order(server, http):
    fields = {**FORM, "client_generation_id": "again", "generate_videos": "true", "seed": "11"}
    with server.studio.holding(1):
        with (
            httpx.Client(base_url=server.url, headers=bearer(server.key), timeout=2) as impatient,
            pytest.raises(httpx.ReadTimeout),
        ):
            impatient.post(f"{URL}/generate-story", json=fields)
        server.studio.until_held()
        assert http.get("/api/v1/generations", params={"limit": 1}).json()["items"][0]["status"] == "processing"
    answer = http.post(f"{URL}/generate-story", json=fields)
    assert (answer.json()["success"], answer.headers["idempotency-replayed"]) == (True, "true")
    other = http.post(f"{URL}/generate-story", json={**fields, "seed": "12"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")


def test_a_video_that_fails_leaves_the_story_and_says_so(server, http):
    fields = {**FORM, "client_generation_id": "fails", "generate_videos": "true", "seed": "13"}
    try:
        with server.studio.holding(1):
            asked = http.post(f"{URL}/generate-story", json=fields, headers={"Prefer": "respond-async"}).json()
            server.studio.until_held()  # in the first keyframe; the second one fails
            early = http.get(asked["result_url"])
            assert (early.status_code, early.json()["error"]["code"]) == (409, "conflict")
            server.studio.fail_with = InferenceFailed("no picture today")
        made = http.post(f"{URL}/generate-story", json=fields).json()
    finally:
        server.studio.fail_with = None
    assert (made["success"], made["video_generation_status"], "final_video_path" in made) == (False, "failed", False)
    assert "no picture today" in made["error_message"]
    assert made["scenes"]["total_scenes"] == 2
    assert progress(http, "fails")[-1]["step"] == "error"


def test_someone_elses_progress_does_not_exist(server, told):
    key = server.call(new_user(server.services.auth, "stranger"))
    with httpx.Client(base_url=server.url, headers=bearer(key), timeout=60) as stranger:
        for name in ("mine-1", told["generation_id"]):
            assert stranger.get(f"{URL}/progress/{name}").status_code == 404
        assert stranger.get(f"{URL}/generate-story/{told['generation_id']}").status_code == 404
