"""`GET …/record`: what the command line writes into `run.json`, from the rows of a server."""

from pipelines.report.record import RunRecord
from tests.support.ad_server import BRIEF, PROMPT, until
from tests.support.gateway_server import VIDEO

URL = "/api/v1/generations"


def record(http, generation_id):
    answer = http.get(f"{URL}/{generation_id}/record")
    assert answer.status_code == 200, answer.text
    return RunRecord.model_validate_json(answer.content)


def test_the_record_of_a_finished_ad_names_all_that_was_made_and_every_file_can_be_fetched(http):
    made = http.post(URL, json={"recipe": "express", "brief": BRIEF}).json()["id"]
    until(http, made, "completed")
    found = record(http, made)
    assert (found.status, found.brief.prompt, found.recipe.name, found.fps) == ("completed", PROMPT, "express", 24)
    assert found.story and found.scenes and found.final and len(found.plans) == 2
    assert {take.kind for take in found.takes} == {"keyframe", "clip", "video"}
    assert {timing.name.partition("/")[0] for timing in found.timings} >= {"story", "storyboard", "video", "stitch"}
    files = {take.artifact for take in found.takes} | {found.final.artifact, found.final.thumbnail}
    assert {http.get(f"/v1/artifacts/{sha256}").status_code for sha256 in files} == {200}


def test_the_record_of_one_that_waits_holds_what_there_is(http):
    made = http.post(URL, json={"recipe": "express", "brief": BRIEF, "approvals": ["scenes"]}).json()["id"]
    until(http, made, "awaiting_approval")
    found = record(http, made)
    assert found.status == "awaiting_approval"
    assert found.scenes is not None
    assert (found.final, found.takes, found.scores) == (None, (), ())


def test_a_clip_has_a_record_too(http):
    made = http.post("/v1/videos", json={"model": VIDEO.name, "prompt": "a bottle"}).json()["id"]
    until(http, made, "completed")
    assert record(http, made).recipe.name == "clip"


def test_references_may_have_a_role_each(http):
    made = http.post(
        "/v1/images/generations",
        json={"prompt": "a bottle", "ip_adapter": {"images": ["x"], "role": ["style", "product"]}},
    )
    assert made.status_code == 422
    assert "ip_adapter.role: 2 roles for 1 images" in made.json()["error"]["message"]
