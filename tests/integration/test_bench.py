"""`admint bench`: two models through a suite, kills, failures, and what is refused before the first clip."""

import csv
import io
import json
import os
import shutil
import signal
from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest
import yaml

from configs.settings import CONFIGS, load_model, load_profile
from models.errors import InferenceFailed, InvalidRequest, WeightsError
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput
from pipelines.lab.prompts import read_prompt_suite
from pipelines.store.fault_points import VARIABLE
from serving.cli.bench import bench, compare
from serving.cli.score import score, scored_on_ray
from serving.lab.bench import BenchSettings, checked_benches, run_bench
from serving.lab.bench_results import read_result
from tests.support.drawn_sweeps import DrawingLoader, LoggingDrawing
from tests.support.waiting import PATIENCE_SECONDS

PROMPTS = ("a red mug on a table", "a red mug in the snow", "a mug and/or a can")
MEASURED = "temporal_flickering,technical.exposure"
SMALL: dict[str, Any] = {"frames": 3, "size": "64x32", "dimensions": MEASURED}
"""Clips of three frames; none of the dimensions needs a network."""
OTHER = "other-video"


@pytest.fixture(scope="module", autouse=True)
def second_model(tmp_path_factory):
    """A video model of one's own, which makes clips from the text alone."""
    folder = tmp_path_factory.mktemp("configs")
    described = yaml.safe_load((CONFIGS / "models" / "sketch-video.yaml").read_text())
    (folder / "models").mkdir()
    own = {**described, "name": OTHER, "first_frame": "optional"}
    (folder / "models" / f"{OTHER}.yaml").write_text(yaml.safe_dump(own))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMINT_CONFIGS", str(folder))
        yield


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "mugs.txt"
    file.write_text("\n".join(PROMPTS))
    return file


def drawn_by(monkeypatch, loader):
    """Let the command's models be those of `loader`."""
    from serving.lab import bench as lab

    monkeypatch.setattr(lab, "run_bench", partial(run_bench, loader=loader))


def one_bench(suite_file, **settings):
    asked = BenchSettings(frames=3, size=(64, 32), dimensions=tuple(MEASURED.split(",")), **settings)
    model = load_model("sketch-video", VideoModelSpec)
    (made,) = checked_benches([model], load_profile("sketch"), read_prompt_suite(suite_file), asked)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory, suite_file):
    """A finished bench of two models, three prompts and two samples: its folder, what it said, and what was drawn."""
    out = tmp_path_factory.mktemp("bench")
    loader = DrawingLoader(tmp_path_factory.mktemp("drawn") / "bench.log")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        drawn_by(patch, loader)
        patch.setattr("typer.echo", lambda text, **_: lines.append(str(text)))
        code = bench(["sketch-video", OTHER], prompts=suite_file, out=out, samples=2, **SMALL)
    return out, code, "\n".join(lines), loader


def clips(folder):
    return {path.name: path.read_bytes() for path in (folder / "videos").iterdir()}


def test_two_models_have_their_clips_named_scored_and_timed(made):
    out, code, _, loader = made
    assert code == 0
    names = set(clips(out / "sketch-video"))
    assert {f"{text}-{k}.mp4" for text in PROMPTS[:2] for k in (0, 1)} < names and len(names) == 6
    assert len({*clips(out / "sketch-video").values()}) == 6, "every clip has noise of its own"
    result = read_result(out / "sketch-video")[0]
    assert (result.wanted, result.made, result.failures) == (6, 6, ())
    assert [mean.metric_id for mean in result.means if mean.mean is not None and mean.files == 6]
    text_only, _ = read_result(out / OTHER)
    assert result.speed is not None and text_only.speed is not None
    assert result.speed.clips_a_minute > 0 and set(result.speed.by_stage) == {"keyframe", "clip"}
    assert (text_only.conditions.start, set(text_only.speed.by_stage)) == ("text", {"clip"})
    assert loader.drawn().total() == 6 + 6 + 6, "no keyframe is drawn for a clip that is made from text"
    told = json.loads((out / OTHER / "prompts.json").read_text())
    assert set(told) == set(clips(out / OTHER)) and set(told.values()) == set(PROMPTS)


