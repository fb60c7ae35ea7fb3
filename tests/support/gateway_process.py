"""The gateway as a process of its own, so that it can be killed and come back.

All of it is the shipped code but the engines, which draw at once. While the file `hold` lies in its folder they stay at
their denoising step, as a large model does.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support.ad_server import SpeakingStudios
from tests.support.gateway_server import Studio, serve
from tests.support.program import Program, free_port

LIFE_SECONDS = 3600.0
"""A gateway ends by then, also when whoever started it died and cannot end it."""


class HeldStudio(Studio):
    """Engines that wait while a file is there, and hear a cancel meanwhile."""

    def __init__(self, hold: Path) -> None:
        super().__init__()
        self._hold = hold
        self._pause = threading.Event()

    def run(self, request, watcher):
        while self._hold.exists():
            watcher.step(1, request.num_inference_steps)
            self._pause.wait(0.02)
        super().run(request, watcher)


@dataclass
class GatewayProcess:
    """A gateway that runs until it is killed; another one in the same folder goes on with its work."""

    folder: Path
    port: int
    program: Program
    key: str
    """API key of an admin."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    def stop(self) -> None:
        """In order: what runs goes back to wait in the store."""
        self.program.terminate()
        self.program.end()

    def kill(self) -> None:
        """As when the machine dies."""
        self.program.kill()


def start_gateway(folder: Path, port: int | None = None, max_files: int | None = None) -> GatewayProcess:
    """Returns when it listens. A free port without `port`. `max_files`: its limit of open files."""
    chosen = port or free_port()
    limited = [] if max_files is None else ["sh", "-c", f'ulimit -n {max_files}; exec "$@"', "sh"]
    program = Program([*limited, sys.executable, "-m", "tests.support.gateway_process", folder, str(chosen)])
    told = json.loads(program.until_says('{"key": '))
    return GatewayProcess(folder, chosen, program, told["key"])


def _main(folder: Path, port: int) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with serve(folder, loader=SpeakingStudios(HeldStudio(folder / "hold")), port=port) as server:
        print(json.dumps({"key": server.key}), flush=True)
        ended.wait(LIFE_SECONDS)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
