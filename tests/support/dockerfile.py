"""Reads Dockerfile.gpu: its instructions, and the command that its image runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "Dockerfile.gpu").read_text().replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
FINAL = LINES[max(index for index, line in enumerate(LINES) if line.startswith("FROM ")) :]
"""Of the image's last stage."""


def values(instruction: str, lines: list[str] = LINES) -> list[str]:
    """What stands after each `instruction`, in order."""
    return [line.split(None, 1)[1].strip() for line in lines if line.split(None, 1)[0] == instruction]


def image_command() -> list[str]:
    """ENTRYPOINT and CMD of the image, as the container runs them."""
    (entry,), (command,) = values("ENTRYPOINT", FINAL), values("CMD", FINAL)
    return [*json.loads(entry), *json.loads(command)]


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    pairs = (word.split("=", 1) for value in values("ENV", FINAL) for word in shlex.split(value))
    return {name: value for name, value in pairs}


def health_command() -> list[str]:
    """What the container's health is asked by."""
    (health,) = values("HEALTHCHECK", FINAL)
    command: list[str] = json.loads(health.split("CMD", 1)[1])
    return command
