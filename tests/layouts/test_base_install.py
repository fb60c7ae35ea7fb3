"""The base install is enough for every family: nothing of the extras is imported on the way to a result.

A process that cannot import any other distribution loads a published layout and makes a result. A virtual environment
of the base install alone would show the same, and takes gigabytes.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from configs.settings import load_model_specs
from tests.layouts.published import publish

ROOT = Path(__file__).parents[2]
INSTALLED = {canonicalize_name(each.metadata["Name"]) for each in distributions()}
COPIED = ("cv2",)
"""Looks for its own files behind a link."""
SCRIPT = """
import sys
from importlib.util import find_spec
from pathlib import Path

from configs.settings import load_model_specs
from models.interfaces import NoiseSpec, Unwatched, VideoRequest
from models.registry import load
from models.weights import Library

spec = load_model_specs()[sys.argv[1]].model_copy(update={"dtype": "float32"})
engine = load(spec, Library(Path(sys.argv[2])).folders(spec), "cpu")
request = VideoRequest(prompt="a red bottle", width=64, height=64, num_frames=9, noise=NoiseSpec(seed=1),
                       num_inference_steps=1, guidance_scale=1.0)
print(engine.generate(request, Unwatched()).frames.shape, find_spec("fastapi"))
"""


def base_install():
    """Names of the distributions that the base install brings, by what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found, waiting = (
        {"admint", "packaging"},
        list(project["dependencies"]),
    )
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if name in found or name not in INSTALLED:
            continue
        found.add(name)
        waiting += [
            text
            for text in requires(name) or ()
            if (marker := Requirement(text).marker) is None or any(marker.evaluate({"extra": each}) for each in extras)
        ]
    return found


def run(name, home, allowed, folder):
    """Run SCRIPT where only the distributions `allowed` can be imported: `folder` is filled with links to them."""
    folder.mkdir()
    for each in distributions():
        if canonicalize_name(each.metadata["Name"]) in allowed:
            for top in {file.parts[0] for file in each.files or () if file.parts[0] not in ("..", "__pycache__")}:
                target = Path(str(each.locate_file(top)))
                if top in COPIED:
                    shutil.copytree(target, folder / top, dirs_exist_ok=True)
                elif target.exists() and not (folder / top).exists():
                    (folder / top).symlink_to(target)
    return subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT, name, str(home)], env={"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, timeout=300, cwd=folder, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    spec = load_model_specs()["ltx-video-2b-0.9.5"]
    return publish(spec, tmp_path_factory.mktemp("ltx")).root


def test_ltx_whose_tokenizer_is_sentencepieces_own_file_runs_on_the_base_install(library, tmp_path):
    assert (library / "ltx-video-2b-0.9.5" / "main" / "tokenizer" / "spiece.model").exists()
    done = run("ltx-video-2b-0.9.5", library, base_install(), tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(9, 64, 64, 3) None"
