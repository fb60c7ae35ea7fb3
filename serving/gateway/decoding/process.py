"""The program that decodes uploads: `python -m serving.gateway.decoding.process`, one socket as its stdin.

It stays single-threaded and forks for every file. The fork gets hard limits, decodes, writes its answer into a pipe and
ends; a file that eats memory, hangs or crashes its decoder takes that fork with it and nothing else. A fork has nothing
of the server's environment and can open no file and no socket. `decoders.py` starts and asks it.
"""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from PIL import AvifImagePlugin, Image, ImageChops, ImageCms, ImageOps, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from pipelines.errors import BadInput
from pipelines.uploads import MIN_SIDE, kind_of, read_mask, read_reference, reads_heic
from serving.gateway.decoding.decoders import CPU_SECONDS, MEMORY_BYTES, WALL_SECONDS, Verdict, receive, send

PICTURES = (AvifImagePlugin, ImageChops, ImageCms, ImageOps, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""What Pillow would only load when a file needs it, which is too late in a fork; `_load` loads the rest."""
MAX_ANSWER = 64 * 1024 * 1024
"""A PNG of 2048 x 2048 has at most 13 MB."""
_VERDICTS: tuple[Verdict, ...] = ("read", "refused", "stopped")
Job = Callable[[bytes, str, Any], bytes]
"""From a file, its name and what it is to the caller (`pipelines.uploads.What`) to a PNG."""
JOBS: Mapping[str, Job] = {
    "reference": read_reference,
    "mask": read_mask,
    "mask of holes": partial(read_mask, clear="repainted"),
}


def answer_all(line: socket.socket, jobs: Mapping[str, Job]) -> None:
    """Answer one request after the other, until the server is gone."""
    while (request := receive(line)) is not None:
        about, data = request
        verdict, result = _in_a_fork(partial(jobs[about["job"]], data, about["name"], about["what"]), kind_of(data))
        message = result.decode() if verdict == "refused" else ""
        send(line, {"verdict": verdict, "message": message}, result if verdict == "read" else b"")


def _load() -> None:
    """Import everything that decoding a picture needs, by decoding one: in a fork it would be too late."""
    Image.preinit()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a fork can start none
    if reads_heic():
        import pi_heif

        pi_heif.options.DECODE_THREADS = 0  # of its tiles
    tiny = io.BytesIO()
    Image.new("RGBA", (MIN_SIDE, MIN_SIDE)).save(tiny, "PNG")
    read_mask(tiny.getvalue(), "tiny.png")


def _in_a_fork(job: Callable[[], bytes], kind: str | None) -> tuple[Verdict, bytes]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(job, kind, writer)
    os.close(writer)
    try:
        answer = _until_closed(reader)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # it is over, or it is too late
        os.waitpid(child, 0)
    if not answer:
        return "stopped", b""
    return _VERDICTS[answer[0]], answer[1:]


def _work(job: Callable[[], bytes], kind: str | None, writer: int) -> NoReturn:
    """Decode in the fork, and end it: one byte of verdict is written, then the result or the message."""
    try:
        _limit(may_start_threads=kind == "HEIF")
        try:
            answer = b"\x00" + job()
        except BadInput as error:
            answer = b"\x01" + str(error).encode(errors="replace")
        view = memoryview(answer)
        while view:
            view = view[os.write(writer, view) :]
    finally:
        os._exit(0)  # no answer, no traceback: nothing of the file reaches a log


def _limit(may_start_threads: bool) -> None:
    """Give this process its limits. libde265, which reads HEIC where it is there, needs a thread of its own."""
    signal.alarm(WALL_SECONDS)
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if not may_start_threads:
        limits[resource.RLIMIT_NPROC] = 0
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def _until_closed(reader: int) -> bytes:
    """All that the fork writes before its time is over; nothing when that is too much or comes too late."""
    parts: list[bytes] = []
    until, size = time.monotonic() + WALL_SECONDS, 0
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while (left := until - time.monotonic()) > 0 and size <= MAX_ANSWER:
        if not poll.poll(1000 * left):
            break
        part = os.read(reader, 1024 * 1024)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    return b""


def run(jobs: Mapping[str, Job]) -> None:
    """Run the program on the socket that is its stdin."""
    _load()
    # A server that was killed needs no answer, and its log no traceback.
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as line, suppress(ConnectionError):
        answer_all(line, jobs)


if __name__ == "__main__":
    run(JOBS)
