"""`admint sweep`: what is made once, shared, resumed, refused before the first run, and how a run becomes a row."""

import csv
import gc
import os
import shutil
import signal
from multiprocessing import get_context

import pytest
import yaml

from models.errors import InferenceFailed
from pipelines.errors import BadInput
from pipelines.lab.outcomes import ExtraOutcome
from pipelines.lab.runs import MixedImplementations, RunScore, read_runs, write_run
from pipelines.store.fault_points import VARIABLE
from quality.registry import DIMENSIONS
from quality.score import NoValue
from serving.cli.sweep import estimate_lines, sweep
from serving.lab.sweep import estimate_sweep, run_sweep
from tests.support.drawn_sweeps import OUTCOMES, DrawingLoader, LoggingDrawing, small_spec, small_suite
from tests.support.waiting import PATIENCE_SECONDS

SUITE = small_suite()
STEPS = {"storyboard", "quality"}


@pytest.fixture
def loader(tmp_path):
    return DrawingLoader(tmp_path / "drawn.log")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished sweep of 2 stories x 3 arms: its folder, its table, and what was drawn for it."""
    out = tmp_path_factory.mktemp("sweep")
    loader = DrawingLoader(out.parent / "made.log")
    runs = run_sweep(small_spec(), out, suite=SUITE, loader=loader)
    return out, runs, loader


def table_of(out):
    return list(csv.DictReader((out / "runs.csv").read_text().splitlines()))


def scores(runs):
    return [(run.arm, run.story, run.seed, run.takes, run.scores) for run in runs]


def test_a_run_is_a_row_with_what_was_set_made_and_measured(made):
    out, runs, _ = made
    assert len(runs) == 6 and runs.missing == 0 and runs.arms == ("base", "derived", "few")
    assert {(run.story, run.seed) for run in runs} == {("story-1", 1), ("story-2", 1)}
    base, derived, few = runs[:3]
    gate: dict[str, object] = {"quality_gate.minimums": {}}
    assert base.settings == {**gate, "coherence.seed_policy": "blend", "image.num_inference_steps": 12}
    assert derived.settings["coherence.seed_policy"] == "derived" and few.settings["image.num_inference_steps"] == 3
    assert set(base.takes) == {"scene-1/keyframe", "scene-2/keyframe"} and base.failed is None
    assert set(base.seconds) == STEPS and base.peak_memory_mb > 50 and len(base.fingerprint) == 64
    mean, worst = base.scores["technical.exposure"], base.scores["technical.exposure.worst"]
    assert (mean.impl_id, mean.label, mean.weights, mean.reason) == ("exposure@1", "classical", None, None)
    assert worst.value <= mean.value
    assert read_runs(out)[0] == base
    row, table = table_of(out)[0], out / "runs.parquet"
    assert row["arm"] == "base" and float(row["technical.exposure [exposure@1]"]) == mean.value
    assert row["technical.exposure [exposure@1].label"] == "classical" and table.stat().st_size > 1000


def test_the_table_as_parquet_has_the_same_columns(made):
    import pyarrow.parquet as pq

    out, runs, _ = made
    table = pq.read_table(out / "runs.parquet")
    assert table.column("arm").to_pylist() == [run.arm for run in runs]
    assert table.column_names == list(table_of(out)[0])


def test_a_keyframe_that_arms_share_is_drawn_once_and_a_new_arm_costs_its_own_steps(made, tmp_path):
    out, _, loader = made
    assert set(loader.drawn().values()) == {1} and len(loader.drawn()) == 12
    arms = {**small_spec().arms.list, "again": {}, "late": {"coherence.blend_strength": 0.5}}
    folder = tmp_path / "more"
    shutil.copytree(out, folder)
    more = DrawingLoader(tmp_path / "more.log")
    runs = run_sweep(small_spec(arms={"list": arms}), folder, suite=SUITE, loader=more)
    assert len(more.drawn()) == 4, "the late arm's four stills, and nothing for an arm that repeats the base"
    again, base = ([run for run in runs if run.arm == arm] for arm in ("again", "base"))
    assert [run.takes for run in again] == [run.takes for run in base]
    assert [run.scores for run in again] == [run.scores for run in base]


def test_an_outcome_that_is_added_later_is_measured_on_what_was_made_and_draws_nothing(made, tmp_path, loader):
    out, before, _ = made
    folder = tmp_path / "more"
    shutil.copytree(out, folder)
    own = {"judge.takes": ExtraOutcome("judge@1", "classical", brightest)}
    spec = small_spec(outcomes=[*OUTCOMES, "technical.noise"])
    runs = run_sweep(spec, folder, suite=SUITE, extra_outcomes=own, loader=loader)
    assert not loader.drawn()
    assert [run.takes for run in runs] == [run.takes for run in before]
    assert [run.seconds["storyboard"] for run in runs] == [run.seconds["storyboard"] for run in before]
    assert not {run.run_id for run in runs} & {run.run_id for run in before}
    for run, earlier in zip(runs, before, strict=True):
        assert {"technical.noise", "technical.noise.worst", "judge.takes"} == run.scores.keys() - earlier.scores.keys()
        assert {name: run.scores[name] for name in earlier.scores} == earlier.scores
    assert len(read_runs(folder)) == len(before), "rows of the earlier list stay in the folder and out of the table"


def test_a_finished_sweep_makes_nothing_and_a_dry_run_says_so(made, loader):
    out, before, _ = made
    assert scores(run_sweep(small_spec(), out, suite=SUITE, loader=loader)) == scores(before)
    assert not loader.drawn()
    estimate = estimate_sweep(small_spec(), out, suite=SUITE)
    assert (estimate.runs, estimate.finished, estimate.seconds) == (6, 6, 0.0)
    assert estimate_lines(estimate)[-1] == "nothing to do"


def test_a_dry_run_counts_shared_steps_once_and_draws_nothing(made, tmp_path):
    out, _, loader = made
    drawn = loader.drawn()
    arms = {**small_spec().arms.list, "again": {}, "late": {"coherence.blend_strength": 0.5}}
    estimate = estimate_sweep(small_spec(arms={"list": arms}), out, suite=SUITE)
    assert (estimate.runs, estimate.finished) == (10, 6 - 0) and estimate.seconds is not None
    storyboard = estimate.stages["storyboard"]
    assert (storyboard.todo, storyboard.cached) == (4, 4)
    assert loader.drawn() == drawn and "load the models" in estimate_lines(estimate)[-1]
    nothing_known = estimate_sweep(small_spec(), tmp_path / "new", suite=SUITE)
    assert nothing_known.seconds is None and nothing_known.stages["storyboard"].unknown == 12
    assert "is unknown" in estimate_lines(nothing_known)[-1]


def test_until_clips_measures_clips_and_shares_the_stills(tmp_path, loader):
    spec = small_spec(until="clips", arms={"list": {"slow": {"video.num_inference_steps": 3}}},
                      outcomes=["technical.exposure", "temporal_flickering"])  # fmt: skip
    runs = run_sweep(spec, tmp_path / "out", suite=small_suite(1), loader=loader)
    base, slow = runs
    assert set(base.takes) == {f"scene-{n}/{kind}" for n in (1, 2) for kind in ("keyframe", "clip")}
    assert base.takes["scene-1/keyframe"] == slow.takes["scene-1/keyframe"]
    assert base.scores["temporal_flickering"].value == pytest.approx(1.0, abs=0.01)
    assert set(base.seconds) == {"storyboard", "video", "quality"} and len(loader.drawn()) == 6


def test_until_video_ends_with_the_finished_ad(tmp_path, loader):
    spec = small_spec(until="video", arms={}, outcomes=["ad.duration"])
    (run,) = run_sweep(spec, tmp_path / "out", suite=small_suite(1), loader=loader)
    assert run.failed is None and "video" in run.takes
    assert run.scores["ad.duration"].value is not None


def brightest(run):
    """Of one's own: the number of takes; the second story has none."""
    if run.story.id == "story-2":
        raise NoValue("it is too dark")
    return float(len([run.read(sha256) for sha256 in run.takes.values()]))


