"""How a command that runs until it is told is told: SIGTERM, Ctrl-C, a closed terminal.

The first signal asks for an orderly end; a second Ctrl-C ends the process at once, which loses nothing that is stored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 0.5
"""A second Ctrl-C sooner than this is an echo: a terminal and a wrapper (`uv run`, `make`) both send the first one."""
INTERRUPTED = 128 + signal.SIGINT


class Stop:
    """Whether this process has been asked to end."""

    def __init__(self) -> None:
        self.by: int | None = None
        """The signal that asked first."""
        self._since = 0.0
        self._asked = threading.Event()
        self._then: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def listen(self, then: Callable[[], object] | None = None) -> None:
        """Hear the signals from now on, in place of whoever heard them; call `then` at the first one.

        A signal that the process was started to ignore stays so, SIGINT apart (`nohup` ignores SIGHUP).
        """
        self._then = then
        for number in SIGNALS:
            if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                self._before.setdefault(number, signal.signal(number, self._hear))
        if self.asked and then is not None:
            then()

    def leave(self) -> None:
        """Give the signals back to whoever heard them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait to be asked, at most so long; whether it was."""
        return self._asked.wait(seconds)

    def ask(self, number: int) -> None:
        """As if the signal had come."""
        if self.asked:
            return
        self.by, self._since = number, time.monotonic()
        self._asked.set()
        if self._then is not None:
            self._then()

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, as shells expect; else 0."""
        return INTERRUPTED if self.by == signal.SIGINT else 0

    def _hear(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked and time.monotonic() - self._since > AGAIN_SECONDS:
            os._exit(INTERRUPTED)
        self.ask(number)
