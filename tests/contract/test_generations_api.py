"""`/api/v1/generations` over a real server: ordered once, followed by many, directed, cancelled and deleted.

On SQLite and on PostgreSQL.
"""

import json
import threading

import httpx
import pytest

from tests.support.ad_server import BRIEF, PROMPT, SpeakingServer, frames, until
from tests.support.gateway_users import bearer, new_user
from tests.support.tiny_models import png
from tests.support.waiting import ended

URL = "/api/v1/generations"


@pytest.fixture(scope="module")
def server(tmp_path_factory, server_database_url):
    with SpeakingServer(tmp_path_factory.mktemp("ads"), database_url=server_database_url) as server:
        yield server


@pytest.fixture(scope="module")
def finished(http):
    """A finished ad of the recipe `express`."""
    made = http.post(URL, json={"recipe": "express", "brief": BRIEF})
    assert made.status_code == 202, made.text
    return until(http, made.json()["id"], "completed")


def order(http, recipe="express", **more):
    answer = http.post(URL, json={"recipe": recipe, "brief": BRIEF, **more})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def error(answer):
    return answer.json()["error"]


# --- ordering ---


def test_an_ad_is_made_from_a_brief(finished, http):
    assert (finished["status"], finished["progress"], finished["num_scenes"], finished["num_clips"]) == (
        "completed", 100, 2, 2,
    )  # fmt: skip
    assert (finished["prompt"], finished["duration"], finished["aspect_ratio"]) == (PROMPT, 9, "9:16")
    assert (finished["cost"], finished["model"], finished["use_llm"], finished["seed_value"]) == (
        None, "filmer", True, 1,
    )  # fmt: skip
    assert len(finished["scene_plan"]["scenes"]) == 2
    assert finished["llm_specification"]["story"]
    assert {message["role"] for message in finished["llm_conversation_history"]} >= {"director", "writer"}
    assert len(finished["temp_clip_paths"]) == 2


def test_a_form_with_pictures_makes_the_same_order(http, idle):
    names = ("bottle.png", "logo.png")
    files = [("references", (name, png(number).data, "image/png")) for number, name in enumerate(names)]
    answer = idle.post(URL, data={"recipe": "express", "brief": json.dumps(BRIEF)}, files=files)
    assert answer.status_code == 202, answer.text
    assert [(one["role"], one["filename"]) for one in answer.json()["references"]] == [
        ("product", "bottle.png"), ("product", "logo.png"),
    ]  # fmt: skip


def test_a_reference_may_have_a_role(idle):
    files = {"references[][image]": ("anna.png", png(3).data, "image/png")}
    fields = {"brief": json.dumps(BRIEF), "references[][role]": "character"}
    answer = idle.post(URL, data=fields, files=files)
    assert answer.status_code == 202, answer.text
    assert answer.json()["references"][0]["role"] == "character"


