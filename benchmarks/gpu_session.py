"""One GPU for a few minutes: full-size models with random weights, made on the device and never read from a disk.

    python -m benchmarks.gpu_session [--only wan-14b sdxl ...] [--budget SECONDS] [--json FILE]
    python -m benchmarks.gpu_session --tiny    rehearsal on a CPU with small configurations: its numbers say nothing

Each row is printed and written as soon as it is known; one that fails says why and the rest goes on; none begins that
cannot end within the budget. Needs the models layer alone: torch, diffusers and transformers, no installed project.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import about
from benchmarks.gpu_measures import Row, deviation, free

SECONDS_TO_MAKE = 15.0
"""What a part's models may take to be made, and its first row to begin."""


class Session:
    """The rows so far, their file, and the time that is left."""

    def __init__(self, tiny: bool, budget: float = math.inf, path: Path | None = None) -> None:
        self.tiny = tiny
        self.device = "cpu" if tiny else "cuda"
        self._about = about(tiny)
        self._rows: list[Row] = []
        self._plain: dict[str, tuple[Row, Any]] = {}
        self._path = path
        self._started = time.monotonic()
        self._budget = budget

    def part(self, name: str, run: Callable[[Session], None]) -> None:
        """Run one part; what fails outside of its rows ends the part, not the session."""
        if not self.has(SECONDS_TO_MAKE):
            return self._note(name, "all rows", {"not_begun": self._too_late(SECONDS_TO_MAKE)})
        try:
            run(self)
        except Exception as error:
            traceback.print_exc()
            self._note(name, "the rest", {"refused": _reason(error)})
        free()

    def row(self, part: str, what: str, needs: float, measure: Callable[[], tuple[Row, Any]]) -> None:
        """Measure one row if `needs` seconds are left for it.

        The first picture of a part is the plain one: speed and pixels of the later ones are held against it. Pixels are
        None where they are not to be compared.
        """
        if not self.has(needs):
            return self._note(part, what, {"not_begun": self._too_late(needs)})
        began = time.monotonic()
        try:
            row, pixels = measure()
            row |= {"speed_up": None} if pixels is None else self._compared(part, row, pixels)
        except Exception as error:
            traceback.print_exc(limit=-4)
            row = {"refused": _reason(error)}
        self._note(part, what, row | {"took_with_warming": time.monotonic() - began})
        free()

    def _compared(self, part: str, row: Row, pixels: Any) -> Row:
        if part not in self._plain:
            self._plain[part] = row, pixels
            return {"contrast": float(pixels.std())}
        plain, plain_pixels = self._plain[part]
        return {
            "speed_up": plain["seconds_per_step"] / row["seconds_per_step"],
            "contrast": float(pixels.std()),
            **deviation(pixels, plain_pixels),
        }

    def has(self, seconds: float) -> bool:
        """Whether so much time is left; a rehearsal has all of it."""
        return self.tiny or self._left() >= seconds

    def _left(self) -> float:
        return self._started + self._budget - time.monotonic()

    def _too_late(self, needs: float) -> str:
        return f"may need {needs:.0f} s and {self._left():.0f} s were left"

    def _note(self, part: str, what: str, row: Row) -> None:
        self._rows.append({"part": part, "what": what, **row})
        print(f"{part}: {what}:", " ".join(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
        if self._path:
            self._path.write_text(json.dumps(self._about | {"rows": self._rows}, indent=2) + "\n")


def _reason(error: Exception) -> str:
    first_line, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first_line[:300]}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    from benchmarks.gpu_session_parts import PARTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds from now until the last row has ended")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.tiny or torch.cuda.is_available()):
        print("nothing was measured: torch sees no CUDA device (--tiny rehearses on the CPU)", file=sys.stderr)
        return 1
    session = Session(arguments.tiny, arguments.budget, arguments.json)
    for name in arguments.only:
        session.part(name, PARTS[name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
