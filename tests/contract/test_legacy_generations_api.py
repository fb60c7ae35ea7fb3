"""`/api/generations` over a real server: the contract's original pipeline, its comparisons, qualities and files."""

import base64
import io

import pytest
from PIL import Image

from pipelines.media import decode_clip
from tests.support.ad_server import PROMPT, until
from tests.support.tiny_models import png

URL = "/api/generations"
AD = {"prompt": PROMPT, "duration": 9, "num_scenes": 2}


@pytest.fixture(scope="module")
def finished(http):
    answer = http.post(f"{URL}/generate", json={**AD, "framework": "PAS", "title": "Steel"})
    assert answer.status_code == 202, answer.text
    return until(http, answer.json()["generation_id"], "completed")


@pytest.fixture(scope="module")
def waiting(idle):
    return idle.post(f"{URL}/generate", json=AD).json()["generation_id"]


def test_an_ad_is_ordered_and_its_status_polled(http, finished):
    status = http.get(f"{URL}/{finished['id']}/status").json()
    assert (status["status"], status["progress"], status["error_message"]) == ("completed", 100, None)
    assert status["video_url"] == finished["video_url"] == finished["video_path"]
    detail = http.get(f"{URL}/{finished['id']}").json()
    assert (detail["framework"], detail["title"], detail["recipe"]) == ("PAS", "Steel", "classic")


def test_the_video_its_thumbnail_and_each_clip_can_be_fetched(http, finished):
    video = http.get(finished["video_url"])
    assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert len(decode_clip(video.content)) == 9 * 24
    part = http.get(finished["video_url"], headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, video.content[:10])
    assert Image.open(io.BytesIO(http.get(finished["thumbnail_url"]).content)).format == "JPEG"
    for path in finished["temp_clip_paths"]:
        assert decode_clip(http.get(path).content).shape[0] > 1
    assert http.get(f"{URL}/{finished['id']}/clips/3").status_code == 409


def test_there_is_no_file_before_it_is_made(idle, waiting):
    for name in ("video", "thumbnail", "clips/1"):
        answer = idle.get(f"{URL}/{waiting}/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_quality_says_what_was_measured_and_why_the_rest_was_not(http, finished):
    report = http.get(f"{URL}/{finished['id']}/quality").json()
    metrics = report["metrics"]
    measured = {"temporal_flickering", "flow_smoothness"}
    assert {name for name, value in metrics.items() if value is not None} == measured
    assert set(report["reasons"]) == metrics.keys() - measured
    assert report["reasons"]["flow_dynamics"]  # the clips of this world are too flat for it
    for name in ("image_quality_score", "video_quality_score"):
        assert "no CLIP model" in report["reasons"][name]
        assert "CLIP" in report["formulas"][name] or "clip" in report["formulas"][name]
    rows = {(row["metric_name"], row["scene_number"]) for row in report["quality_metrics"]}
    measured.add("temporal_consistency")  # the contract's name, a row like the others; image_quality needs CLIP
    assert rows == {("temporal_flickering", None), *((name, scene) for name in measured for scene in (1, 2))}


def test_quality_before_the_end_is_null_with_a_reason(idle, waiting):
    report = idle.get(f"{URL}/{waiting}/quality").json()
    assert report["metrics"] == {"image_quality_score": None, "video_quality_score": None}
    assert "pending" in report["reasons"]["video_quality_score"]


@pytest.mark.parametrize(
    "change", [{"duration": 8}, {"duration": 61}, {"aspect_ratio": "4:3"}, {"framework": "XYZ"}, {"prompt": "  "}]
)
def test_bounds_of_the_contract_are_kept(idle, change):
    answer = idle.post(f"{URL}/generate", json={**AD, **change})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_an_ad_without_a_seed_draws_one_that_an_order_sent_again_keeps(idle):
    first, second = (idle.post(f"{URL}/generate", json=AD).json() for _ in range(2))
    uncontrolled = idle.post(f"{URL}/generate", json={**AD, "coherence_settings": {"use_seed_control": False}}).json()
    seeds = [one["seed_value"] for one in (first, second, uncontrolled)]
    assert len(set(seeds)) == 3
    assert max(seeds) < 2**53
    for one in (first, second, uncontrolled):
        shown = (idle.get(f"{URL}/{one['generation_id']}{part}").json()["seed_value"] for part in ("", "/status"))
        assert set(shown) == {one["seed_value"]}
    again = [idle.post(f"{URL}/generate", json=AD, headers={"Idempotency-Key": "same"}).json() for _ in range(2)]
    assert again[0] == again[1]


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int):
        yield value