def test_several_jobs_share_the_runs_and_outcomes_of_ones_own_stand_beside_the_others(made, tmp_path, loader):
    extra = {"judge.takes": ExtraOutcome("judge@1", "classical", brightest)}
    runs = run_sweep(small_spec(), tmp_path / "out", suite=SUITE, extra_outcomes=extra, loader=loader, jobs=2)
    assert runs[0].scores["judge.takes"] == RunScore(value=2.0, impl_id="judge@1", label="classical")
    assert runs[-1].scores["judge.takes"] == RunScore(impl_id="judge@1", reason="it is too dark")
    assert [run.takes for run in runs] == [run.takes for run in made[1]] and set(loader.drawn().values()) == {1}


class FailingLoader(DrawingLoader):
    def image(self, spec):
        return FailingDrawing(self.log)


class FailingDrawing(LoggingDrawing):
    def generate(self, request, watcher):
        if request.num_inference_steps == 3:
            raise InferenceFailed("out of memory")
        return super().generate(request, watcher)


def test_a_run_that_fails_is_a_row_with_its_reason_and_the_others_go_on(tmp_path):
    out = tmp_path / "out"
    loader = FailingLoader(tmp_path / "drawn.log")
    runs = run_sweep(small_spec(), out, suite=SUITE, loader=loader)
    failed = [run for run in runs if run.failed]
    assert [run.arm for run in failed] == ["few", "few"] and len(runs) == 6
    assert "out of memory" in str(failed[0].failed) and failed[0].scores == {}
    assert runs.values("technical.exposure")["few", "story-1", 1] is None
    drawn = loader.drawn()
    run_sweep(small_spec(), out, suite=SUITE, loader=loader)
    assert loader.drawn() == drawn
    (out / "rows" / f"{failed[0].run_id}.json").unlink()
    mended = DrawingLoader(tmp_path / "mended.log")
    again = run_sweep(small_spec(), out, suite=SUITE, loader=mended)
    assert [run.failed is None for run in again] == [True] * 5 + [False] and len(mended.drawn()) == 2


