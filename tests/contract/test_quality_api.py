"""Quality over HTTP: an order names minimums and a budget, retakes are events, and scores are real numbers or reasons.

Pictures and clips are drawn at once; they are scored by the embedded CLIP model and the shipped formulas.
"""

import hashlib
import re

import numpy as np
import pytest

from configs.settings import load_model
from models.interfaces import VideoResult
from models.registry import load
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.media import encode_clip
from quality.score import KEPT_PARTS
from tests.support.ad_server import BRIEF, SpeakingServer, SpeakingStudios, frames, until
from tests.support.gateway_server import Drawer, Studio

URL = "/api/v1/generations"
MEASURED = {
    "temporal_flickering", "flow_smoothness", "flow_dynamics", "clip_consistency", "text_alignment",
    "keyframe_alignment",
}  # fmt: skip
COMPARED = {
    "product_similarity", "style_similarity", "boundary_similarity", "gap_decay", "brief_similarity",
    "ad.first_product",
}  # fmt: skip
"""Of the scenes together, and of the product in the video: without a dense network and a reference none has a value."""


class Flickerer(Drawer):
    """Clips that flicker by an amount which follows from the seed: 0 to 127 of 255."""

    def generate(self, request, watcher):
        made = super().generate(request, watcher)
        if isinstance(made, VideoResult):
            made.frames[...] = 60
            made.frames[1::2] += np.uint8(hashlib.sha256(str(request.noise.seed).encode()).digest()[0] // 2)
        return made


class Studios(SpeakingStudios):
    def __init__(self, encoder):
        super().__init__(Studio())
        self._encoder = encoder

    def video(self, spec):
        return Flickerer(self._studio)

    def scorer(self, spec):
        return self._encoder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    scorer = load_model("sketch-clip", ScorerModelSpec)
    encoder = load(scorer, Library(tmp_path_factory.mktemp("models")).folders(scorer), "cpu")
    with SpeakingServer(
        tmp_path_factory.mktemp("quality"), loader=Studios(encoder), scorers={"clip": scorer}
    ) as server:
        yield server


def finished(http, **quality):
    order = {"recipe": "express", "brief": BRIEF, "use_llm": False, "quality": quality}
    answer = http.post(URL, json=order)
    assert answer.status_code == 202, answer.text
    return until(http, answer.json()["id"], "completed")


@pytest.fixture(scope="module")
def gated(http):
    """No clip is steady enough: every scene uses its whole budget."""
    return finished(http, minimums={"temporal_flickering": 1.0}, retakes=2)


def verdicts(http, generation, scene_number):
    log = http.get(f"{URL}/{generation['id']}/events").json()["items"]
    return [
        event
        for event in log
        if event["data"].get("notice") == "quality_gate" and event["scene_number"] == scene_number
    ]


def test_the_order_says_what_is_measured_and_what_must_be_reached(gated):
    assert gated["quality_gate"] == {"minimums": {"temporal_flickering": 1.0}, "retakes": 2}
    assert set(gated["quality_dimensions"]) == MEASURED | COMPARED


def test_every_scene_keeps_its_best_take_and_every_judgement_is_an_event(http, gated):
    takes = http.get(f"{URL}/{gated['id']}/takes").json()["items"]
    for number in (1, 2):
        told = verdicts(http, gated, number)
        assert [event["data"]["decision"] for event in told] == ["retake"] * 2 + ["budget_spent", "best_take"]
        scores = {
            event["data"]["artifact"]: event["data"]["scores"]["temporal_flickering"]
            for event in told
            if "scores" in event["data"]
        }
        own = [take for take in takes if (take["kind"], take["scene_number"]) == ("clip", number)]
        assert len(own) == 3
        (current,) = (take for take in own if take["current"])
        assert scores[current["artifact"]] == max(scores.values())
        assert [take["provenance"].get("retake", 0) for take in own] == [0, 1, 2]


def test_judgements_are_in_the_event_stream_too(http, gated):
    with http.stream("GET", f"{URL}/{gated['id']}/events", headers={"accept": "text/event-stream"}) as answer:
        notices = [frame["data"] for frame in frames(answer) if frame["event"] == "notice"]
    assert sum('"quality_gate"' in notice for notice in notices) == 8


def test_the_report_has_real_numbers_and_says_what_they_are(http, gated):
    report = http.get(f"/api/generations/{gated['id']}/quality").json()
    metrics = report["metrics"]
    assert {name for name, value in metrics.items() if value is not None} == MEASURED - {"flow_dynamics"} | {
        "image_quality_score", "video_quality_score",
    }  # fmt: skip
    assert "no motion can be seen" in report["reasons"]["flow_dynamics"], "a line on one colour has nothing to follow"
    parts = [_mean(report, name) for name in ("temporal_flickering", "flow_smoothness", "clip_consistency")]
    assert metrics["video_quality_score"] == pytest.approx(100 * sum(parts) / 3, abs=0.01)
    assert metrics["image_quality_score"] == pytest.approx(
        100 * max(0.0, _mean(report, "keyframe_alignment")), abs=0.01
    )
    assert report["fidelity"]["image_quality_score"] == "toy"
    learned = [score for score in report["scores"] if score["metric_id"] == "toy.clip_consistency"]
    assert {(score["backbone"], len(score["weights_sha256"])) for score in learned} == {("sketch-clip", 64)}
    assert {row["model_name"] for row in report["quality_metrics"]} == {None, "sketch-clip"}


def test_the_contracts_metrics_and_the_summaries_are_rows_like_the_others(http, gated):
    report = http.get(f"/api/generations/{gated['id']}/quality").json()
    rows = {(row["metric_name"], row["scene_number"]): row for row in report["quality_metrics"]}
    for name in ("image_quality", "temporal_consistency"):
        assert all(0 <= rows[name, scene]["metric_value"] <= 100 for scene in (1, 2))
    for name in ("image_quality_score", "video_quality_score"):
        assert rows[name, None]["metric_value"] == report["metrics"][name]
        assert report["formulas"][name]
    mean = sum(rows["image_quality", scene]["metric_value"] for scene in (1, 2)) / 2
    assert mean == pytest.approx(report["metrics"]["image_quality_score"], abs=0.02)
    assert rows["image_quality", 1]["model_name"] == "sketch-clip"
    assert rows["temporal_consistency", 1]["model_name"] is None


def test_scores_of_clips_have_their_curve_and_the_page_shows_it_with_the_place_in_the_video(http, gated):
    report = http.get(f"/api/generations/{gated['id']}/quality").json()
    flicker = [score for score in report["scores"] if score["metric_id"] == "vbench.temporal_flickering"]
    curves = {score["scene_number"]: score["series"] for score in flicker}
    assert all(
        np.mean(curves[scene]["values"]) == pytest.approx(_of(flicker, scene)["raw"], rel=1e-4) for scene in (1, 2)
    )
    assert curves[1]["seconds"] == sorted(curves[1]["seconds"]) and len(curves[None]["values"]) <= KEPT_PARTS
    page = http.get(f"{URL}/{gated['id']}/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert page.text.count("<svg") >= 3 and re.search(r'<button type="button" data-at="[\d.]+">lowest', page.text)


def _of(scores, scene):
    return next(score for score in scores if score["scene_number"] == scene)


def _mean(report, name):
    values = [
        row["metric_value"] for row in report["quality_metrics"] if row["metric_name"] == name and row["scene_number"]
    ]
    return sum(values) / len(values)


def test_similarity_is_reported_with_alignment_beside_it(http):
    made = finished(http, dimensions=["clip_consistency"])
    metrics = http.get(f"/api/generations/{made['id']}/quality").json()["metrics"]
    assert metrics["clip_consistency"] is not None
    assert metrics["text_alignment"] is not None


def test_an_order_has_several_stills_drawn_and_the_best_one_is_current(http):
    candidates = {"n": 3, "rank": {"text_alignment": 1}}
    made = finished(http, minimums={}, candidates=candidates)
    assert made["candidates"] == candidates
    takes = http.get(f"{URL}/{made['id']}/takes").json()["items"]
    stills = [take for take in takes if (take["scene_number"], take["kind"]) == (1, "keyframe")]
    assert len(stills) == 3
    assert sum(take["current"] for take in stills) == 1


def test_minimums_by_model_are_told_as_they_were_asked_for(http):
    minimums = {"keyframe_alignment": {"clip-vit-l-14": 0.2}}
    assert finished(http, minimums=minimums)["quality_gate"]["minimums"] == minimums


def test_an_empty_list_measures_nothing_and_says_so(http):
    made = finished(http, dimensions=[], minimums={})
    report = http.get(f"/api/generations/{made['id']}/quality").json()
    assert report["quality_metrics"] == []
    assert "does not name it" in report["reasons"]["video_quality_score"]


@pytest.mark.parametrize(
    ("quality", "named"),
    [
        ({"minimums": {"beauty": 0.5}}, "beauty"),
        ({"minimums": {"motion_smoothness": 0.5}}, "motion_smoothness"),
        ({"minimums": {"text_alignment": 1e9}}, "minimums"),
        ({"minimums": {"dover.fused": 0.5}}, "quality.minimums.dover.fused"),
        ({"minimums": {"text_alignment": {"sketch-clip": "much"}}}, "minimums.text_alignment"),
        ({"candidates": {"n": 4}}, "quality.candidates"),
        ({"candidates": {"n": 2, "rank": {"flow_smoothness": 1}}}, "quality.candidates.rank.flow_smoothness"),
        ({"candidates": {"n": 9, "rank": {"text_alignment": 1}}}, "candidates.n"),
        ({"retakes": 6}, "retakes"),
        ({"retakes": -1}, "retakes"),
        ({"minimum": {}}, "minimum"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(http, quality, named):
    before = http.get(URL).json()["total"]
    answer = http.post(URL, json={"recipe": "express", "brief": BRIEF, "quality": quality})
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["error"]["message"]
    assert http.get(URL).json()["total"] == before


def test_a_video_is_aligned_with_the_prompt_that_comes_with_it(http):
    clip = encode_clip(np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8), 8)
    fields = {"dimensions": "text_alignment,clip_consistency"}
    for prompt, missing in (({"prompt": "a red bottle"}, 0), ({}, 1)):
        answer = http.post("/v1/scores", data={**fields, **prompt}, files={"file": ("c.mp4", clip)})
        assert answer.status_code == 200, answer.text
        assert sum(score["raw"] is None for score in answer.json()["data"]) == missing
