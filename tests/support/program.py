"""Programs that tests start: what they say is read as they say it, and no wait for them is without a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE_SECONDS, ended, too_late


class Program:
    """A running process; standard error is read together with standard output. `with` it: its end is the process's."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        own_group: bool = False,
    ) -> None:
        """`own_group`: a session of its own, so that `kill` reaches every process that it started."""
        self._own_group = own_group
        self._name = " ".join(str(word) for word in command[1:])
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=env, start_new_session=own_group,
        )  # fmt: skip
        self._lines: list[str] = []
        self._heard = 0
        """Lines that `until_says` has passed."""
        self._more = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.running:
            self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """Everything so far."""
        with self._more:
            return "".join(self._lines)

    def until_says(self, words: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The next line that holds `words`. AssertionError when it ends without one, or when it is too late."""
        with self._more:
            if not self._more.wait_for(lambda: self._over or self._next(words) is not None, seconds):
                raise too_late(f"{words!r} from {self._name!r}; it said: {self.said}", seconds)
            found = self._next(words)
            if found is None:
                raise AssertionError(f"{self._name!r} ended without saying {words!r}; it said: {self.said}")
            self._heard = found + 1
            return self._lines[found]

    def rest(self, seconds: float = PATIENCE_SECONDS) -> str:
        """What it says from the last line that was waited for to its end."""
        self.end(seconds)
        with self._more:
            return "".join(self._lines[self._heard :])

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code once it has ended. AssertionError, and the process killed, when it is too late."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise too_late(f"the end of {self._name!r}; it said: {self.said}", seconds) from None
        ended(self._reader, f"whoever holds the output of {self._name!r} after its end", seconds)
        return code

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """As when the machine dies: nothing of it gets a chance to end in order. Returns when it is dead."""
        if not self._own_group:
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)

    def _next(self, words: str) -> int | None:
        """Index of the first line with `words` that was not passed yet."""
        return next((index for index in range(self._heard, len(self._lines)) if words in self._lines[index]), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._more:
                    self._lines.append(line)
                    self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()


def run(
    command: Sequence[str | Path], seconds: float = PATIENCE_SECONDS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a program to its end, with its output as text. AssertionError when it is too late."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False, **options)
    except subprocess.TimeoutExpired as late:
        said = b"\n".join(part for part in (late.stdout, late.stderr) if part).decode(errors="replace")
        raise too_late(f"the end of {' '.join(words[1:])!r}; it said: {said}", seconds) from None


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