class InterruptedLoader(DrawingLoader):
    def image(self, spec):
        return InterruptedDrawing(self.log)


class InterruptedDrawing(LoggingDrawing):
    """Ctrl-C while the third picture is drawn."""

    def generate(self, request, watcher):
        drawn = super().generate(request, watcher)
        if self.log.exists() and len(self.log.read_text().splitlines()) == 3:
            signal.raise_signal(signal.SIGINT)
        return drawn


@pytest.fixture
def interruptible():
    """Ctrl-C means what it does at a terminal: where the suite runs in the background of a shell, it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_run_that_is_at_work_leaves_nothing_behind_and_the_sweep_goes_on_later(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(small_spec(), tmp_path / "out", suite=SUITE, loader=InterruptedLoader(tmp_path / "drawn.log"))
    gc.collect()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    left = read_runs(tmp_path / "out")
    assert len(left) < 6 and not [run for run in left if run.failed]
    whole = run_sweep(small_spec(), tmp_path / "out", suite=SUITE, loader=DrawingLoader(tmp_path / "drawn.log"))
    assert len(whole) == 6 and not [run for run in whole if run.failed]


# --- refused before the first run ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": {"list": {"a": {"coherence.adapter_size": 1}}}}, ("arm 'a'", "coherence.adapter_size", "_scale")),
        ({"arms": {"list": {"a": {"blur": 1}}}}, ("arm 'a'", "blur", "no such field")),
        ({"arms": {"list": {"a": {"coherence.blend_strength": 1.5}}}}, ("arm 'a'", "coherence.blend_strength", "1.5")),
        ({"base": {"image.num_inference_steps": 0}}, ("base", "image.num_inference_steps", "0")),
        ({"arms": {"grid": {"coherence.blend_strength": []}}}, ("arms.grid.coherence.blend_strength",)),
        ({"arms": {"random": {"samples": 2, "knobs": {"coherence.blend_strength": {"low": 1, "high": 1}}}}},
         ("arms.random.knobs.coherence.blend_strength", "empty")),
        ({"arms": {"latin_hypercube": {"samples": 2, "knobs": {"image.guidance_scale": {"low": 1, "high": 99}}}}},
         ("arms.latin_hypercube", "image.guidance_scale", "30")),
        ({"arms": {"list": {"a": {"coherence.chain": "last_frame"}}}}, ("coherence.chain", "until: stills")),
        ({"arms": {"list": {"a": {"coherence.use_latent_reuse": True}}}}, ("use_latent_reuse", "until: stills")),
        ({"arms": {"list": {"a": {"coherence.adapter_scale": 0.3}}}}, ("adapter_scale", "without references")),
        ({"arms": {"list": {"a": {"transitions.cut_at": 60}}}}, ("arm 'a'", "transitions.cut_at", "change nothing")),
        ({"arms": {"list": {"a": {"stages": ["story"]}}}}, ("stages", "say `until`")),
        ({"arms": {"list": {"a": {"recipe": "grand"}}}}, ("arm 'a'", "'grand'")),
        ({"arms": {"list": {"a": {"model.image": "sketch-paint"}}}}, ("'sketch-paint'",)),
        ({"arms": {"list": {"a": {"model.video": "sketch-video"}}}}, ("model.video", "until: stills")),
        ({"outcomes": ["beauty"]}, ("outcomes.0", "'beauty' is unknown")),
        ({"outcomes": ["temporal_flickering"]}, ("outcomes.0", "until: stills")),
        ({"outcomes": ["musiq.koniq"]}, ("outcomes.0", "cannot measure 'musiq.koniq'")),
        ({"guards": {"text_alignment": -0.02}}, ("guards.text_alignment",)),
        ({"profile": "laptop"}, ("'laptop'",)),
        ({"suite": "none.yaml"}, ("suite",)),
        ({"until": "clips", "outcomes": [], "arms": {}, "start": "text"}, ("sketch-video", "keyframe only", "start")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_path_before_anything_is_made(changes, words, tmp_path):
    with pytest.raises(BadInput) as refused:
        run_sweep(small_spec(**changes), tmp_path / "out", suite=SUITE)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert not (tmp_path / "out" / "rows").exists() and not (tmp_path / "out" / "plan.json").exists()


def test_more_runs_than_allowed_are_refused_with_the_sum(tmp_path):
    with pytest.raises(BadInput, match=r"6 runs .3 arms x 2 stories x 1 seeds. are more than --max-runs 5"):
        run_sweep(small_spec(), tmp_path, suite=SUITE, max_runs=5)


def test_the_command_runs_a_file_and_says_where_the_table_is(tmp_path, capsys, monkeypatch, loader):
    monkeypatch.setattr("serving.backends.in_process.LibraryLoader", lambda *_: loader)
    scenes = [{"prompt": "a red mug on a table"}, {"prompt": "a red mug in the snow"}]
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"stories": [{"id": "mug", "scenes": scenes}]}))
    spec = tmp_path / "sweep.yaml"
    spec.write_text(
        yaml.safe_dump({**small_spec().model_dump(mode="json", exclude_defaults=True), "suite": "suite.yaml"})
    )
    assert sweep(spec, tmp_path / "out", dry_run=True) == 0
    assert "storyboard: 6 steps to do" in capsys.readouterr().out and not loader.drawn()
    assert sweep(spec, tmp_path / "out") == 0
    out, progress = capsys.readouterr()
    assert "3 runs of 3 arms" in out and "3 of 3 runs" in progress
    (tmp_path / "suite.yaml").unlink()
    with pytest.raises(BadInput, match=r"cannot read suite .*suite.yaml"):
        sweep(spec, tmp_path / "out")


def test_values_of_two_implementations_do_not_meet_in_a_column(made, tmp_path):
    out, runs, _ = made
    folder = tmp_path / "copy"
    shutil.copytree(out, folder)
    first = runs[0]
    newer = {**first.scores, "technical.exposure": RunScore(value=0.5, impl_id="exposure@2", label="classical")}
    write_run(folder, first.model_copy(update={"scores": newer}))
    mixed = read_runs(folder)
    with pytest.raises(MixedImplementations, match="exposure@1, exposure@2"):
        mixed.values("technical.exposure")
    assert mixed.values("technical.exposure", "exposure@2")["base", "story-1", 1] == 0.5
    assert mixed.values("technical.exposure", "exposure@1")["base", "story-1", 1] is None


# --- kills, and processes that share a sweep ---

FORKED = get_context("forkserver")
PRELOADED = {dimension.path.partition(":")[0] for dimension in DIMENSIONS.values()}
FORKED.set_forkserver_preload(
    ["serving.lab.sweep", "serving.scores.local", "tests.support.drawn_sweeps", "pyarrow.parquet", *sorted(PRELOADED)]
)
KILLS = 20
"""Half at random, half at a write: each in another part of the sweep, because it goes on where it was."""
LARGE = small_suite(stories=8)


def part_of_a_sweep(out, log, fault=None):
    if fault is not None:
        os.environ[VARIABLE] = fault
    run_sweep(small_spec(), out, suite=LARGE, loader=DrawingLoader(log))


@pytest.fixture
def started(tmp_path):
    """Starts processes that make the sweep in a folder."""
    processes = []

    def start(out, fault=None):
        process = FORKED.Process(target=part_of_a_sweep, args=(out, tmp_path / "drawn.log", fault))
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join(PATIENCE_SECONDS)


def test_a_sweep_that_is_killed_again_and_again_has_the_table_of_one_that_is_not(tmp_path, started):
    """At the n-th time that a file reaches a point of its being written; every time at another one."""
    points = ("before_temp_write", "before_temp_sync", "before_rename", "before_folder_sync", "after_folder_sync")
    out = tmp_path / "killed"
    for kill in range(KILLS):
        process = started(out, f"{points[kill % len(points)]}:{2 + kill % 3}")
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, "the sweep was finished before all kills"
    killed = run_sweep(small_spec(), out, suite=LARGE, loader=DrawingLoader(tmp_path / "end.log"))
    whole = run_sweep(small_spec(), tmp_path / "whole", suite=LARGE, loader=DrawingLoader(tmp_path / "whole.log"))
    assert score_columns(tmp_path / "killed") == score_columns(tmp_path / "whole")
    assert scores(killed) == scores(whole) and len(killed) == 24


def score_columns(out):
    """The columns of the table that must not depend on how it came about, as text."""
    rows = table_of(out)
    own = [name for name in rows[0] if not name.startswith("seconds.") and name != "peak_memory_mb"]
    return [[row[name] for name in own] for row in rows]


def test_two_processes_on_one_sweep_make_every_run_and_every_picture_once(tmp_path, started):
    out = tmp_path / "out"
    first, second = started(out), started(out)
    for process in (first, second):
        process.join(60)
        assert process.exitcode == 0
    assert len(read_runs(out)) == 24 and read_runs(out).missing == 0
    drawn = DrawingLoader(tmp_path / "drawn.log").drawn()
    assert set(drawn.values()) == {1} and len(drawn) == 48


# --- a search ---


def test_optuna_asks_for_arms_by_results_and_finds_its_way_again(tmp_path, loader):
    knobs = {"coherence.blend_strength": {"low": 0.0, "high": 1.0}, "image.num_inference_steps": [3, 4]}
    searched = {"trials": 4, "seed": 3, "knobs": knobs, "objectives": {"technical.exposure": "higher"}}
    spec = small_spec(arms={"optuna": searched})
    runs = run_sweep(spec, tmp_path / "out", suite=small_suite(1), loader=loader)
    assert runs.arms[0] == "base" and 3 <= len(runs.arms) <= 5
    assert all(0 <= run.settings["coherence.blend_strength"] <= 1 for run in runs)
    drawn = loader.drawn()
    assert scores(run_sweep(spec, tmp_path / "out", suite=small_suite(1), loader=loader)) == scores(runs)
    assert loader.drawn() == drawn
    several = {**searched, "trials": 3, "objectives": {"technical.exposure": "higher", "technical.sharpness": "lower"}}
    front = run_sweep(small_spec(arms={"optuna": several}), tmp_path / "out", suite=small_suite(1), loader=loader)
    assert len(front.arms) >= 2