def test_models_that_start_otherwise_stand_in_two_tables_and_the_difference_is_said(made):
    _, _, said, _ = made
    assert said.count("metric") == 2 and "from keyframe of sketch-image" in said and "from text" in said
    apart = "other-video stands in a table of its own, unlike sketch-video (start: keyframe of sketch-image and text)"
    assert apart in said
    assert "cannot be the name of a file" in said


def test_every_line_of_the_csv_has_the_conditions(made, suite_file):
    out, *_ = made
    lines = list(csv.DictReader(io.StringIO((out / "bench.csv").read_text())))
    assert {line["model"] for line in lines} == {"sketch-video", OTHER}
    kept = {"prompts_sha256": read_prompt_suite(suite_file).sha256, "steps": "10", "frames": "3", "protocol": "custom"}
    assert all(line.items() >= kept.items() for line in lines)
    assert {"vbench.temporal_flickering", "clips_a_minute", "device_seconds", "failures"} < {x["metric"] for x in lines}


def test_the_files_of_vbench_are_those_of_the_score_command(made, tmp_path):
    out, *_ = made
    again = tmp_path / "sketch-video"
    prompts = out / "sketch-video" / "prompts.json"
    score([str(out / "sketch-video")], prompts=prompts, dimensions=MEASURED, out=again, form="vbench",
          protocol="custom")  # fmt: skip
    for name in ("sketch-video_eval_results.json", "sketch-video_full_info.json"):
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (out / "sketch-video", again))
        assert ours and sorted_videos(ours) == sorted_videos(theirs)


def sorted_videos(document):
    """The files in the order of their names: a folder is read in that order, a suite in its own."""
    if isinstance(document, list):
        return sorted(document, key=lambda entry: entry["prompt_en"])
    return {word: [pytest.approx(mean), sorted(videos, key=lambda one: one["video_path"])]
            for word, (mean, videos) in document.items()}  # fmt: skip


def test_started_again_it_makes_and_measures_nothing(made, monkeypatch, suite_file, tmp_path, capsys):
    out, *_ = made
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    loader = DrawingLoader(tmp_path / "again.log")
    drawn_by(monkeypatch, loader)
    monkeypatch.setattr("serving.scores.measuring._scored", lambda items, *_: iter(items and [1 / 0]))
    assert bench(["sketch-video"], prompts=suite_file, out=out, samples=2, form="json", **SMALL) == 0
    assert not loader.drawn() and before == {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert json.loads(capsys.readouterr().out)[0]["made"] == 6


# --- killed, failed ---

FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["serving.lab.bench", "tests.support.drawn_sweeps", "pyarrow.parquet"])


def part_of_a_bench(made, out, log, fault):
    os.environ[VARIABLE] = fault
    run_bench(made, out, loader=DrawingLoader(log))


def test_a_bench_that_is_killed_has_the_files_of_one_that_is_not_and_no_clip_is_made_twice(suite_file, tmp_path):
    """One kill while clips are made, one while they are given their names."""
    asked = one_bench(suite_file)
    for fault in ("before_rename:5", "before_temp_sync:15"):
        process = FORKED.Process(target=part_of_a_bench, args=(asked, tmp_path / "out", tmp_path / "log", fault))
        process.start()
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == -signal.SIGKILL, "the bench was finished before all kills"
    assert 0 < len(list((tmp_path / "out").glob("videos/*.mp4"))) < 3
    resumed = run_bench(asked, tmp_path / "out", loader=DrawingLoader(tmp_path / "log"))
    whole = run_bench(asked, tmp_path / "whole", loader=DrawingLoader(tmp_path / "whole.log"))
    assert clips(tmp_path / "out") == clips(tmp_path / "whole") and len(clips(tmp_path / "out")) == 3
    assert resumed.means == whole.means
    names = [f"{folder}_eval_results.json" for folder in ("out", "whole")]
    ours, theirs = (tmp_path / name.partition("_")[0] / name for name in names)
    assert ours.read_bytes() == theirs.read_bytes()
    assert DrawingLoader(tmp_path / "log").drawn().total() <= 6 + 1, "at most the step that a kill struck is made again"


