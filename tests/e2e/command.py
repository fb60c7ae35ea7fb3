"""Runs the `admint` command as a user's shell would: its own process, its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PROMPT = "An ad for a teal steel water bottle on the beach"


def environment() -> dict[str, str]:
    """No hub, warnings as in production. One thread: on a machine with other work, a second one makes models this small
    ten times slower, as each waits spinning for the other."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def admint(
    *arguments: str | Path, cwd: Path | None = None, piped: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`piped` on standard input; `env` beside the variables of every command."""
    command = [sys.executable, "-m", "serving", *map(str, arguments)]
    whole = {**environment(), **(env or {})}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd or REPOSITORY, env=whole, input=piped, check=False
    )


def popen(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serving", *map(str, arguments)]
    whole = {**environment(), **(env or {})}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, env=whole
    )


def result(completed: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object of a tool that was called with --json."""
    assert completed.returncode == 0, completed.stderr
    data: dict[str, Any] = json.loads(completed.stdout)
    return data
