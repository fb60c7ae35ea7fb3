"""How many files a reader opens to follow one request: seven traces of real runs, and the import graph of the folders.

`python -m benchmarks.house` prints a table and writes `benchmarks/results/house.json`. The traces run the shipped code
under `sys.setprofile`: a request over HTTP against the gateway of the test suite (small engines, everything else as
served) and one `admint pipeline` with the embedded models. Counted are files of this repository that are entered, the
functions in them, and distinct pairs of caller's and called file. Code that runs while a module is imported is not
counted, nor are migrations, templates, and the registration of command-line flags.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "models", "pipelines", "quality", "serving")
NOT_SHIPPED = "models/sketch/training"
UNCOUNTED = ("pipelines/store/migrations", NOT_SHIPPED)
FLAGS = "serving/cli/options.py"
"""Only entered while flags are registered."""
RESULTS = ROOT / "benchmarks/results/house.json"
BARS = {"generation, row only": 32, "generation with a picture and a key": 35, "admint pipeline": 98}
MODULES_BAR = 215
BRIEF = {"prompt": "an ad for a steel water bottle", "duration": 9, "num_scenes": 2, "seed": 1}


@dataclass
class Trace:
    """What was entered while a trace was recording."""

    recording: bool = False
    files: set[str] = field(default_factory=set)
    functions: set[tuple[str, str, int]] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """For `sys.setprofile`, in every thread."""
        if not self.recording or event != "call":
            return
        name = _ours(frame)
        if name is None:
            return
        self.files.add(name)
        self.functions.add((name, frame.f_code.co_qualname, frame.f_code.co_firstlineno))
        caller = frame.f_back
        while caller is not None and _ours(caller) is None:
            caller = caller.f_back
        if caller is not None and (before := _ours(caller)) and before != name:
            self.pairs.add((before, name))

    @contextmanager
    def record(self) -> Iterator[None]:
        self.recording = True
        try:
            yield
        finally:
            self.recording = False

    def row(self) -> dict[str, Any]:
        both = sum((b, a) in self.pairs for a, b in self.pairs) // 2
        return {
            "files": len(self.files),
            "functions": len(self.functions),
            "file pairs": len(self.pairs),
            "pairs both ways": both,
            "entered": sorted(self.files),
        }


def _ours(frame: FrameType) -> str | None:
    """Path below the repository of a counted file of ours; None for anything else."""
    path = frame.f_code.co_filename
    if not path.startswith(f"{ROOT}/") or frame.f_code.co_name == "<module>":
        return None
    name = path[len(f"{ROOT}/") :]
    if not name.startswith(tuple(f"{package}/" for package in PACKAGES)) or name.startswith(UNCOUNTED):
        return None
    return None if name == FLAGS else name


@contextmanager
def profiled() -> Iterator[Trace]:
    """A trace that sees this thread and all threads started from now on."""
    trace = Trace()
    threading.setprofile(trace.profile)
    sys.setprofile(trace.profile)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def over_http(folder: Path, ask: Callable[[Any], None], working: bool) -> Trace:
    """One request, answered by a fresh server; `ask` is given that server."""
    from tests.support.ad_server import SpeakingServer

    with profiled() as trace, SpeakingServer(folder, working=working) as server:
        with trace.record():
            ask(server)
        return trace


def _expect(answer: Any, status: int) -> None:
    if answer.status_code != status:
        raise RuntimeError(f"{answer.request.url} answered {answer.status_code}, not {status}: {answer.text[:300]}")


def _post_generation(server: Any) -> None:
    answer = server.http.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF})
    _expect(answer, 202)


def _post_with_picture(server: Any) -> None:
    from tests.support.tiny_models import png

    answer = server.http.post(
        "/api/v1/generations",
        data={"recipe": "express", "brief": json.dumps(BRIEF)},
        files={"references": ("product.png", png(1).data, "image/png")},
        headers={"Idempotency-Key": "house"},
    )
    _expect(answer, 202)


def _post_story(server: Any) -> None:
    fields = {"prompt": BRIEF["prompt"], "title": "Dew", "brand_name": "Dew"}
    answer = server.http.post("/api/master-mode/generate-story", json=fields, headers={"Prefer": "respond-async"})
    _expect(answer, 202)


def _start_session(server: Any) -> None:
    from tests.support.session_client import Client

    client: Any = Client(server.http)
    client.start()


def _draw_image(server: Any) -> None:
    answer = server.http.post("/v1/images/generations", json={"prompt": "a red mug", "n": 1, "seed": 1})
    _expect(answer, 200)


def _finish_generation(server: Any) -> None:
    from tests.support import ad_server

    wait: Any = ad_server.until
    answer = server.http.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF})
    wait(server.http, answer.json()["id"], "completed")


def command_line(folder: Path) -> Trace:
    """`admint pipeline`: two scenes, nine seconds, three references, to `final.mp4`."""
    from serving.cli import main

    references = ROOT / "examples/water-bottle/references"
    arguments = (
        *("pipeline", "--prompt", str(BRIEF["prompt"]), "--reference-images", str(references), "--recipe", "master"),
        *("--duration", "9", "--scenes", "2", "--seed", "7", "--output", str(folder / "ad"), "--full-pipeline"),
    )
    before = sys.argv
    sys.argv = ["admint", *arguments]
    with profiled() as trace:
        try:
            with trace.record():
                main()
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"admint pipeline ended with {ended.code}") from ended
        finally:
            sys.argv = before
    return trace


HTTP: dict[str, tuple[Callable[[Any], None], bool]] = {
    "generation, row only": (_post_generation, False),
    "generation with a picture and a key": (_post_with_picture, False),
    "master mode story, respond-async": (_post_story, False),
    "interactive session, worker beside it": (_start_session, True),
    "one image": (_draw_image, False),
    "generation to final.mp4": (_finish_generation, True),
}
"""What is asked, and whether a worker runs beside the gateway."""


def shipped_modules() -> list[Path]:
    """Modules that the wheel holds, without `__init__` files of three lines or fewer, and without migrations."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [
        path
        for path in found
        if not str(path.relative_to(ROOT)).startswith(UNCOUNTED) and len(path.read_text().splitlines()) > 3
    ]


