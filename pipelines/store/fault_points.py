"""Named points between the parts of a durable write at which a test may kill this process, as a power cut would.

In production nothing is set and a point is one look into the environment. `ADMINT_FAULT_POINT=before_commit:3` kills
the process with SIGKILL when it comes to that point for the third time.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Literal

VARIABLE = "ADMINT_FAULT_POINT"
FaultPoint = Literal[
    "before_temp_write",
    "before_temp_sync",
    "before_rename",
    "before_folder_sync",
    "after_folder_sync",
    "in_transaction",
    "before_commit",
    "after_commit",
]
"""In the order of a finished step: its files first (`artifacts.py`), then its rows (`generations.py`).

What one part leaves behind is what the next one finds: after the temporary file is written is `before_rename`, after
the rename is `before_folder_sync`.
"""


class _Countdown:
    """Counts how often the chosen point was reached, by writers in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = 0

    def pass_by(self, wanted: int) -> None:
        with self._lock:
            self._reached += 1
            if self._reached == wanted:
                os.kill(os.getpid(), signal.SIGKILL)


_countdown = _Countdown()


def fault_point(point: FaultPoint) -> None:
    """Kill this process here when the environment says so."""
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        return
    name, _, wanted = chosen.partition(":")
    if name == point:
        _countdown.pass_by(int(wanted))
