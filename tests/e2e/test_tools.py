"""The tools of the contract, each alone, and their files feeding each other."""

import json

import pytest
from PIL import Image

from tests.support.command import PROMPT, admint, result


@pytest.fixture(scope="module")
def storyboard(tmp_path_factory):
    path = tmp_path_factory.mktemp("board") / "storyboard.json"
    flags = ("--prompt", PROMPT, "--scenes", "3", "--duration", "9", "--recipe", "express", "--seed", "2")
    result(admint("create-storyboard", *flags, "--output", path, "--json"))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    flags = ("--prompt", "a teal steel bottle on a beach", "--count", "2", "--model", "sketch-image", "--seed", "4")
    result(admint("generate-images", *flags, "--output", folder, "--json"))
    return folder


def test_a_storyboard_has_the_asked_scenes_and_adds_up_to_its_duration(storyboard):
    board = json.loads(storyboard.read_text())
    assert [scene["scene_number"] for scene in board["scenes"]] == [1, 2, 3]
    assert round(sum(scene["seconds"] for scene in board["scenes"]), 2) == board["duration"] == 9


def test_a_storyboard_edited_by_hand_is_what_the_pipeline_draws(storyboard, tmp_path):
    board = json.loads(storyboard.read_text())
    board["scenes"][1]["image_prompt"] = "a yellow mug in the snow"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(board))
    folder = tmp_path / "ad"
    result(admint("pipeline", "--storyboard", edited, "--recipe", "express", "--output", folder, "--json"))
    run = json.loads((folder / "run.json").read_text())
    prompts = {take["scene_number"]: take["provenance"]["request"]["prompt"] for take in run["takes"]}
    assert prompts[2] == "a yellow mug in the snow"
    assert prompts[1] == board["scenes"][0]["image_prompt"]


def test_images_are_as_many_as_asked_each_from_its_own_noise(images):
    record = json.loads((images / "images.json").read_text())
    assert [image["file"] for image in record["images"]] == ["image-001.png", "image-002.png"]
    assert len({image["noise_sha256"] for image in record["images"]}) == 2
    for image in record["images"]:
        with Image.open(images / image["file"]) as picture:
            assert picture.size == (128, 128)


def test_the_same_seed_draws_the_same_images_bit_for_bit(images, tmp_path):
    flags = ("--prompt", "a teal steel bottle on a beach", "--count", "2", "--model", "flux-pro", "--seed", "4")
    made = result(admint("generate-images", *flags, "--output", tmp_path, "--json"))
    assert "'flux-pro' does not run here: 'sketch-image' is used" in " ".join(made["notes"])
    for name in ("image-001.png", "image-002.png"):
        assert (tmp_path / name).read_bytes() == (images / name).read_bytes()


def test_a_cut_prompt_is_noted_and_nothing_is_written_over(tmp_path):
    long = ("--prompt", "a red bottle, " + "sun " * 300, "--negative-prompt", "dark " * 300, "--seed", "4")
    (tmp_path / "refs").mkdir()
    Image.new("RGB", (64, 48), "red").save(tmp_path / "refs" / "product.png")
    (tmp_path / "refs" / "._product.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "refs" / "other.gif").write_bytes(b"GIF89a")
    flags = (*long, "--reference-images", tmp_path / "refs", "--output", tmp_path / "made")
    made = result(admint("generate-images", *flags, "--json"))
    notes = " ".join(made["notes"])
    assert "the prompt has " in notes and "the negative prompt has " in notes and "'other.gif'" in notes
    before = (tmp_path / "made" / "image-001.png").read_bytes()
    again = admint("generate-images", *flags)
    assert (again.returncode, "image-001.png' is there already" in again.stderr) == (2, True)
    assert (tmp_path / "made" / "image-001.png").read_bytes() == before


def test_images_of_one_tool_are_the_references_of_the_next(images, storyboard, tmp_path):
    references = sorted(images.glob("*.png"))
    flags = ("--prompts", storyboard, "--reference-images", *references, "--model", "sketch-video", "--seed", "1")
    made = result(admint("generate-videos", *flags, "--output", tmp_path, "--json"))
    assert len(made["videos"]) == 3
    for number in (1, 2, 3):
        assert (tmp_path / f"video-{number:03d}.mp4").stat().st_size > 0


@pytest.mark.parametrize("tool", ["enhance-image-prompt", "enhance-video-prompt"])
def test_an_enhanced_prompt_is_a_file_that_the_next_tool_reads(tool, tmp_path):
    path = tmp_path / "prompt.txt"
    printed = result(admint(tool, "--input", "a steel bottle", "--output", path, "--seed", "1", "--json"))
    assert path.read_text().strip() == printed["prompt"] != ""
    again = result(admint(tool, "--input", path, "--seed", "1", "--json"))
    assert again["prompt"]


def test_the_models_are_listed_with_their_licences():
    listed = admint("models", "list")
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in ("sketch-chat", "sketch-image", "sketch-video"))
