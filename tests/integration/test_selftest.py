"""`admint models selftest`: a report of what the weights here make, which says what was not measured."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from configs.settings import load_model_specs
from models.errors import InvalidRequest, WeightsError
from serving.cli.models import app
from serving.cli.selftest import REPORT, WITH_REFERENCE
from tests.layouts.published import publish


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "home"))

    def invoke(name, *arguments, folder="out"):
        result = CliRunner().invoke(app, ["selftest", name, "--output", str(tmp_path / folder), *arguments])
        if result.exception is not None:
            raise result.exception
        report = json.loads((tmp_path / folder / REPORT).read_text())
        assert json.loads(result.stdout) == report
        return report, tmp_path / folder

    return invoke


def test_a_picture_is_made_twice_alike_and_compared_with_its_prompt(run):
    (first, folder), (second, _) = run("sketch-image"), run("sketch-image", folder="again")
    pixels = np.asarray(Image.open(folder / "picture.png"))
    assert first["result_sha256"] == second["result_sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    prompt, other, _ = first["alignment"]["cosines"]["picture.png"].values()
    assert prompt > other + 0.3  # of 0.77 and -0.12 as they were measured
    assert first["with_reference"]["result_sha256"] not in (first["result_sha256"], None)
    assert (folder / WITH_REFERENCE).exists()
    assert set(first["alignment"]["cosines"]) == {"picture.png", WITH_REFERENCE}
    assert (first["alignment"]["scorer"], first["alignment"]["fidelity"]) == ("sketch-clip", "toy")
    assert {part: weights["revision"] for part, weights in first["weights"].items()} == {
        "main": "0.1.0", "ip_adapter": "0.1.0",
    }  # fmt: skip
    assert all(len(sha256) == 64 for part in first["weights"].values() for sha256 in part["files"].values())
    assert first["libraries"]["torch"] and first["libraries"]["diffusers"]
    assert first["seconds"]["request"] > 0 and first["peak_memory_gb"]["host"] > 0
    assert first["request"]["noise"]["seed"] == 7


def test_a_clip_starts_from_the_fixed_picture_and_lies_beside_the_report(run):
    report, folder = run("sketch-video")
    assert (folder / "clip.mp4").stat().st_size > 0
    assert report["request"]["first_frame"] is True
    assert report["request"]["num_frames"] == 16
    prompt, other, _ = report["alignment"]["cosines"]["last-frame.png"].values()
    assert prompt > other


def test_a_chat_model_answers_the_fixed_question(run):
    report, _ = run("sketch-author")
    assert report["answer"].startswith("I am the sketch author")
    assert report["result_sha256"] == hashlib.sha256(report["answer"].encode()).hexdigest()
    assert report["request"]["picture"] is True
    assert "alignment" not in report


def test_a_scorer_finds_the_text_of_a_picture_and_gives_the_scores_that_are_read_from_it(run):
    report, _ = run("sketch-clip")
    right, wrong = report["cosines"].values()
    assert right > wrong + 0.3  # of 0.63 and -0.12 as they were measured
    assert {"clip_consistency", "text_alignment", "keyframe_alignment"} <= set(report["request"]["dimensions"])
    assert report["scores"]["toy.keyframe_alignment"] == pytest.approx(right, abs=1e-3)
    assert report["scores"]["toy.clip_consistency"] > 0.9


@pytest.mark.parametrize("name", ["z-image-turbo", "ltx-video-2b-0.9.5"])
def test_a_published_layout_is_tested_and_what_no_scorer_measured_is_said_to_be_so(run, name, tmp_path, monkeypatch):
    spec = load_model_specs()[name]
    small = {"extends": name, "weights_of": name, "acceleration": {}, "sizes": {"1:1": [64, 64]}, "warm_up": ["1:1"]}
    frames = {"max_frames": 17} if spec.kind == "video" else {}
    (tmp_path / "own" / "models").mkdir(parents=True)
    described = {**small, **frames, "num_inference_steps": 2, "max_pixels": 64 * 64 * 17}
    (tmp_path / "own" / "models" / f"{name}.yaml").write_text(yaml.safe_dump(described))
    monkeypatch.setenv("ADMINT_CONFIGS", str(tmp_path / "own"))
    shutil.copytree(publish(spec, tmp_path / "made").root, tmp_path / "home" / "models")
    report, folder = run(name, "--profile", "gpu-24gb")
    assert report["weights"]["main"]["revision"] == spec.weights["main"].revision
    assert report["alignment"].startswith("not measured: run `admint models pull clip-vit-l-14`")
    assert {path.name for path in folder.iterdir()} > {REPORT}


def test_weights_that_are_not_here_or_run_elsewhere_are_said_before_anything_is_made(run):
    with pytest.raises(WeightsError, match="run: admint models pull stable-diffusion-xl"):
        run("stable-diffusion-xl")
    with pytest.raises(InvalidRequest, match="runs in vLLM only"):
        run("sketch-chat-text")
