from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.brief import Brief, BriefReference
from pipelines.coherence import CoherenceSettings, plan_coherence
from pipelines.errors import NotFound, StorageFailed
from pipelines.media import encode_clip, encode_jpeg, encode_png
from pipelines.recipe import Recipe
from pipelines.records import Event, Take
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
from quality.score import Score

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


def test_the_page_needs_nothing_from_outside_and_runs_no_script(artifacts):
    page = Page(render_page(make_record(artifacts), artifacts))
    assert page.links and all(link.startswith("data:") for link in page.links)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object"} and {"video", "img"} <= names


def test_text_of_users_and_agents_is_shown_and_never_run(artifacts):
    html = render_page(make_record(artifacts, HOSTILE, notes=(HOSTILE,)), artifacts)
    page = Page(html)
    assert "<script" not in html and "onerror=alert(1)>" not in html
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
