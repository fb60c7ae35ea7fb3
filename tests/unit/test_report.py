from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.brief import Brief, BriefReference
from pipelines.coherence import CoherenceSettings, plan_coherence
from pipelines.errors import NotFound, StorageFailed
from pipelines.media import encode_clip, encode_jpeg, encode_png
from pipelines.recipe import Recipe, Transitions
from pipelines.records import Event, Take
from pipelines.report.curves import score_groups
from pipelines.report.folder import render_page, take_files, write_report
from pipelines.report.record import RunRecord, step_timings
from pipelines.screenplay import (
    Beat,
    Cohesion,
    Entity,
    FinalVideo,
    PairAnalysis,
    Scene,
    SceneDraft,
    ScenesResult,
    Story,
    StoryResult,
    StoryRound,
)
from pipelines.steps import Message
from pipelines.store.artifacts import LocalArtifacts
from pipelines.timeline import blend_plan, plan_timeline
from quality.score import KEPT_PARTS, Score, Series, thinned

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = "<script>alert('ad')</script><img src=x onerror=alert(1)> a steel bottle"


@pytest.fixture
def artifacts(tmp_path):
    return LocalArtifacts(tmp_path / "artifacts")


def picture(level):
    return np.full((64, 48, 3), level, np.uint8)


def scene(number, text):
    draft = SceneDraft(setting=text, action="it stands", camera="push_in", entities=("product",))
    return Scene(
        scene_number=number, purpose="Attention", frames=108, draft=draft, image_prompt=text, video_prompt=text,
        content=text, iterations=1, approved=True, critique=None,
    )  # fmt: skip


def take(identity, kind, number, artifact, minute, current=True):
    return Take(
        id=identity, kind=kind, scene_number=number, artifact=artifact, provenance={"noise_sha256": "ab" * 32},
        step="storyboard", current=current, created_at=NOON + timedelta(minutes=minute),
    )  # fmt: skip


def make_record(artifacts, prompt="an ad for a steel water bottle", **changes):
    old, new, other = (artifacts.put(encode_png(picture(level)), "image/png").sha256 for level in (10, 100, 200))
    clip = artifacts.put(encode_clip(np.stack([picture(1), picture(2)]), 8), "video/mp4").sha256
    cover = artifacts.put(encode_jpeg(picture(3)), "image/jpeg").sha256
    story = Story(title="Cold all day", beats=(Beat(purpose="Attention", setting="s", event="e"),), call_to_action="Go")
    product = Entity(handle="product", role="product", name="bottle", description=prompt)
    pair = PairAnalysis(from_scene=1, to_scene=2, transition_score=88, issues=(), recommendations=())
    cohesion = Cohesion(
        overall_cohesion_score=88, pair_wise_analysis=(pair,), global_issues=(), scene_specific_feedback={},
        consistency_issues=(), overall_recommendations=(),
    )  # fmt: skip
    fields = {
        "generation_id": "g-1",
        "status": "completed",
        "brief": Brief(
            prompt=prompt,
            duration=9,
            seed=0,
            references=(BriefReference(artifact=other, role="product", filename="bottle.png"),),
        ),
        "recipe": Recipe(name="express", description="", stages=("story",)),
        "fps": 24,
        "story": StoryResult(
            story=story,
            entities=(product,),
            rounds=(StoryRound(iteration=1, draft=story, critique=None),),
            chosen_iteration=1,
            approved=True,
            text=prompt,
        ),
        "scenes": ScenesResult(scenes=(scene(1, prompt), scene(2, prompt)), cohesion=cohesion, cohesion_rounds=1),
        "transitions": ("crossfade",),
        "plans": plan_coherence(CoherenceSettings(), 7, (1, 2), True),
        "takes": (
            take("t-new", "keyframe", 1, new, 2),
            take("t-old", "keyframe", 1, old, 1, current=False),
            take("t-clip", "clip", 1, clip, 3),
            take("t-reference", "reference", None, other, 0),
            take("t-video", "video", None, clip, 4),
        ),
        "messages": (Message(role="director", iteration=1, content=prompt, score=91.0, timestamp=NOON),),
        "scores": (
            Score(metric_id="vbench.temporal_flickering", impl_id="f@1", fidelity="equal", raw=0.98765),
            Score(metric_id="vbench.color", impl_id="color@none", reason="needs weights that are not installed"),
        ),
        "timings": step_timings(events()),
        "final": FinalVideo(artifact=clip, thumbnail=cover, frames=216, fps=24, width=48, height=64, seconds=9.0),
        "manifest": {"models": {"image": {"name": "sketch", "revision": "0.1.0"}}},
        "notes": ("The sketch models are small and untrained: expect shapes, not a photograph.",),
    }
    return RunRecord.model_validate({**fields, **changes})


def events():
    def event(seq, kind, step, seconds=None):
        data = {} if seconds is None else {"seconds": seconds}
        return Event(
            kind=kind, message="m", step=step, seq=seq, data=data, created_at=NOON + timedelta(seconds=10 * seq)
        )

    return (
        event(1, "generation_started", None),
        event(2, "step_started", "story/round-1"),
        event(3, "step_completed", "storyboard/scene-001", 1.5),
        event(4, "step_completed", "story/round-1", 30.0),
        event(5, "step_reused", None).model_copy(update={"data": {"steps": ["story/round-1"]}}),
    )


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href", "poster")]

    def handle_data(self, data):
        self.texts.append(data)


