"""The tutorials are run as they are written: their files are made, their commands typed, their Python blocks executed.

In a copy of the checkout, because they add files to it. Blocks marked `console` or `python` and those with a title are
for running; all others are for reading. What the reader is shown as a command's output is not compared.
"""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.media import encode_clip
from tests.support.command import REPOSITORY, environment

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
OWN = ("recipe", "model", "dimension", "family", "stage", "route")
LEFT_OUT = {".git", ".venv", "build", "dist", "benchmarks", "weights", "__pycache__"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, with the weights as a link, and `admint` and `python` as commands that use it."""
    copy = tmp_path_factory.mktemp("tutorials") / "admint"
    shutil.copytree(REPOSITORY, copy, ignore=lambda _, names: LEFT_OUT & set(names), symlinks=True)
    (copy / "models" / "sketch" / "weights").symlink_to(REPOSITORY / "models" / "sketch" / "weights")
    (copy / ".bin").mkdir()
    for name, arguments in (("python", ""), ("admint", "-m serving")):
        program = copy / ".bin" / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{copy}" exec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    return copy


@pytest.fixture(scope="module")
def follow(checkout):
    """Follows one tutorial to its end; the test fails where the reader would be stuck."""

    def follow(name, folder="docs/tutorials"):
        script = "\n".join(["set -euo pipefail", *steps((REPOSITORY / folder / name).read_text())])
        variables = environment() | {"PATH": f"{checkout / '.bin'}:{os.environ['PATH']}"}
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=checkout,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert ran.returncode == 0, f"{ran.stderr[-3000:]}\n{ran.stdout[-2000:]}"
        return ran.stdout

    return follow


@pytest.fixture(scope="module")
def first_ad(follow):
    """What the first tutorial prints; its ad is used by others."""
    return follow("first-ad.md")


def steps(text):
    """The tutorial's blocks as lines of a bash script."""
    for number, (language, title, code) in enumerate(BLOCK.findall(text), start=1):
        yield f"echo 'block {number}:' >&2"
        if title:
            yield f"cat > {title} <<'END_OF_FILE'\n{code}END_OF_FILE"
        elif language == "console":
            yield commands(code)
        elif language == "python":
            yield f"python - <<'END_OF_FILE'\n{code}END_OF_FILE"


def commands(code):
    """The lines behind a `$`, with those that continue them."""
    lines, continued = [], False
    for line in code.splitlines():
        if line.startswith("$ ") or continued:
            lines.append(line.removeprefix("$ "))
            continued = line.endswith("\\")
    assert lines, f"a console block without a command:\n{code}"
    return "\n".join(lines)


def test_the_first_ad_is_made_twice_on_the_command_line_and_from_python(first_ad, checkout):
    for folder in ("first-ad", "second-ad"):
        assert (checkout / folder / "final.mp4").stat().st_size > 0
    assert "final.mp4\nreport.html\nrun.json\nscenes\nthumbnail.jpg\n" in first_ad
    assert "second-ad/final.mp4 9.0" in first_ad
    assert "vbench.motion_smoothness needs AMT-S" in first_ad


def test_an_own_recipe_is_used(follow):
    assert "PAS" in follow("own-recipe.md").splitlines()


def test_an_own_model_draws_pictures_and_an_ads_storyboard(follow, checkout):
    assert "my-image: here" in follow("own-model.md")
    assert list((checkout / "my-pictures").glob("*.png"))
    assert list((checkout / "my-ad" / "scenes").glob("*/keyframe-1.png"))


def test_an_own_dimension_is_measured_and_tested(first_ad, follow):
    said = follow("own-dimension.md")
    assert re.search(r"^admint\.sharpness \d+\.\d+$", said, re.MULTILINE)
    assert "2 passed" in said


def test_an_own_family_draws_what_the_prompt_names(follow, checkout):
    assert "3 passed" in follow("own-family.md")
    with Image.open(checkout / "swatches" / "image-001.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    (above_red, _, above_blue), (below_red, _, below_blue) = pixels[8, 128], pixels[-8, 128]
    assert above_red > 2 * above_blue
    assert below_blue > 2 * below_red


def test_an_own_stages_result_stands_in_the_record_of_the_run(follow):
    said = follow("own-stage.md")
    assert re.search(r"^1 (#[0-9a-f]{6} ?){4}\n2 (#[0-9a-f]{6} ?){4}$", said, re.MULTILINE)
    assert "1 passed" in said


def test_an_own_route_answers_and_is_held_by_the_test_of_every_route(follow, checkout):
    assert " passed" in follow("own-route.md")
    assert '"/api/v1/frameworks/{framework}"' in (checkout / "docs" / "openapi.json").read_text()


def test_the_deployment_files_of_the_cluster_tutorial_are_written(follow, checkout):
    follow("cluster.md")
    assert "import_path: serving.app:application" in (checkout / "serve.yaml").read_text()
    assert "image: REGISTRY/admint@sha256:" in (checkout / "rayservice.yaml").read_text()


def test_the_commands_of_the_quality_page_score_clips_and_compare_two_runs(follow, checkout):
    (checkout / "clips").mkdir()
    for number, name in enumerate(("one-0", "two-0")):
        noise = np.random.default_rng(number).integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
        (checkout / "clips" / f"{name}.mp4").write_bytes(encode_clip(noise, 8))
    said = follow("quality.md", folder="docs")
    assert re.search(r"vbench.temporal_flickering .* 2 pairs of 2 prompts; no interval below 6 prompts", said)
    assert re.search(r"^one-0.mp4 \[\('toy.text_alignment', -?[\d.e-]+, 'toy'\)", said, re.MULTILINE)
    written = {file.name for file in (checkout / "first").iterdir()}
    assert {"rows.jsonl", "scores.html", "first_eval_results.json", "first_full_info.json"} <= written


def test_the_lab_goes_from_a_question_to_a_figure(follow, checkout):
    said = follow("lab.md", folder="docs")
    assert "18 runs of 3 arms in sweep: runs.csv" in said
    assert re.search(
        r"^base → adapter_scale=0: product_similarity \S+ \[\S+ \S+\], keyframe_alignment", said, re.MULTILINE
    )
    assert "    sweep:base: 0.6\n    sweep:adapter_scale=0: 0.0\n" in said
    assert "6 prompts of ads.txt" in said and "a black watch in a studio-0.mp4\n" in said
    for page in ("sweep/report.html", "side-by-side/report.html"):
        assert "adapter_scale=0" in (checkout / page).read_text()


def test_every_tutorial_is_run():
    pages = {page.name for page in (REPOSITORY / "docs" / "tutorials").glob("*.md")}
    assert pages == {"first-ad.md", "cluster.md", *(f"own-{what}.md" for what in OWN)}