class FailingLoader(DrawingLoader):
    def video(self, spec):
        return FailingDrawing(self.log)


class FailingDrawing(LoggingDrawing):
    def generate(self, request, watcher):
        if "snow" in request.prompt:
            raise InferenceFailed("out of memory")
        return super().generate(request, watcher)


def test_a_clip_that_fails_is_listed_with_its_reason_and_can_be_tried_again(suite_file, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    drawn_by(monkeypatch, FailingLoader(tmp_path / "log"))
    assert bench(["sketch-video"], prompts=suite_file, out=out, **SMALL) == 3
    said = capsys.readouterr().out
    assert "failed: 'a red mug in the snow', 0: " in said and "out of memory" in said and "2 of 3" in said
    result, folder = read_result(out)
    (failure,) = result.failures
    assert (result.made, failure.prompt, failure.sample) == (2, PROMPTS[1], 0) and len(clips(folder)) == 2
    (folder / failure.row).unlink()
    drawn_by(monkeypatch, DrawingLoader(tmp_path / "log"))
    assert bench(["sketch-video"], prompts=suite_file, out=out, **SMALL) == 0
    assert len(clips(folder)) == 3 and read_result(out)[0].failures == ()


def test_pictures_of_an_image_model_are_benched_as_well(suite_file, tmp_path, monkeypatch, capsys):
    drawn_by(monkeypatch, DrawingLoader(tmp_path / "log"))
    asked = {**SMALL, "frames": None, "dimensions": "technical.exposure"}
    assert bench(["sketch-image"], prompts=suite_file, out=tmp_path / "out", **asked) == 0
    assert "stills" in capsys.readouterr().out
    names = clips(tmp_path / "out" / "sketch-image")
    assert f"{PROMPTS[0]}-0.png" in names and len(names) == 3


def test_prompts_of_vbench_are_measured_by_their_own_dimensions(tmp_path, monkeypatch, capsys):
    file = tmp_path / "VBench_full_info.json"
    entries = [("a stop sign", ["temporal_flickering"]), ("a person", ["object_class", "imaging_quality"])]
    file.write_text(json.dumps([{"prompt_en": text, "dimension": names} for text, names in entries]))
    drawn_by(monkeypatch, DrawingLoader(tmp_path / "log"))
    dimensions = "temporal_flickering,object_class,technical.exposure"
    bench([OTHER], prompts=file, out=tmp_path / "out", **{**SMALL, "dimensions": dimensions})
    result, folder = read_result(tmp_path / "out")
    assert result.conditions.protocol == "standard"
    rows = json.loads((folder / "scores.json").read_text())["scores"]
    measured = {(row["prompt"], row["metric_id"]) for row in rows}
    assert ("a stop sign", "vbench.temporal_flickering") in measured
    assert ("a person", "vbench.object_class") in measured and len(measured) == 4


# --- compared ---


def test_two_results_are_compared_in_pairs_with_the_conditions_beside(made, tmp_path, capsys):
    out, *_ = made
    shutil.copytree(out / OTHER, tmp_path / "again")
    assert compare(out / OTHER, tmp_path / "again") == 0
    said = capsys.readouterr().out
    assert "A: other-video   B: other-video" in said and "+0.0000" in said and "6 pairs of 3 prompts" in said
    assert compare(out / OTHER, tmp_path / "again", form="csv") == 0
    assert "prompts_sha256" in capsys.readouterr().out.splitlines()[0]


def test_results_of_other_conditions_are_not_compared_and_what_differs_is_named(made):
    out, *_ = made
    with pytest.raises(
        BadInput, match=r"not made under the same conditions .*\(start: keyframe of sketch-image and te"
    ):
        compare(out / "sketch-video", out / OTHER)
    with pytest.raises(BadInput, match="2 results: name one of"):
        compare(out, out / OTHER)
    with pytest.raises(BadInput, match=r"no results.json"):
        compare(out / "sketch-video" / "videos", out / OTHER)


# --- refused before the first clip ---


@pytest.mark.parametrize(
    ("models", "changes", "words"),
    [
        (["sketch-vido"], {}, "no model 'sketch-vido': the nearest is 'sketch-video'"),
        (["sketch-chat"], {}, "'sketch-chat' is a chat model"),
        (["sketch-video", "sketch-video"], {}, "is named twice"),
        (["wan2.1-t2v-1.3b"], {}, r"needs a GPU of about .* choose another --profile \(.*gpu-24gb"),
        (["sketch-video"], {"start": "text"}, "makes clips from keyframe only"),
        (["sketch-image"], {"start": "text", "frames": None}, "leave --start out"),
        (["sketch-image"], {}, "leave --frames out"),
        (["sketch-video"], {"frames": 17}, "--frames 17: model 'sketch-video' makes clips of 1 to 16"),
        (["sketch-video"], {"size": "100x64"}, "multiples of 32"),
        (["sketch-video"], {"size": "wide"}, "832x480"),
        (["sketch-video"], {"size": "8192x8192"}, "takes at most"),
        (["sketch-video"], {"jobs": 2, "ray": "localhost:1"}, "keep one of them"),
        (["sketch-video"], {"suite": "all"}, "give one of them"),
        (["sketch-video"], {"profile": "gpu-24gb"}, "this machine has none"),
    ],
)
def test_what_cannot_be_is_refused_before_a_clip_is_made(models, changes, words, suite_file, tmp_path):
    with pytest.raises((BadInput, InvalidRequest), match=words):
        bench(models, prompts=suite_file, out=tmp_path / "out", **{**SMALL, **changes})
    assert not (tmp_path / "out").exists()


def test_weights_that_are_missing_are_refused_with_the_command_that_brings_them(suite_file, tmp_path):
    model = load_model("z-image-turbo", ImageModelSpec).model_copy(update={"vram_gb": 0})
    with pytest.raises(WeightsError, match="admint models pull z-image-turbo"):
        checked_benches([model], load_profile("sketch"), read_prompt_suite(suite_file), BenchSettings())


def test_a_folder_holds_one_bench(made, suite_file):
    out, *_ = made
    with pytest.raises(BadInput, match=r"holds a bench of other conditions .steps: 10 and 4.: name another --out"):
        bench(["sketch-video"], prompts=suite_file, out=out, samples=2, steps=4, **SMALL)


# --- on Ray ---


def test_on_ray_the_clips_and_scores_are_those_of_one_process(ray_session, suite_file, tmp_path, monkeypatch):
    from serving.deployments.sweep_runs import runs_on_ray

    monkeypatch.setenv("ADMINT_HOME", str(ray_session.home))
    asked = one_bench(suite_file)
    there = run_bench(
        asked,
        tmp_path / "ray",
        runs_elsewhere=partial(runs_on_ray, "auto"),
        scores_elsewhere=partial(scored_on_ray, "auto"),
        loader=DrawingLoader(tmp_path / "ray.log"),
    )
    here = run_bench(asked, tmp_path / "here", loader=DrawingLoader(tmp_path / "here.log"))
    assert clips(tmp_path / "ray") == clips(tmp_path / "here") and there.means == here.means
    assert there.speed is not None and there.speed.device == "cpu of a Ray cluster"