def test_no_number_that_is_served_is_rounded_by_a_page(http, finished):
    own = f"/api/v1/generations/{finished['id']}"
    for path in (own, f"{own}/record", f"{own}/takes", f"{own}/events", f"{URL}/{finished['id']}/quality"):
        served = [*numbers(http.get(path).json())]
        assert served
        assert max(served) < 2**53, path
    fields = {"prompt": PROMPT, "duration": 9, "num_scenes": 2}
    told = http.post("/api/master-mode/generate-story", json=fields).json()
    assert max(numbers(told)) < 2**53


def test_seed_control_that_is_off_is_shown_as_it_acts(idle):
    settings = {"use_seed_control": False, "seed_policy": "fixed"}
    made = idle.post(f"{URL}/generate", json={**AD, "coherence_settings": settings}).json()
    assert idle.get(f"{URL}/{made['generation_id']}").json()["coherence_settings"]["seed_policy"] == "derived"


@pytest.mark.parametrize("written", ["pas", " Bab ", "aida"])
def test_a_framework_is_known_however_it_is_written(idle, written):
    made = idle.post(f"{URL}/generate", json={**AD, "framework": written}).json()
    assert idle.get(f"{URL}/{made['generation_id']}").json()["framework"] == written.strip().upper()


def test_what_an_old_client_sends_besides_is_not_used_and_every_answer_says_so(idle):
    old = {"model": "kling-v1.5", "num_clips": 3, "coherence_settings": {"vbench_quality_control": True}}
    made = idle.post(f"{URL}/generate", json={**AD, **old})
    assert made.status_code == 202, made.text
    said = made.json()["warnings"]
    for name in ("model", "num_clips", "coherence_settings.vbench_quality_control"):
        assert f"{name!r} is no field of this request: it was not used" in said
    for part in ("", "/status"):
        assert set(said) <= set(idle.get(f"{URL}/{made.json()['generation_id']}{part}").json()["warnings"])
    pair = parallel(idle, "prompt", {"prompt": PROMPT, "tone": "warm"}, {"prompt": PROMPT * 2}).json()
    assert "'variations.0.tone' is no field of this request: it was not used" in pair["warnings"]
    many = idle.post(f"{URL}/generate", json={**AD, **{f"field_{number}": 1 for number in range(40)}}).json()
    assert "30 more fields of the request were not used" in many["warnings"]


@pytest.mark.parametrize("name", ["image", "images", "reference_image", "reference_images[]", "product_photo"])
def test_a_picture_counts_under_whatever_name_a_form_gives_it(idle, name):
    made = idle.post(f"{URL}/generate", data={"prompt": PROMPT}, files=[(name, ("style-gold.png", png(1).data))]).json()
    row = idle.get(f"{URL}/{made['generation_id']}").json()
    assert [(each["role"], each["filename"]) for each in row["references"]] == [("style", "style-gold.png")]
    assert not [one for one in made["warnings"] if "was not used" in one]


def test_pictures_as_base64_count_under_the_old_name_and_more_than_three_are_refused(idle):
    picture = base64.b64encode(png(1).data).decode()
    made = idle.post(f"{URL}/generate", json={**AD, "image": f"data:image/png;base64,{picture}"}).json()
    assert len(idle.get(f"{URL}/{made['generation_id']}").json()["references"]) == 1
    refused = idle.post(f"{URL}/generate", json={**AD, "reference_images": [picture] * 4})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "reference_images")


def test_a_form_without_a_file_may_be_urlencoded(idle):
    made = idle.post(f"{URL}/generate", data={"prompt": PROMPT, "duration": "9", "framework": "bab", "title": ""})
    assert made.status_code == 202, made.text
    row = idle.get(f"{URL}/{made.json()['generation_id']}").json()
    assert (row["duration"], row["framework"], row["title"]) == (9, "BAB", None)


