"""Dockerfile.gpu, as far as a container's safety shows in its text. (hadolint 2.15 finds nothing to say of it.)"""

import re
import shlex
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.dockerfile import FINAL, LINES, ROOT, health_command, image_command, image_environment, values

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGET = {"platform_machine": "x86_64", "sys_platform": "linux", "python_version": "3.11", "platform_system": "Linux"}


def test_every_base_can_be_pinned_by_its_digest():
    assert {name.split()[0] for name in values("FROM")} == {"${PYTHON_IMAGE}"}
    assert ":latest" not in "".join(LINES)
    assert not values("ADD")


def test_packages_can_be_pinned_by_their_hashes():
    assert "REQUIREMENTS=requirements/gpu.txt" in values("ARG")
    assert any("pip install -r requirements.txt" in line for line in values("RUN"))


def test_the_image_runs_as_a_user_of_its_own_by_number():
    (user,) = values("USER", FINAL)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert FINAL.index(f"USER {user}") < min(index for index, line in enumerate(FINAL) if line.startswith("ENTRYPOINT"))


def test_no_build_tool_and_no_downloader_is_left_in_the_image():
    said = " ".join(values("RUN", FINAL))
    assert not {"build-essential", "curl", "wget", "git"} & set(shlex.split(said))
    assert "COMPILER" in said  # Triton's, which can be left out


def test_health_is_whether_the_process_answers_and_sigterm_ends_it():
    command = health_command()
    assert command[0] == "python"
    assert "/healthz" in command[2]
    assert values("STOPSIGNAL", FINAL) == ["SIGTERM"]


def test_no_secret_is_baked_in():
    assert not re.search(r"(?i)(secret|password|token|key)\s*=\s*\S{16}", " ".join(LINES))


def test_what_libraries_cache_needs_no_writable_image():
    (set_here,) = values("ENV", FINAL)
    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert re.search(rf"\b{name}=/tmp/", set_here), name


def test_the_command_is_the_script_of_the_project_and_finds_its_folders():
    """The same command is started as a process by tests/e2e/test_profiles_start.py."""
    assert image_command()[0] in PROJECT["project"]["scripts"]
    assert image_environment()["ADMINT_HOME"] in values("VOLUME", FINAL)
    assert image_environment()["PATH"].split(":")[0] == "/opt/admint/bin"


def test_what_is_built_in_the_image_is_all_that_the_project_is_built_from():
    copied = {word for value in values("COPY", LINES) for word in shlex.split(value)[:-1] if not word.startswith("-")}
    wanted = {"pyproject.toml", PROJECT["project"]["readme"], "LICENSE"}
    wanted |= {f"{module}.py" for module in PROJECT["tool"]["setuptools"]["py-modules"]}
    wanted |= {pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert wanted <= copied
    assert all((ROOT / name).exists() for name in wanted)


def test_the_pinned_set_satisfies_every_requirement_of_the_base_and_of_the_extra_gpu():
    """Its installation in an empty environment brings gigabytes of CUDA, so that its text is checked instead."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements" / "gpu.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]  # a line that is no requirement, such as a host, raises
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) and pin.url is None for pin in pins)
    pinned = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    assert len(pinned) == len(pins)
    extras = PROJECT["project"]["optional-dependencies"]
    for text in (*PROJECT["project"]["dependencies"], *extras["gpu"], *extras["server"]):
        wanted = Requirement(text)
        if wanted.name == "admint" or (wanted.marker is not None and not wanted.marker.evaluate(TARGET)):
            continue
        version = pinned.get(canonicalize_name(wanted.name))
        assert version is not None, f"requirements/gpu.txt lacks {text}"
        assert wanted.specifier.contains(version), f"requirements/gpu.txt pins {wanted.name} {version}: {text}"
