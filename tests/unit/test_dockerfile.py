"""Dockerfile.gpu, as far as a container's safety shows in its text. (hadolint 2.15 finds nothing to say of it.)"""

import json
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "Dockerfile.gpu").read_text().replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
FINAL = LINES[max(index for index, line in enumerate(LINES) if line.startswith("FROM ")) :]


def values(instruction, lines=LINES):
    return [line.split(None, 1)[1].strip() for line in lines if line.split(None, 1)[0] == instruction]


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
    (health,) = values("HEALTHCHECK", FINAL)
    command = json.loads(health.split("CMD", 1)[1])
    assert command[0] == "python"
    assert "/healthz" in command[2]
    assert values("STOPSIGNAL", FINAL) == ["SIGTERM"]


def test_no_secret_is_baked_in():
    assert not re.search(r"(?i)(secret|password|token|key)\s*=\s*\S{16}", " ".join(LINES))


def test_what_libraries_cache_needs_no_writable_image():
    (set_here,) = values("ENV", FINAL)
    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert re.search(rf"\b{name}=/tmp/", set_here), name