def test_timings_are_ordered_by_start_and_say_what_a_resume_kept():
    timings = step_timings(events())
    assert [(timing.name, timing.seconds, timing.reused) for timing in timings] == [
        ("story/round-1", 30.0, True),
        ("storyboard/scene-001", 1.5, False),
    ]
    assert timings[0].started == NOON + timedelta(seconds=10)


def test_the_folder_holds_the_video_the_report_the_record_and_every_take(artifacts, tmp_path):
    folder = tmp_path / "out"
    write_report(folder, make_record(artifacts), artifacts)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "final.mp4",
        "references/reference-1.json",
        "references/reference-1.png",
        "report.html",
        "run.json",
        "scenes/scene-001/clip-1.json",
        "scenes/scene-001/clip-1.mp4",
        "scenes/scene-001/keyframe-1.json",
        "scenes/scene-001/keyframe-1.png",
        "scenes/scene-001/keyframe-2.json",
        "scenes/scene-001/keyframe-2.png",
        "thumbnail.jpg",
    ]
    first = json.loads((folder / "scenes/scene-001/keyframe-1.json").read_text())
    assert (first["id"], first["current"]) == ("t-old", False)


def test_the_record_file_reads_back_as_the_record(artifacts, tmp_path):
    record = make_record(artifacts)
    write_report(tmp_path, record, artifacts)
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored.pop("files") == {take.id: path for path, take in take_files(record.takes)}
    assert RunRecord.model_validate(stored) == record