def both_ways() -> list[str]:
    """Pairs that import each other: folders of modules, and by itself a module that lies beside folders."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in shipped_modules()}
    arrows = set()
    for path in modules.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for name in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]:
                if name in modules and _room(modules[name]) != _room(path):
                    arrows.add((_room(path), _room(modules[name])))
    return sorted(f"{a} <-> {b}" for a, b in arrows if a < b and (b, a) in arrows)


def _room(path: Path) -> str:
    folder = path.parent
    inner = any((below / "__init__.py").exists() for below in folder.iterdir() if below.is_dir())
    return (path if inner else folder).relative_to(ROOT).as_posix()


def measure(names: list[str]) -> dict[str, Any]:
    rows = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="admint-house-") as folder:
            trace = command_line(Path(folder)) if name == "admint pipeline" else over_http(Path(folder), *HTTP[name])
        rows[name] = trace.row()
        bar = f"bar {BARS[name]}" if name in BARS else ""
        counts = " ".join(f"{rows[name][key]:>6}" for key in ("files", "functions", "file pairs", "pairs both ways"))
        print(f"{name:<40} {counts} {bar}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__)
    every = [*HTTP, "admint pipeline"]
    parser.add_argument("traces", nargs="*", help=f"which of: {', '.join(every)} (default: all)")
    chosen = parser.parse_args().traces or every
    print(f"{'trace':<40} {'files':>6} {'funct.':>6} {'pairs':>6} {'both':>6}")
    rows = measure(chosen)
    modules, both = len(shipped_modules()), both_ways()
    print(f"shipped modules: {modules} (bar {MODULES_BAR})")
    print(f"import each other: {', '.join(both) or 'none'}")
    if chosen == every:
        counts = {"shipped_modules": modules, "both_ways": both}
        result = {"date": date.today().isoformat(), "traces": rows, **counts}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