def test_the_quality_gate_is_asked_for_here_too(idle):
    quality = {"dimensions": ["text_alignment"], "minimums": {"text_alignment": 0.2}, "retakes": 2}
    made = idle.post(f"{URL}/generate", json={**AD, "quality": quality}).json()
    row = idle.get(f"{URL}/{made['generation_id']}").json()
    assert row["quality_dimensions"] == ["text_alignment"]
    assert row["quality_gate"] == {"minimums": {"text_alignment": 0.2}, "retakes": 2}
    wrong = idle.post(f"{URL}/generate", json={**AD, "quality": {"retakes": 9}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "quality.retakes")


@pytest.mark.parametrize("seconds", [9, 60])
def test_the_bounds_themselves_are_allowed(idle, seconds):
    assert idle.post(f"{URL}/generate", json={"prompt": PROMPT, "duration": seconds}).status_code == 202


def test_what_an_order_leaves_out_is_as_the_contract_has_it(idle):
    made = idle.post(f"{URL}/generate", json={"prompt": PROMPT}).json()
    row = idle.get(f"{URL}/{made['generation_id']}").json()
    assert (row["duration"], row["aspect_ratio"], row["framework"], row["use_llm"]) == (15, "9:16", "PAS", True)
    assert (row["status"], row["progress"], row["title"], row["generation_group_id"]) == ("pending", 0, None, None)
    assert (row["cancellation_requested"], row["completed_at"], row["video_url"]) == (False, None, None)


@pytest.mark.parametrize("framework", ["PAS", "BAB", "AIDA"])
def test_every_framework_of_the_contract_is_taken(idle, framework):
    made = idle.post(f"{URL}/generate", json={**AD, "framework": framework}).json()
    assert idle.get(f"{URL}/{made['generation_id']}").json()["framework"] == framework


def test_defaults_of_coherence_can_be_read(idle):
    defaults = idle.get(f"{URL}/coherence/settings/defaults").json()
    assert {name: defaults[name] for name in ("use_seed_control", "use_latent_reuse", "use_ip_adapter")} == {
        "use_seed_control": True, "use_latent_reuse": False, "use_ip_adapter": True,
    }  # fmt: skip


# --- comparisons ---


def parallel(http, kind, *variations):
    body = {"base_prompt": PROMPT, "duration": 9, "num_scenes": 2, "use_llm": False, "comparison_type": kind}
    return http.post(f"{URL}/generate/parallel", json={**body, "variations": list(variations)})


def test_settings_are_compared_and_a_winner_is_chosen(http):
    asked = parallel(http, "settings", {"coherence_settings": {}}, {"coherence_settings": {"use_seed_control": False}})
    assert asked.status_code == 202, asked.text
    group = asked.json()
    first, second = group["generation_ids"]
    early = http.post(f"{URL}/comparison/{group['group_id']}/winner", json={"generation_id": first})
    assert early.status_code in (200, 400)
    for one in (first, second):
        until(http, one, "completed")
    chosen = http.post(f"{URL}/comparison/{group['group_id']}/winner", json={"generation_id": second})
    assert chosen.status_code == 200, chosen.text
    shown = http.get(f"{URL}/comparison/{group['group_id']}").json()
    assert (shown["winner_generation_id"], shown["comparison_type"]) == (second, "settings")
    assert [row["coherence_settings"]["use_seed_control"] for row in shown["generations"]] == [True, False]
    assert [row["coherence_settings"]["seed_policy"] for row in shown["generations"]] == ["blend", "derived"]
    assert len({row["seed_value"] for row in shown["generations"]}) == 1
    assert {row["generation_group_id"] for row in shown["generations"]} == {group["group_id"]}


def test_a_group_loses_its_winner_with_it_and_goes_with_its_last_generation(http):
    group = parallel(http, "prompt", {"prompt": PROMPT}, {"prompt": f"{PROMPT} at night"}).json()
    first, second = group["generation_ids"]
    for one in (first, second):
        until(http, one, "completed")
    http.post(f"{URL}/comparison/{group['group_id']}/winner", json={"generation_id": first})
    http.delete(f"{URL}/{first}")
    left = http.get(f"{URL}/comparison/{group['group_id']}").json()
    assert (left["winner_generation_id"], [row["id"] for row in left["generations"]]) == (None, [second])
    http.delete(f"{URL}/{second}")
    assert http.get(f"{URL}/comparison/{group['group_id']}").status_code == 404


def test_ten_variations_are_compared_at_once(idle):
    asked = parallel(idle, "settings", *({"coherence_settings": {"seed_value": number}} for number in range(10)))
    assert asked.status_code == 202, asked.text
    shown = idle.get(f"{URL}/comparison/{asked.json()['group_id']}").json()
    assert [row["seed_value"] for row in shown["generations"]] == list(range(10))


@pytest.mark.parametrize(
    ("kind", "variations"),
    [
        ("settings", [{"coherence_settings": {}}]),
        ("settings", [{"coherence_settings": {"seed_value": n}} for n in range(11)]),
        ("settings", [{"coherence_settings": {}}, {"coherence_settings": {}}]),
        ("settings", [{}, {"coherence_settings": {}}]),
        ("prompt", [{}, {}]),
        ("settings", [{"coherence_settings": {}}, {"prompt": PROMPT}]),
        ("prompt", [{"prompt": PROMPT}, {"coherence_settings": {}}]),
        ("prompt", [{"prompt": PROMPT}, {"prompt": " "}]),
    ],
)
def test_a_comparison_that_compares_nothing_is_refused_whole(idle, kind, variations):
    before = idle.get(URL).json()["total"]
    answer = parallel(idle, kind, *variations)
    assert answer.status_code == 422, answer.text
    assert idle.get(URL).json()["total"] == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [("settings", {"coherence_settings": {"use_ip_adapter": False}}), ("prompt", {"prompt": "x" * 20})],
)
def test_a_variation_without_a_field_is_the_base_to_compare_with(idle, kind, change):
    asked = parallel(idle, kind, {}, change)
    assert asked.status_code == 202, asked.text
    base, other = idle.get(f"{URL}/comparison/{asked.json()['group_id']}").json()["generations"]
    assert (base["prompt"], base["coherence_settings"]["use_ip_adapter"]) == (PROMPT, True)
    assert base["seed_value"] == other["seed_value"] < 2**53
    assert (base["prompt"], base["coherence_settings"]) != (other["prompt"], other["coherence_settings"])


