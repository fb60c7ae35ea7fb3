"""Runs the `admint` command as a user's shell would: its own process, its own folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.program import Program, run

REPOSITORY = Path(__file__).parents[2]
PROMPT = "An ad for a teal steel water bottle on the beach"
ADMINT = (sys.executable, "-m", "serving")
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$0" "$@"')
"""Before a command: what a script's `command &` does to it, which is to start it with SIGINT ignored."""


def environment() -> dict[str, str]:
    """No hub, warnings as in production. One thread: on a machine with other work, a second one makes models this small
    ten times slower, as each waits spinning for the other."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def admint(
    *arguments: str | Path, cwd: Path | None = None, piped: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command once it has ended; `piped` on its standard input, `env` beside the variables of every command."""
    return run([*ADMINT, *arguments], cwd=cwd or REPOSITORY, env={**environment(), **(env or {})}, input=piped)


def start_admint(*arguments: str | Path, env: Mapping[str, str] | None = None, in_background: bool = False) -> Program:
    """The command while it runs; `in_background` as a script's `command &` starts it."""
    command = [*(IN_BACKGROUND if in_background else ()), *ADMINT, *arguments]
    return Program(command, cwd=REPOSITORY, env={**environment(), **(env or {})})


def result(completed: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object of a tool that was called with --json."""
    assert completed.returncode == 0, completed.stderr
    data: dict[str, Any] = json.loads(completed.stdout)
    return data
