"""The program that decodes uploads: `python -m serving.gateway.decoding.process`, one socket as its stdin.

It stays single-threaded and forks for every file. The fork gets hard limits, decodes, writes its answer into a pipe and
ends; a file that eats memory, hangs or crashes its decoder takes that fork with it and nothing else. A fork has nothing
of the server's environment and can open no file and no socket. `decoders.py` starts and asks it.
"""

from __future__ import annotations

import importlib
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
from typing import NoReturn

from PIL import Image, ImageOps, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from pipelines.errors import BadInput
from pipelines.uploads import MIN_SIDE, check_video, read_mask, read_reference
from serving.gateway.decoding.decoders import CPU_SECONDS, MEMORY_BYTES, WALL_SECONDS, Verdict, receive, send

PICTURES = (ImageOps, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""What Pillow would only load when a file needs it, which is too late in a fork; `_load` loads the rest."""
MAX_ANSWER = 64 * 1024 * 1024
"""A PNG of 2048 x 2048 has at most 13 MB."""
_VERDICTS: tuple[Verdict, ...] = ("read", "refused", "stopped")
Job = Callable[[bytes, str], bytes]


def _check_video(data: bytes, name: str) -> bytes:
    check_video(data, name)
    return b""


JOBS: Mapping[str, Job] = {"reference": read_reference, "mask": read_mask, "video": _check_video}
_NEEDS = {"video": ("av", "av.subtitles.stream")}
"""What only some jobs need, and what it would load later itself: loaded before the first of them."""


def answer_all(line: socket.socket, jobs: Mapping[str, Job]) -> None:
    """Answer one request after the other, until the server is gone."""
    while (request := receive(line)) is not None:
        about, data = request
        for library in _NEEDS.get(about["job"], ()):
            importlib.import_module(library)
        verdict, result = _in_a_fork(jobs[about["job"]], data, about["name"])
        message = result.decode() if verdict == "refused" else ""
        send(line, {"verdict": verdict, "message": message}, result if verdict == "read" else b"")


def _load() -> None:
    """Import everything that decoding a picture needs, by decoding one: in a fork it would be too late."""
    Image.preinit()
    tiny = io.BytesIO()
    Image.new("RGBA", (MIN_SIDE, MIN_SIDE)).save(tiny, "PNG")
    read_mask(tiny.getvalue(), "tiny.png")


def _in_a_fork(job: Job, data: bytes, name: str) -> tuple[Verdict, bytes]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(job, data, name, writer)
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


def _work(job: Job, data: bytes, name: str, writer: int) -> NoReturn:
    """Decode in the fork, and end it: one byte of verdict is written, then the result or the message."""
    try:
        _limit()
        try:
            answer = b"\x00" + job(data, name)
        except BadInput as error:
            answer = b"\x01" + str(error).encode(errors="replace")
        view = memoryview(answer)
        while view:
            view = view[os.write(writer, view) :]
    finally:
        os._exit(0)  # no answer, no traceback: nothing of the file reaches a log


def _limit() -> None:
    signal.alarm(WALL_SECONDS)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
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
