"""The main job, as a user runs it."""

import json
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise

import av
import pytest

from tests.support.command import PROMPT, admint, result, start_admint

QUICK = ("--prompt", PROMPT, "--recipe", "express", "--duration", "9", "--scenes", "2", "--seed", "5")

LEARNED = ("clip_consistency", "text_alignment", "keyframe_alignment")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that ends at its storyboard, stopped by Ctrl-C before it came so far: its folder and its command."""
    folder = tmp_path_factory.mktemp("interrupted") / "ad"
    with start_admint("pipeline", *QUICK, "--output", folder, in_background=True) as command:
        command.until_says("storyboard")
        command.interrupt()
        command.end()
    return folder, command


@pytest.fixture(scope="module")
def resumed(interrupted):
    """The same run at its storyboard: its folder, the states before, and its result."""
    folder, _ = interrupted
    with closing(sqlite3.connect(folder / ".admint" / "store.sqlite")) as store:
        states = store.execute("select status from generations").fetchall()
    return folder, states, result(admint("pipeline", "--resume", folder, "--json"))


def test_the_output_folder_holds_video_thumbnail_report_run_and_every_take(finished):
    folder, _ = finished
    assert {"final.mp4", "thumbnail.jpg", "report.html", "run.json", "scenes"} <= {
        path.name for path in folder.iterdir()
    }
    run = json.loads((folder / "run.json").read_text())
    scenes = sorted(path.name for path in (folder / "scenes").iterdir())
    assert scenes == [f"scene-{number:03d}" for number in range(1, len(run["scenes"]["scenes"]) + 1)]
    for scene in (folder / "scenes").iterdir():
        assert {path.suffix for path in scene.iterdir()} >= {".png", ".mp4", ".json"}


def test_the_video_lasts_exactly_as_long_as_asked_at_a_constant_rate_in_the_asked_ratio(finished):
    folder, printed = finished
    with av.open(str(folder / "final.mp4")) as video:
        stream = video.streams.video[0]
        times = [frame.pts for frame in video.decode(stream)]
        assert (stream.width * 16, stream.average_rate) == (stream.height * 9, 24)
        assert stream.codec_context.name == "h264"
    assert len(times) == 9 * 24
    assert len({later - earlier for earlier, later in pairwise(times)}) == 1
    assert printed["seconds"] == 9.0


def test_the_result_is_one_json_object_that_names_what_was_made(finished):
    folder, printed = finished
    assert (printed["status"], printed["seed"]) == ("completed", 3)
    assert printed["video"] == str(folder / "final.mp4")
    assert printed["notes"], "the command must say what sketch models are"


def test_the_run_file_holds_manifest_seeds_noise_hashes_and_the_conversation(finished):
    folder, _ = finished
    run = json.loads((folder / "run.json").read_text())
    scorers = ("dinov2_base", "efficientnet_lite0", "xfeat", "transnetv2", "minilm", "silero_vad", "ocr")
    named = {"chat", "image", "video", "scorer", *(f"scorer:{backbone}" for backbone in scorers)}
    assert set(run["manifest"]["models"]) == named
    assert run["manifest"]["libraries"]["diffusers"]
    keyframes = [take for take in run["takes"] if take["kind"] == "keyframe"]
    assert all(len(take["provenance"]["noise_sha256"]) == 64 for take in keyframes)
    assert {"vision", "director", "critic", "writer", "scene_critic", "cohesor"} <= {
        message["role"] for message in run["messages"]
    }


def test_scores_that_need_missing_weights_are_null_with_a_reason(finished):
    folder, _ = finished
    scores = json.loads((folder / "run.json").read_text())["scores"]
    ours = ("temporal_flickering", "flow_smoothness", "flow_dynamics", *LEARNED)
    measured = [score for score in scores if score["metric_id"].endswith(ours)]
    assert measured and all(score["raw"] is not None for score in measured)
    assert all(score["metric_id"].startswith("toy.") for score in measured if score["metric_id"].endswith(LEARNED))
    assert all((score["raw"] is None) == bool(score["reason"]) for score in scores)
    assert any("motion_smoothness" in score["metric_id"] and score["raw"] is None for score in scores)


def test_a_new_run_into_the_folder_of_another_is_refused_and_changes_nothing(finished):
    folder, _ = finished
    before = (folder / "run.json").read_bytes()
    refused = admint("pipeline", *QUICK, "--output", folder)
    assert refused.returncode == 2
    assert "belongs to another run" in refused.stderr and "--resume" in refused.stderr
    assert (folder / "run.json").read_bytes() == before


def test_resuming_a_finished_run_makes_nothing_again(finished):
    folder, printed = finished
    before = (folder / "final.mp4").read_bytes()
    again = result(admint("pipeline", "--resume", folder, "--json"))
    assert again["generation_id"] == printed["generation_id"]
    assert (folder / "final.mp4").read_bytes() == before


def test_a_run_whose_model_changed_since_is_not_resumed_under_the_old_manifest(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    store = sqlite3.connect(folder / ".admint" / "store.sqlite")
    (text,) = store.execute("select manifest from generations").fetchone()
    manifest = json.loads(text)
    manifest["models"]["image"]["fingerprint"] = "sketch-image:other"
    store.execute("update generations set manifest = ?", (json.dumps(manifest),))
    store.commit()
    store.close()
    refused = admint("pipeline", "--resume", folder)
    assert refused.returncode == 2, refused.stderr
    assert "the image model 'sketch-image' changed since" in refused.stderr


def test_ctrl_c_stops_a_run_that_a_script_put_in_the_background_and_says_how_to_resume_it(interrupted):
    folder, command = interrupted
    assert command.exit_code == 130, command.said
    assert f"admint pipeline --resume {folder}" in command.said


def test_a_resume_finishes_what_ctrl_c_stopped(resumed):
    _, states, printed = resumed
    assert states == [("pending",)]
    assert printed["status"] == "completed"


def test_without_full_pipeline_it_stops_at_the_storyboard_and_a_resume_goes_on_from_there(resumed):
    folder, _, first = resumed
    assert first["video"] is None
    assert not (folder / "final.mp4").exists()
    keyframes = {path: path.read_bytes() for path in folder.glob("scenes/*/keyframe*.png")}
    assert keyframes
    second = result(admint("pipeline", "--resume", folder, "--full-pipeline", "--json"))
    assert second["video"] == str(folder / "final.mp4")
    assert all(path.read_bytes() == data for path, data in keyframes.items())


@pytest.mark.parametrize("ratio", ["16:9", "1:1"])
def test_the_other_ratios_are_made_too(tmp_path, ratio):
    folder = tmp_path / "ad"
    made = admint("pipeline", *QUICK, "--aspect-ratio", ratio, "--output", folder, "--full-pipeline", "--json")
    result(made)
    with av.open(str(folder / "final.mp4")) as video:
        stream = video.streams.video[0]
        wide, high = map(int, ratio.split(":"))
        assert stream.width * high == stream.height * wide