@pytest.mark.parametrize(
    ("kind", "variations", "param"),
    [
        ("settings", [{}, {"prompt": "another prompt for it"}], "variations.1.prompt"),
        ("prompt", [{"coherence_settings": {}}, {"prompt": PROMPT}], "variations.0.coherence_settings"),
    ],
)
def test_a_variation_in_what_is_not_compared_is_named(idle, kind, variations, param):
    answer = parallel(idle, kind, *variations)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


def test_a_comparison_of_settings_takes_the_references_that_they_are_about(http):
    files = [("reference_images", ("style-gold.png", png(1).data, "image/png"))]
    body = {
        "base_prompt": PROMPT,
        "duration": "9",
        "num_scenes": "2",
        "use_llm": "false",
        "comparison_type": "settings",
    }
    body["variations"] = '[{}, {"coherence_settings": {"use_ip_adapter": false}}]'
    asked = http.post(f"{URL}/generate/parallel", data=body, files=files)
    assert asked.status_code == 202, asked.text
    for one in asked.json()["generation_ids"]:
        made = until(http, one, "completed")
        assert [(each["role"], each["filename"]) for each in made["references"]] == [("style", "style-gold.png")]


def test_a_comparison_ordered_twice_under_one_key_is_one_group(idle):
    body = {
        "base_prompt": PROMPT,
        "comparison_type": "prompt",
        "variations": [{"prompt": PROMPT}, {"prompt": PROMPT * 2}],
    }
    answers = [idle.post(f"{URL}/generate/parallel", json=body, headers={"Idempotency-Key": "pair"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotency-Replayed"] == "true"


# --- the rest ---


def test_a_list_shows_all_recipes_newest_first(idle, waiting):
    newest = idle.post("/api/v1/generations", json={"recipe": "express", "brief": AD}).json()["id"]
    page = idle.get(URL, params={"limit": 1}).json()
    assert ([row["id"] for row in page["items"]], page["has_more"]) == ([newest], True)


def test_an_order_is_cancelled_and_deleted(idle):
    made = idle.post(f"{URL}/generate", json=AD).json()["generation_id"]
    cancelled = idle.post(f"{URL}/{made}/cancel").json()
    assert (cancelled["status"], cancelled["cancellation_requested"]) == ("cancelled", True)
    assert idle.get(f"{URL}/{made}/status").json()["cancellation_requested"] is True
    resumed = idle.post(f"/api/v1/generations/{made}/resume").json()
    assert (resumed["status"], resumed["cancellation_requested"]) == ("pending", False)
    assert idle.delete(f"{URL}/{made}").json() == {"id": made, "deleted": True}
    assert idle.get(f"{URL}/{made}/status").status_code == 404