def test_writing_again_gives_the_same_files(artifacts, tmp_path):
    def contents():
        write_report(tmp_path / "out", make_record(artifacts), artifacts)
        return {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    assert contents() == contents()


def test_the_page_needs_nothing_from_outside_and_may_run_its_own_script_only(artifacts):
    html = render_page(make_record(artifacts), artifacts)
    page = Page(html)
    assert page.links and all(link.startswith("data:") for link in page.links)
    names = [name for name, _ in page.tags]
    assert not {"link", "iframe", "object"} & set(names) and {"video", "img"} <= set(names)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert names.count("script") == 1
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [each["content"] for name, each in page.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{allowed}'" in policy and policy.startswith("default-src 'none'")


def test_text_of_users_and_agents_is_shown_and_never_run(artifacts):
    html = render_page(make_record(artifacts, HOSTILE, notes=(HOSTILE,)), artifacts)
    page = Page(html)
    assert html.count("<script") == 1 and "onerror=alert(1)>" not in html
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert sum(HOSTILE in text for text in page.texts) >= 6


def test_the_page_says_what_there_is_to_know(artifacts):
    text = " ".join(" ".join(Page(render_page(make_record(artifacts), artifacts)).texts).split())
    plan = plan_coherence(CoherenceSettings(), 7, (1, 2), True)[0]
    for words in (
        "The sketch models are small and untrained",
        "1 · Attention",
        "4.5 s",
        "push in",
        "then crossfade (88 of 100)",
        f"seed {plan.keyframe_noise.seed}",
        "director",
        "91",
        "0.9877",
        "vbench.color",
        "not available: needs weights that are not installed",
        "(kept at resume)",
        "30.0 s",
        "abababababab",
        "revision",
    ):
        assert words in text, words


# --- scores ---


def measured(name, number, raw=None, series=None, **fields):
    reason = None if raw is not None else "no motion can be seen"
    fidelity = None if raw is None else "classical"
    known = {"metric_id": f"admint.{name}", "impl_id": f"{name}@1", "scene_number": number, "fidelity": fidelity}
    return Score(**known, raw=raw, reason=reason, series=series, **fields)


def falling(*values, fps=8):
    return Series(values=values, seconds=tuple(number / fps for number in range(len(values))))


def edit(*clips, fps=24):
    """What a video of clips says of its making: (frames of the slot, head, tail, native frames) of each, at 8 fps."""
    names = ("frames", "head", "tail")
    return {
        "timeline": {"fps": fps, "segments": [dict(zip(names, clip, strict=False)) for clip in clips]},
        "clips": [
            {"scene_number": number, "num_frames": native, "native_fps": 8}
            for number, (*_, native) in enumerate(clips, start=1)
        ],
    }


def moments_of(group):
    curve = group.rows[0].curve
    assert curve is not None
    return curve.moments


def film(provenance):
    return Take(
        id="v", kind="video", scene_number=None, artifact="0" * 64, provenance=provenance, step="stitch/final",
        current=True, created_at=NOON,
    )  # fmt: skip


def test_a_similarity_is_never_shown_without_alignment_and_dynamics_beside_it():
    scores = (
        measured("subject_consistency", 1, 0.99),
        measured("text_alignment", 1, 0.21),
        measured("flow_dynamics", 1),
        measured("subject_consistency", 2, 0.98),
    )
    first, second = score_groups(scores, ())
    rows = {row.name: row for row in first.rows}
    assert rows["subject_consistency"].beside == (
        ("text_alignment", "0.2100"), ("flow_dynamics", "not available: no motion can be seen"),
    )  # fmt: skip
    assert rows["text_alignment"].beside == ()
    assert second.rows[0].beside == (("text_alignment", "not measured"), ("flow_dynamics", "not measured"))


def test_a_moment_of_a_clip_is_found_in_the_finished_video():
    """The second scene begins at frame 48, its clip 6 frames before that; 9 frames at 8 fps become 54 at 24."""
    scores = [
        measured("technical", number, 0.5, falling(0.9, 0.8, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0)) for number in (1, 2)
    ]
    made = film(edit((48, 0, 6, 9), (48, 6, 0, 9)))
    for group, begin in zip(score_groups(scores, [made]), (0, 42), strict=True):
        lowest, highest = moments_of(group)
        assert lowest.second == lowest.at == pytest.approx((begin + 2 * 53 / 8 + 0.5) / 24, abs=1e-3)
        assert highest.at == pytest.approx((begin + 53 + 0.5) / 24, abs=1e-3)


def test_every_place_is_the_frame_that_the_stitch_shows_there():
    """Against the plan that the frames are blended by: the clip's frame k is seen at its place, alone or not."""
    timeline = plan_timeline((50, 40, 61), ("crossfade", "fade"), Transitions(), 24)
    native = (17, 33, 9)
    provenance = edit(
        *((part.frames, part.head, part.tail, n) for part, n in zip(timeline.segments, native, strict=True))
    )
    shown = list(blend_plan(timeline))
    for number, (segment, count) in enumerate(zip(timeline.segments, native, strict=True), start=1):
        series = falling(*(1.0 - frame / 100 for frame in range(count)))
        (group,) = score_groups([measured("technical", number, 0.5, series)], [film(provenance)])
        lowest, highest = moments_of(group)
        for moment, frame in ((lowest, segment.clip_frames - 1), (highest, 0)):
            layers = shown[int((moment.at or 0.0) * 24)]
            assert (number - 1, frame) in {(layer.segment, layer.frame) for layer in layers}


def test_a_curve_without_a_video_tells_the_seconds_of_the_clip_and_offers_no_click(artifacts):
    series = falling(0.9, 0.1, 0.5)
    record = make_record(artifacts, scores=(measured("technical", 1, 0.5, series),), takes=())
    html = render_page(record, artifacts)
    assert "lowest 0.1 at 0.12 s" in html and "<button" not in html and 'data-from="' not in html
    record = make_record(artifacts, scores=(measured("technical", 1, 0.5, series),), takes=(film(edit((24, 0, 0, 3))),))
    assert 'data-at="0.5' in render_page(record, artifacts)


def test_scores_of_an_older_generation_without_series_are_shown_without_curves(artifacts):
    old = make_record(artifacts, scores=(measured("technical", 1, 0.5), measured("flow_smoothness", None, 0.9)))
    html = render_page(old, artifacts)
    assert "<svg" not in html and "0.5000" in html and "The whole video" in html


@pytest.mark.parametrize("values", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_a_series_with_nothing_to_see_breaks_no_page(artifacts, values):
    html = render_page(make_record(artifacts, scores=(measured("technical", 1, 0.5, falling(*values)),)), artifacts)
    assert ("the same throughout" in html) == (len(values) > 1)


def test_a_long_series_is_stored_with_its_ends_and_its_worst_moments():
    values = [0.9] * 3000
    values[1234] = 0.1
    kept = thinned(falling(*values, 0.7123456789))
    assert len(kept.values) == len(kept.seconds) == KEPT_PARTS
    assert (kept.values[0], kept.values[-1], min(kept.values)) == (0.9, 0.712346, 0.1)
    assert kept.seconds[kept.values.index(0.1)] == 1234 / 8
    assert list(kept.seconds) == sorted(kept.seconds)
    short = falling(0.5, 0.25)
    assert thinned(short) == short


def test_a_run_that_stopped_early_still_has_a_report(artifacts, tmp_path):
    nothing = {"story": None, "scenes": None, "final": None}
    empty = {name: () for name in ("transitions", "plans", "takes", "messages", "scores", "timings", "notes")}
    record = make_record(artifacts, **nothing, **empty, status="failed")
    write_report(tmp_path / "out", record, artifacts)
    assert "made no video" in (tmp_path / "out/report.html").read_text()
    assert not (tmp_path / "out/final.mp4").exists()


def test_a_full_disk_leaves_no_half_written_file_and_one_line(artifacts, tmp_path, monkeypatch):
    record = make_record(artifacts)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFailed, match="no space left") as caught:
        write_report(tmp_path / "out", record, artifacts)
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_an_artifact_that_is_gone_stops_before_the_report_appears(artifacts, tmp_path):
    record = make_record(artifacts)
    artifacts.path(record.final.thumbnail).unlink()
    with pytest.raises(NotFound):
        write_report(tmp_path / "out", record, artifacts)
    assert not (tmp_path / "out/report.html").exists()
