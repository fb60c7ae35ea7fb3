"""Bad input: one line that names the input and the remedy, exit code 2, no traceback, nothing left behind."""

import json

import pytest
from PIL import Image

from tests.support.command import PROMPT, admint
from tests.support.storyboards import storyboard

OK = ("--prompt", PROMPT)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of inputs that are wrong, each in its own way, and one that is right."""
    folder = tmp_path_factory.mktemp("files")
    Image.new("RGB", (64, 64), "red").save(folder / "good.png")
    (folder / "note.png").write_text("no image")
    (folder / "truncated.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * (10 * 1024 * 1024))
    (folder / "many").mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64), "red").save(folder / "many" / f"{number}.png")
    (folder / "empty").mkdir()
    (folder / "board.json").write_text(json.dumps({"scenes": []}))
    (folder / "three.json").write_text(json.dumps(storyboard()))
    (folder / "broken.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--prompt", ""), ["prompt"]),
        (("--prompt", " "), ["prompt", "1 character"]),
        (("--prompt", "x" * 5001), ["prompt", "5000 characters"]),
        ((), ["--prompt: missing"]),
        ((*OK, "--duration", "8"), ["--duration", "9", "'8'"]),
        ((*OK, "--duration", "61"), ["--duration", "60", "'61'"]),
        ((*OK, "--aspect-ratio", "4:3"), ["--aspect-ratio", "9:16", "'4:3'"]),
        ((*OK, "--framework", "FAB"), ["--framework", "AIDA", "'FAB'"]),
        ((*OK, "--recipe", "grand"), ["recipe", "'grand'", "express"]),
        ((*OK, "--profile", "moon"), ["profile", "'moon'", "sketch"]),
        ((*OK, "--adapter-scale", "2"), ["--adapter-scale", "'2.0'"]),
        ((*OK, "--seed-policy", "random"), ["--seed-policy", "'random'"]),
        ((*OK, "--seed", "-1"), ["--seed", "-1"]),
        ((*OK, "--scenes", "20", "--duration", "9"), ["--scenes", "20"]),
        ((*OK, "--reference-images", "{files}/missing.png"), ["missing.png", "does not exist"]),
        ((*OK, "--reference-images", "{files}/many"), ["4 reference images", "at most 3"]),
        ((*OK, "--reference-images", "{files}/empty"), ["empty", "no JPEG, PNG, WebP, AVIF or HEIC"]),
        ((*OK, "--reference-images", "{files}/note.png"), ["note.png"]),
        ((*OK, "--reference-images", "{files}/truncated.png"), ["truncated.png"]),
        ((*OK, "--reference-images", "{files}/large.png"), ["large.png", "10 MB"]),
        (("--storyboard", "{files}/board.json"), ["board.json", "prompt"]),
        (("--storyboard", "{files}/broken.json"), ["broken.json", "not valid JSON"]),
        (("--storyboard", "{files}/three.json", "--duration", "9"), ["--duration", "the storyboard"]),
    ],
)
def test_bad_input_is_one_clear_line(flags, words, files, tmp_path):
    output = tmp_path / "ad"
    flags = [flag.format(files=files) for flag in flags]
    refused = admint("pipeline", *flags, "--output", output, "--full-pipeline")
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pipeline", "--prompt", PROMPT), ["--output is missing"]),
        (("pipeline", "--resume", "{files}/empty"), ["no run to resume"]),
        (("pipeline", "--resume", "{files}", "--prompt", PROMPT), ["--prompt", "--resume"]),
        (("pipeline", "--prompt", PROMPT, "--output", "{files}/good.png"), ["is a file"]),
        (
            ("generate-images", "--prompt", PROMPT, "--model", "flux-pro", "--strict", "--output", "x"),
            ["flux-pro", "sketch-image"],
        ),
        (("generate-images", "--prompt", PROMPT, "--model", "kling-v1.5", "--output", "x"), ["kling", "sketch-image"]),
        (("create_storyboard.py", "--prompt", PROMPT), ["admint create-storyboard --prompt"]),
        (("generate-images", "--prompt", PROMPT, "--count", "0", "--output", "x"), ["--count 0"]),
        (("generate-images", "--prompt", "@{files}/none.txt", "--output", "x"), ["none.txt"]),
        (("generate-videos", "--prompts", "{files}/broken.json", "--output", "x"), ["broken.json"]),
        (("generate-videos", "--prompts", "{files}/none.json", "--output", "x"), ["none.json"]),
        (("enhance-image-prompt", "--input", " "), ["--input"]),
        (("pipeline", "--prompts", PROMPT), ["--prompts"]),
        (("pipeline", "--duration", "long"), ["--duration", "integer"]),
        (("create-storyboard", "--prompt", PROMPT), ["--output"]),
        (("make-me-rich",), ["make-me-rich"]),
    ],
)
def test_every_tool_refuses_bad_input_in_one_clear_line(arguments, words, files, tmp_path):
    refused = admint(*[argument.format(files=files) for argument in arguments], cwd=None)
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr


def test_an_output_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    refused = admint("pipeline", *OK, "--output", tmp_path / "file" / "ad")
    assert refused.returncode == 4, refused.stderr
    assert "cannot write" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_model_whose_weights_are_not_here_says_how_to_get_them(tmp_path):
    flags = ("--prompt", PROMPT, "--model", "stable-diffusion-1.5", "--output", tmp_path / "images")
    refused = admint("generate-images", *flags)
    assert refused.returncode == 5, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert "admint models pull stable-diffusion-1.5" in refused.stderr