def test_a_fourth_picture_is_refused(idle):
    files = [("references", (f"{number}.png", png(number).data, "image/png")) for number in range(4)]
    answer = idle.post(URL, data={"brief": json.dumps(BRIEF)}, files=files)
    assert (answer.status_code, error(answer)["code"]) == (422, "limit_exceeded")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"brief": {"prompt": " "}}, "prompt"),
        ({"brief": {**BRIEF, "duration": 5}}, "duration"),
        ({"brief": {**BRIEF, "num_scenes": 20}}, "num_scenes"),
        ({"brief": {**BRIEF, "fps": 30}}, "brief.fps"),
        ({"brief": {}}, "brief.prompt"),
        ({"recipe": "nope"}, "nope"),
        ({"recipe": "clip"}, "scenes"),
        ({"recipe": "interactive", "use_llm": False}, "use_llm"),
        ({"approvals": ["reference_image"]}, "approvals"),
        ({"coherence": {"use_magic": True}}, "coherence.use_magic"),
        ({"quality": {"dimensions": ["beauty"]}}, "beauty"),
        ({"references": ["http://example.org/a.png"]}, "references.0"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_stored(idle, change, named):
    before = idle.get(URL).json()["total"]
    answer = idle.post(URL, json={"recipe": "express", "brief": BRIEF, **change})
    assert answer.status_code == 422, answer.text
    assert named in error(answer)["message"]
    assert idle.get(URL).json()["total"] == before


def test_only_the_given_coherence_differs_from_the_recipe(idle):
    made = idle.post(URL, json={"brief": BRIEF, "coherence": {"use_latent_reuse": True}}).json()
    assert made["coherence_settings"]["use_latent_reuse"] is True
    assert made["coherence_settings"]["use_seed_control"] is True


def test_without_agents_every_scene_shows_the_prompt(http, server):
    made = until(http, order(http, use_llm=False), "completed")
    assert [scene["image_prompt"] for scene in made["scene_plan"]["scenes"]] == [PROMPT, PROMPT]
    assert (made["use_llm"], made["llm_specification"], made["llm_conversation_history"]) == (False, None, [])


# --- once ---


def test_the_same_request_under_one_key_is_carried_out_once(idle):
    headers, body = {"Idempotency-Key": "k-1"}, {"recipe": "express", "brief": BRIEF}
    first, second = (idle.post(URL, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


def test_one_key_for_two_requests_is_refused(idle):
    headers = {"Idempotency-Key": "k-2"}
    idle.post(URL, json={"brief": BRIEF}, headers=headers)
    answer = idle.post(URL, json={"brief": {**BRIEF, "seed": 2}}, headers=headers)
    assert (answer.status_code, error(answer)["code"]) == (422, "key_reused")


def test_requests_that_arrive_at_once_under_one_key_make_one_generation(idle):
    ids = []

    def ask():
        with httpx.Client(base_url=idle.base_url, headers=idle.headers) as client:
            ids.append(client.post(URL, json={"brief": BRIEF}, headers={"Idempotency-Key": "k-3"}).json()["id"])

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        ended(thread, "the answer to one of five orders")
    assert len(ids) == 5
    assert len(set(ids)) == 1


def test_a_form_sent_again_is_the_same_request(idle):
    sent = [
        idle.post(
            URL,
            data={"brief": json.dumps(BRIEF)},
            files={"references": ("a.png", png(1).data, "image/png")},
            headers={"Idempotency-Key": "k-4"},
        ).json()["id"]
        for _ in range(2)
    ]
    assert sent[0] == sent[1]


# --- lists ---


def test_a_list_has_the_contracts_pages(idle):
    ids = [order(idle) for _ in range(3)]
    page = idle.get(URL, params={"limit": 2}).json()
    assert page.keys() == {"items", "total", "limit", "offset", "has_more"}
    assert [item["id"] for item in page["items"]] == [ids[2], ids[1]]
    assert (page["limit"], page["offset"], page["has_more"]) == (2, 0, True)
    last = idle.get(URL, params={"limit": 100, "offset": page["total"] - 1}).json()
    assert (len(last["items"]), last["has_more"]) == (1, False)


def test_a_list_is_filtered(idle):
    order(idle, recipe="master")
    rows = idle.get(URL, params={"status": "pending", "recipe": "master"}).json()["items"]
    assert {row["recipe"] for row in rows} == {"master"}
    assert idle.get(URL, params={"status": "completed"}).json()["total"] == 0
    assert idle.get(URL, params={"q": "WATER BOTTLE"}).json()["total"] > 0
    assert idle.get(URL, params={"q": "100%"}).json()["total"] == 0


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"offset": -1}, {"status": "lost"}])
def test_a_page_that_cannot_be_is_422(idle, query):
    assert idle.get(URL, params=query).status_code == 422


# --- the log ---


