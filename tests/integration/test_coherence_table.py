"""Two stories of the coherence table with its controls: the real sweep, on the sketch family, by its command."""

import json
import re
import sys

import pytest

from benchmarks.coherence import outcomes
from benchmarks.coherence.plan import plan_sha256, suite
from configs.settings import library_root, load_model
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.lab.outcomes import TakenRun
from pipelines.lab.runs import read_runs
from pipelines.store.artifacts import LocalArtifacts
from quality.cross_scene import SceneLook, style_similarity
from quality.stream import Shot
from serving.profile_models import LibraryLoader
from tests.support.command import REPOSITORY, environment
from tests.support.program import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a table of one knob, made once."""
    out = tmp_path_factory.mktemp("table") / "out"
    part = ("--knobs", "adapter_blocks", "--stories", "2", "--jobs", "1")
    command = [sys.executable, "-m", "benchmarks.coherence", "--out", out, *part]
    ended = run(command, 600, cwd=REPOSITORY, env={**environment(), "PYTHONPATH": str(REPOSITORY)})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def results(made):
    return json.loads((made / "coherence.json").read_text())


def test_every_arm_stands_beside_the_base(results):
    knob = results["knobs"]["adapter_blocks"]
    assert list(knob["arms"]) == ["adapter_blocks style", "adapter_blocks layout"]
    assert results["plan_sha256"] == plan_sha256()
    assert results["failed"] == 0
    place = results["outcomes"].index
    primary, judged = place("sketch.product_similarity"), place("judge.product")
    for rows in knob["arms"].values():
        mean, difference, low, _, pairs, word = rows[primary]
        assert (low, pairs, word) == (None, 2, "null")
        assert mean == pytest.approx(knob["base"][primary] + difference, abs=2e-3)
        assert 0 <= rows[judged][0] <= 1


def test_what_each_outcome_was_measured_by_is_told_or_why_it_was_not(results):
    assert results["measured_by"]["sketch.style_similarity"] == "sketch.style_similarity@1, toy"
    assert results["not_measured"]["flow_dynamics"] == "no knob that was asked for stops at the clips"
    observed = "imagenet.style_similarity"
    assert (observed in results["measured_by"]) != (observed in results["not_measured"])


def test_the_base_made_anew_is_the_same_to_the_bit(results):
    control = next(one for one in results["controls"] if one["name"] == "base again")
    assert control["passed"]
    assert control["found"].startswith("8 of 8 takes bit-equal")


def test_controls_come_out_as_they_must(results):
    found = {one["name"]: one for one in results["controls"]}
    assert set(found) == {"base again", "frozen", "shuffled", "wrong product"}
    assert all(one["passed"] for one in found.values()), found
    assert found["wrong product"]["found"].startswith("2 of 2 stories thrown out, 2 of the base's 2 kept")


def test_style_is_the_dimension_of_the_product_over_the_scenes_that_reach_the_gate(made):
    runs, (story, _) = read_runs(made / "first-stills"), suite("first", 2).stories
    base = next(run for run in runs if run.arm == "base" and run.story == story.id)
    taken = TakenRun("base", story, 1, base.takes, LocalArtifacts(made / "first-stills" / "artifacts").read)
    looks = [
        SceneLook(number, alignment, (picture,))
        for number, (picture, alignment) in enumerate(
            zip(outcomes.shown(taken), outcomes.alignments(taken, outcomes.shown(taken)), strict=True), 1
        )
    ]
    observer = LibraryLoader(Library(library_root()), "cpu").scorer(load_model("sketch-observer", ScorerModelSpec))
    own = style_similarity(looks, outcomes.GATE, Shot(medium="scenes", backbones={"dinov2_base": observer}))
    mean, worst = base.scores["sketch.style_similarity"], base.scores["sketch.style_similarity.worst"]
    assert mean.value is not None and worst.value is not None and own.note is not None
    assert mean.value == pytest.approx(own.raw, abs=1e-6)
    assert own.note.startswith(f"worst {worst.value:.4f}")
    assert worst.value < mean.value < 1


def test_the_page_of_the_sweep_and_the_table_are_written(made):
    page = (made / "first-stills" / "report.html").read_text()
    assert "adapter_blocks style" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert "| style | − |" in (made / "coherence.md").read_text()
