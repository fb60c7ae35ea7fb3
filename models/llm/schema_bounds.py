"""Whether a stranger's JSON schema can be compiled in bounded time, found out where it can be stopped.

A schema of 2 kB can take a minute (40 strings of different `maxLength`; measured with xgrammar 0.2.8 and 2,570 tokens),
and xgrammar cannot be interrupted. So what is plainly too much is refused by its size, and what is not plainly small is
compiled in a helper program first, in a fork that ends after CPU_SECONDS. The helper, `python -m
models.llm.schema_bounds`, starts with the first such schema and ends when it has had nothing to do for IDLE_SECONDS.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from models.errors import InferenceFailed, InvalidRequest

PROGRAM = "models.llm.schema_bounds"
"""This module, which `Trial` runs."""
if TYPE_CHECKING:
    import xgrammar  # with torch: read where sizes are checked, loaded where schemas are compiled

FIELD = "response_format.json_schema"
"""Of a chat call."""
MAX_BYTES = 32 * 1024
MAX_PARTS = 500
"""Objects within the schema, itself included."""
MAX_DEPTH = 32
MAX_CHOICES = 1000
"""Values of one `enum`, fields of one object, alternatives of one `anyOf`."""
MAX_COUNTS = 12
"""Different pairs of `minLength` and `maxLength`, each of which is half a second of compilation."""
SMALL_PARTS, SMALL_DEPTH, SMALL_COUNTS = 60, 8, 4
"""Up to these a schema is compiled without being tried first: the agents' own are."""
CPU_SECONDS = 2
"""Of a compilation."""
WALL_SECONDS = 15.0
START_SECONDS = 120.0
IDLE_SECONDS = 60.0
MEMORY_BYTES = 4 * 1024**3
_TOO_SLOW = f"the JSON schema takes more than {CPU_SECONDS} s to compile: give it fewer fields, lengths and patterns"


def check_size(schema: dict[str, Any]) -> None:
    """Raises InvalidRequest for a schema that is larger, deeper or wider than any answer needs."""
    size = len(json.dumps(schema))
    if size > MAX_BYTES:
        raise InvalidRequest(f"the JSON schema has {size} characters: at most {MAX_BYTES}", FIELD)
    parts = list(_parts(schema))
    if len(parts) > MAX_PARTS:
        raise InvalidRequest(f"the JSON schema has {len(parts)} parts: at most {MAX_PARTS}", FIELD)
    if max(depth for _, depth in parts) > MAX_DEPTH:
        raise InvalidRequest(f"the JSON schema is nested deeper than {MAX_DEPTH}", FIELD)
    if len(_counted(parts)) > MAX_COUNTS:
        raise InvalidRequest(
            f"the JSON schema has more than {MAX_COUNTS} different lengths of texts: round them", FIELD
        )
    for part, _ in parts:
        for name, value in part.items():
            if isinstance(value, dict | list) and len(value) > MAX_CHOICES:
                raise InvalidRequest(
                    f"{name!r} in the JSON schema has {len(value)} values: at most {MAX_CHOICES}", FIELD
                )


def is_small(schema: dict[str, Any]) -> bool:
    """Whether it compiles in a moment whatever is in it."""
    parts = list(_parts(schema))
    is_plain = not any({"pattern", "format", "patternProperties"} & part.keys() for part, _ in parts)
    depth = max(depth for _, depth in parts)
    return is_plain and len(parts) <= SMALL_PARTS and depth <= SMALL_DEPTH and len(_counted(parts)) <= SMALL_COUNTS


def _counted(parts: Sequence[tuple[dict[str, Any], int]]) -> set[tuple[str, str]]:
    """The different bounds of texts' lengths."""
    return {(str(part.get("minLength")), str(part.get("maxLength"))) for part, _ in parts} - {("None", "None")}


def _parts(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Every object within the schema with its depth, without recursion: it may be as deep as its text allows."""
    left: list[tuple[Any, int]] = [(schema, 1)]
    while left:
        here, depth = left.pop()
        if isinstance(here, dict):
            yield here, depth
            left.extend((each, depth + 1) for each in here.values())
        elif isinstance(here, list):
            left.extend((each, depth) for each in here)


class Trial:
    """Compiles schemas for one tokenizer in the helper program, only to see whether that ends."""

    def __init__(self, tokens: xgrammar.TokenizerInfo) -> None:
        self._tokens = tokens
        self._helper: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()

    def check(self, text: str) -> None:
        """Raises InvalidRequest for a schema that takes too long or cannot be compiled; InferenceFailed."""
        with self._asking:
            for _ in range(2):  # one that ended for want of work is started again
                answer = self._asked(text)
                if answer is not None:
                    break
            else:
                raise InferenceFailed("JSON schemas cannot be tried at the moment: try again later")
        if answer != "compiled":
            reason = _TOO_SLOW if answer == "stopped" else f"the JSON schema cannot be compiled: {answer}"
            raise InvalidRequest(reason, FIELD)

    def _asked(self, text: str) -> str | None:
        """What the helper says: compiled, stopped, or what is wrong with the schema; None: it is gone."""
        if self._helper is None or self._helper.poll() is not None:
            self._helper = self._started()
        line = _exchanged(self._helper, json.dumps(text), WALL_SECONDS)
        if line is None:
            self._helper.kill()
            self._helper.wait()
        return line

    def _started(self) -> subprocess.Popen[str]:
        helper = subprocess.Popen(  # noqa: S603  (our own module)
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server
        )
        weakref.finalize(self, _end, helper)
        _exchanged(helper, self._tokens.serialize_json(), START_SECONDS)
        return helper


def _exchanged(helper: subprocess.Popen[str], line: str, seconds: float) -> str | None:
    """What the helper answers to a line; None when it is gone or does not answer in time."""
    if helper.stdin is None or helper.stdout is None:
        return None
    try:
        helper.stdin.write(line + "\n")
        helper.stdin.flush()
    except OSError:
        return None
    if not _readable(helper.stdout, seconds):
        return None
    said = helper.stdout.readline()
    return str(json.loads(said)) if said else None


def _readable(stream: IO[str], seconds: float) -> bool:
    """Whether something comes within so long. `select` would know 1,024 descriptors only."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def _end(helper: subprocess.Popen[str]) -> None:
    helper.kill()
    for stream in (helper.stdin, helper.stdout):
        if stream is not None:
            stream.close()
    helper.wait()


# --- the helper program -----------------------------------------------------------------------------------------------


def _serve() -> None:
    import xgrammar

    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo.deserialize_json(sys.stdin.readline()), max_threads=1, cache_enabled=False
    )
    _say("ready")
    while _readable(sys.stdin, IDLE_SECONDS) and (line := sys.stdin.readline()):
        _say(_compiled_in_a_fork(compiler, json.loads(line)))


def _compiled_in_a_fork(compiler: xgrammar.GrammarCompiler, text: str) -> str:
    reader, writer = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            try:
                compiler.compile_json_schema(text, any_whitespace=False)
                os.write(writer, b"compiled")
            except (RuntimeError, ValueError) as error:
                os.write(writer, str(error)[:300].encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(fork, 0)
    return said.decode(errors="replace") or "stopped"


def _say(text: str) -> None:
    print(json.dumps(text), flush=True)


if __name__ == "__main__":
    _serve()
