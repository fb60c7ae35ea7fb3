"""The built wheel, in a virtual environment that knows nothing of this checkout: what `pip install` gives a user."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.command import PROMPT, REPOSITORY, environment, result

SITE = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
CLIENT = """\
import admint

generation = admint.generate("An ad", ["a.png"], output="ad", aspect_ratio="1:1")
for event in generation:
    reveal_type(event)
reveal_type(generation.result.scores)
reveal_type(admint.profiles()[0].name)
admint.generate("An ad", output="ad", aspect_ratio="4:3")
"""
NOTEBOOK = f"""\
import asyncio, admint

async def cell():
    generation = admint.generate({PROMPT!r}, output="ad", profile="sketch", recipe="express", duration=9, scenes=2)
    seen = []
    for event in generation:
        seen.append(event.kind)
        generation.cancel()
    print(seen[0], seen[-1])
    try:
        generation.result
    except admint.Cancelled as error:
        print(type(error).__name__)

asyncio.run(cell())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built and checked as `make release-check` does it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, REPOSITORY / ".ci" / "release_check.py", "--keep", folder]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """Folder of an environment with the wheel and, of this one, its other packages but not the checkout.

    A folder on the path that a .pth file names has its own .pth files left alone, so that an editable install of the
    checkout in it does nothing.
    """
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=900)
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    (folder / SITE / "packages_of_the_tests.pth").write_text("\n".join(here) + "\n")
    return folder


@pytest.fixture
def run(clean, tmp_path):
    """Runs a program of the clean environment in an empty folder."""
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    variables["PATH"] = f"{clean / 'bin'}{os.pathsep}{variables['PATH']}"

    def run(program, *arguments):
        command = [clean / "bin" / program, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=900
        )

    return run


def test_the_wheel_holds_the_program_and_its_licences_and_no_training_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert folders == {"admint.py", "admint-stubs", "configs", "models", "pipelines", "quality", "serving"}
    assert not [name for name in names if name.startswith("models/sketch/train") or "/test" in name]
    licences = [name.partition("/licenses/")[2] for name in names if "/licenses/" in name]
    assert sorted(licences) == ["LICENSE", "models/sketch/weights/LICENSE"]
    assert "models/sketch/weights/LICENSE" in names


def test_only_the_installed_packages_are_found(clean, run):
    found = run(
        "python", "-c", "import admint, models, serving; print(admint.__file__, models.__file__, serving.__file__)"
    )
    assert found.returncode == 0, found.stderr
    assert all(Path(file).is_relative_to(clean) for file in found.stdout.split())


def test_the_command_and_the_module_work_from_an_empty_folder(run):
    helped = run("admint", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "pipeline" in helped.stdout
    listed = run("python", "-c", "import admint; print([profile.name for profile in admint.profiles()])")
    assert "'sketch'" in listed.stdout, listed.stderr


def test_the_installed_command_makes_an_ad(run, tmp_path):
    flags = ("--recipe", "express", "--profile", "sketch", "--duration", 9, "--scenes", 2, "--seed", 5)
    made = run("admint", "pipeline", "--prompt", PROMPT, *flags, "--output", "ad", "--full-pipeline", "--json")
    assert result(made)["status"] == "completed"
    assert (tmp_path / "ad" / "final.mp4").stat().st_size > 0
    manifest = json.loads((tmp_path / "ad" / "run.json").read_text())["manifest"]
    assert not [note for note in manifest["notes"] if "UNTRAINED" in note], "the trained weights must be in the wheel"


def test_the_installed_module_works_inside_a_running_event_loop_as_in_a_notebook(run):
    ran = run("python", "-c", NOTEBOOK)
    assert ran.stdout.split() == ["generation_started", "generation_interrupted", "Cancelled"], ran.stderr


def test_a_project_with_a_models_folder_of_its_own_is_told_how_to_use_the_installed_module(run, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("")
    ran = run("python", "-c", "import admint; admint.models()")
    assert f"ShadowedPackage: '{tmp_path / 'models'}' is found before AdMint's own package 'models'" in ran.stderr
    assert run("admint", "models", "list").returncode == 0


def test_a_type_checker_knows_the_types_of_the_installed_module(clean, tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", clean / "bin" / "python", "client.py"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    said = checked.stdout.replace('"', "'")
    assert said.count("error:") == 1, said
    assert "client.py:8: error: Argument 'aspect_ratio' to 'generate' has incompatible type" in said
    for known in ("'admint.Event'", "'tuple[admint.Score, ...]'", "'str'"):
        assert f"Revealed type is {known}" in said.replace("builtins.", "")