def stream(client, generation_id, **headers):
    with client.stream(
        "GET", f"{URL}/{generation_id}/events", headers={"accept": "text/event-stream", **headers}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return [(int(frame["id"]), frame["event"]) for frame in frames(answer)]


def test_several_observers_see_every_event_while_it_runs(http):
    generation_id, seen = order(http), []
    threads = [threading.Thread(target=lambda: seen.append(stream(http, generation_id))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    log = http.get(f"{URL}/{generation_id}/events").json()
    expected = [(event["seq"], event["kind"]) for event in log["items"]]
    assert seen == [expected] * 3
    assert [seq for seq, _ in expected] == list(range(1, len(expected) + 1))
    assert expected[-1][1] == "generation_completed"


def test_progress_never_falls_while_scenes_are_made_at_once(http, finished):
    log = http.get(f"{URL}/{finished['id']}/events").json()["items"]
    told = [event["data"]["progress"] for event in log if "progress" in event["data"]]
    assert (told, told[-1]) == (sorted(told), 100)


def test_a_stream_goes_on_after_the_last_event_that_was_seen(http, finished):
    whole = stream(http, finished["id"])
    assert stream(http, finished["id"], **{"last-event-id": str(whole[3][0])}) == whole[4:]
    past = http.get(
        f"{URL}/{finished['id']}/events",
        headers={"accept": "text/event-stream", "last-event-id": str(whole[-1][0])},
    )
    assert past.status_code == 204


def test_the_log_is_also_paged_json(http, finished):
    first = http.get(f"{URL}/{finished['id']}/events", params={"limit": 2}).json()
    assert ([event["seq"] for event in first["items"]], first["has_more"]) == ([1, 2], True)
    rest = http.get(f"{URL}/{finished['id']}/events", params={"after": 2}).json()
    assert (rest["items"][0]["seq"], rest["items"][-1]["seq"]) == (3, finished["last_seq"])


def test_a_cursor_that_is_no_number_is_refused(http, finished):
    answer = http.get(f"{URL}/{finished['id']}/events", headers={"last-event-id": "yesterday"})
    assert answer.status_code == 422


# --- directing ---


def test_a_generation_waits_is_approved_and_runs_to_its_end(http):
    generation_id = order(http, recipe="express", approvals=["story"])
    waiting = until(http, generation_id, "awaiting_approval")
    assert waiting["current_stage"] == "story"
    wrong = http.post(f"{URL}/{generation_id}/approve", json={"stage": "video"})
    assert (wrong.status_code, error(wrong)["code"]) == (400, "bad_request")
    assert http.get(f"{URL}/{generation_id}").json() == waiting
    right = http.post(f"{URL}/{generation_id}/approve", json={"stage": "story", "notes": "good"})
    assert (right.status_code, right.json()["current_stage"]) == (200, "scenes")
    assert until(http, generation_id, "completed")["progress"] == 100


def test_a_scene_is_made_anew_and_the_first_take_chosen_again(http):
    generation_id = order(http)
    until(http, generation_id, "completed")
    before = current(http, generation_id, "keyframe", 2)
    asked = http.post(
        f"{URL}/{generation_id}/regenerate", json={"stage": "storyboard", "scene_number": 2, "feedback": "brighter"}
    )
    assert asked.status_code == 200, asked.text
    until(http, generation_id, "completed")
    after = current(http, generation_id, "keyframe", 2)
    assert after["id"] != before["id"]
    assert after["provenance"]["request"]["prompt"].endswith(", bright light")
    back = http.post(f"{URL}/{generation_id}/select", json={"take_id": before["id"]})
    assert back.status_code == 200, back.text
    until(http, generation_id, "completed")
    assert current(http, generation_id, "keyframe", 2)["id"] == before["id"]
    said = http.get(f"{URL}/{generation_id}/conversation").json()["messages"]
    assert "brighter" in [message["content"] for message in said if message["role"] == "user"]


def test_one_take_is_made_anew_and_only_its_scene_changes(http):
    generation_id = order(http)
    until(http, generation_id, "completed")
    before = [current(http, generation_id, "clip", number) for number in (1, 2)]
    body, key = {"take_id": before[0]["id"], "modifications": {"seed": 99}}, {"Idempotency-Key": "99"}
    first, again = (http.post(f"{URL}/{generation_id}/regenerate", json=body, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code, again.headers["Idempotency-Replayed"]) == (200, 200, "true")
    until(http, generation_id, "completed")
    after = [current(http, generation_id, "clip", number) for number in (1, 2)]
    assert after[0]["id"] != before[0]["id"]
    assert after[0]["provenance"]["request"]["noise"]["seed"] == 99
    assert after[1] == before[1]


def current(http, generation_id, kind, scene_number):
    takes = http.get(f"{URL}/{generation_id}/takes").json()["items"]
    return next(t for t in takes if (t["kind"], t["scene_number"], t["current"]) == (kind, scene_number, True))


def test_a_regeneration_needs_one_target(http, finished):
    for body in ({}, {"stage": "video", "take_id": "x"}, {"take_id": "x", "scene_number": 1}):
        assert http.post(f"{URL}/{finished['id']}/regenerate", json=body).status_code == 422
    assert http.post(f"{URL}/{finished['id']}/regenerate", json={"take_id": "x"}).status_code == 400
    assert http.post(f"{URL}/{finished['id']}/regenerate", json={"stage": "stitch"}).status_code == 400


# --- ending ---


def test_what_waits_is_cancelled_at_once_and_can_be_resumed(idle):
    generation_id = order(idle)
    assert idle.post(f"{URL}/{generation_id}/cancel").json()["status"] == "cancelled"
    assert idle.post(f"{URL}/{generation_id}/resume").json()["status"] == "pending"
    assert idle.post(f"{URL}/{generation_id}/resume").status_code == 400


def test_what_runs_is_cancelled_within_a_step(server, http):
    with server.studio.holding(1):
        generation_id = order(http)
        server.studio.until_held()
        assert http.post(f"{URL}/{generation_id}/cancel").status_code == 200
        assert until(http, generation_id, "cancelled")["status"] == "cancelled"


def files_of(server):
    return {path for path in (server.folder / "artifacts").rglob("*") if path.is_file()}


def test_deleting_removes_rows_and_files_but_none_that_others_name(server, http):
    body = {"recipe": "express", "brief": {**BRIEF, "seed": 77}, "use_llm": False}
    before = files_of(server)
    first = http.post(URL, json=body).json()["id"]
    until(http, first, "completed")
    made = files_of(server) - before
    assert made
    second = http.post(URL, json=body).json()["id"]
    until(http, second, "completed")
    assert files_of(server) - before == made
    assert http.delete(f"{URL}/{first}").json() == {"id": first, "deleted": True}
    assert files_of(server) - before == made
    assert http.get(f"{URL}/{first}").status_code == 404
    http.delete(f"{URL}/{second}")
    assert files_of(server) == before


def test_a_running_generation_is_deleted_with_its_uploads(server, http):
    before = files_of(server)
    with server.studio.holding(1):
        answer = http.post(
            URL,
            data={"recipe": "express", "brief": json.dumps(BRIEF)},
            files={"references": ("own.png", png(99).data, "image/png")},
        )
        server.studio.until_held()
        generation_id = answer.json()["id"]
        assert http.delete(f"{URL}/{generation_id}").status_code == 200
    assert http.get(f"{URL}/{generation_id}").status_code == 404
    assert files_of(server) == before


def test_a_stream_ends_when_its_generation_is_deleted(idle):
    generation_id = order(idle)
    with idle.stream("GET", f"{URL}/{generation_id}/events", headers={"accept": "text/event-stream"}) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        with httpx.Client(base_url=idle.base_url, headers=idle.headers) as other:
            other.delete(f"{URL}/{generation_id}")
        assert {line for line in lines if line.startswith("event:")} <= {"event: generation_cancelled"}


# --- owners ---


def test_someone_elses_generation_does_not_exist(server, finished):
    key = server.call(new_user(server.services.auth, "stranger"))
    with httpx.Client(base_url=server.url, headers=bearer(key)) as stranger:
        assert stranger.get(URL).json()["items"] == []
        for method, path in [
            ("GET", ""), ("GET", "/events"), ("GET", "/takes"), ("GET", "/conversation"), ("POST", "/cancel"),
            ("POST", "/resume"), ("DELETE", ""),
        ]:  # fmt: skip
            answer = stranger.request(method, f"{URL}/{finished['id']}{path}")
            assert (answer.status_code, error(answer)["code"]) == (404, "not_found"), path
        parent = stranger.post(URL, json={"brief": BRIEF, "parent_generation_id": finished["id"]})
        assert parent.status_code == 404
