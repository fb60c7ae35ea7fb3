"""Uploads decoded outside of this process: by a few helper programs, each of which decodes one file at a time.

Those for pictures start with the first upload, stay for the next ones, and are replaced when they die; a video has a
program of its own (`pipelines.uploaded_videos`). What a file can do to them is in `process.py`; to this process it can
do nothing but answer or not.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from models.interfaces import Unwatched
from pipelines.errors import BadInput
from pipelines.runtime.lanes import StoppableWatcher
from pipelines.uploaded_videos import check_video
from pipelines.uploads import What
from serving.errors import NotReady, QueueFull, Undecodable

PROGRAM = "serving.gateway.decoding.process"
CPU_SECONDS = 10
"""CPU time that one file may take."""
WALL_SECONDS = 20
MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of the process that decodes one file, the program's own (0.13 GB) included."""
AT_ONCE = 2
WAITING = 64
"""Files that wait beyond those at work, each of at most an upload's size; more are refused."""
VIDEOS_WAITING = 8
"""The same for videos, of which one is decoded at a time: they are large, and no picture waits behind them."""
SILENCE_SECONDS = WALL_SECONDS + 40.0
"""A program that does not answer for so long is given up. Its own limits end a file long before; its start counts."""
Job = Literal["reference", "mask", "mask of holes"]
"""A picture; a mask whose clear parts are kept; one whose clear parts are repainted."""
Verdict = Literal["read", "refused", "stopped"]
"""Of a file: read; not usable, and the message says why; its decoder was ended by a limit or by a crash."""
Decoded = TypeVar("Decoded")
_HEAD = struct.Struct("!II")
_PART = 1024 * 1024


class Turns:
    """A few slots that owners use by turns, so that nobody's many uploads keep another's only one waiting."""

    def __init__(self, slots: int, refusal: QueueFull) -> None:
        """`refusal` is raised when too many wait."""
        self._free = slots
        self._refusal = refusal
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, by owner; the owner whose turn is next comes first."""

    async def take(self, owner: str, waiting: int) -> None:
        """Wait for a slot; `leave` gives it back. Raises QueueFull when `waiting` wait already, but for an owner who
        has less than their share of that.
        """
        if self._free:
            self._free -= 1
            return
        mine = self._queues.get(owner, ())
        share = max(1, waiting // (len(self._queues) + (0 if mine else 1)))
        if sum(map(len, self._queues.values())) >= waiting and len(mine) >= share:
            raise self._refusal
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot came in this moment
                self.leave()
            raise

    def leave(self) -> None:
        """Give a slot to the owner whose turn it is."""
        while self._queues:
            owner, queue = next(iter(self._queues.items()))
            del self._queues[owner]
            turn = queue.popleft()
            if queue:
                self._queues[owner] = queue  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Decoders:
    """The decoder programs of one gateway process. `close` ends them."""

    def __init__(self, program: str = PROGRAM) -> None:
        """`program`: a module that answers as `process.py` does."""
        self._program = program
        self._threads = ThreadPoolExecutor(AT_ONCE, "decoder")
        self._video_thread = ThreadPoolExecutor(1, "video-decoder")
        self._mine = threading.local()
        self._all: set[_Program] = set()
        self._turns = Turns(AT_ONCE, QueueFull("too many uploads are being decoded: try again in a moment", 1))
        self._video_turns = Turns(1, QueueFull("too many videos are being decoded: try again in a moment", 5))
        self._videos: set[threading.Event] = set()
        self._closed = False

    async def read(self, job: Job, data: bytes, name: str, what: What = "reference image", owner: str = "") -> bytes:
        """The picture re-encoded by `pipelines.uploads`, as PNG; errors call it `what` and `name`.

        Owners take turns. Raises BadInput for a file that cannot be used, Undecodable for one whose decoder did not
        survive it, QueueFull, NotReady.
        """
        await self._turns.take(owner, WAITING)
        return await self._done(self._turns, self._threads, lambda: self._read(job, data, name, what))

    async def _done(self, turns: Turns, threads: ThreadPoolExecutor, work: Callable[[], Decoded]) -> Decoded:
        """Do `work` in a thread, in a slot that was taken: free when it ends, also when its caller went away."""
        try:
            done = threads.submit(work)
        except RuntimeError:  # closed meanwhile
            turns.leave()
            raise NotReady("uploads cannot be decoded at the moment: try again later") from None
        loop = asyncio.get_running_loop()
        done.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(turns.leave))
        return await asyncio.wrap_future(done)

    async def check_video(self, data: bytes, name: str, owner: str = "") -> tuple[float, ...]:
        """When each frame of a video that may be scored is shown, in seconds. Raises BadInput, QueueFull."""
        stop = threading.Event()
        self._videos.add(stop)
        watcher = StoppableWatcher(stop, Unwatched())
        try:
            await self._video_turns.take(owner, VIDEOS_WAITING)
            return await self._done(self._video_turns, self._video_thread, lambda: check_video(data, name, watcher))
        finally:
            stop.set()  # who hung up waits for nothing
            self._videos.discard(stop)

    def close(self) -> None:
        self._closed = True
        for stop in tuple(self._videos):
            stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._video_thread.shutdown(wait=False, cancel_futures=True)
        for program in tuple(self._all):
            program.end()
        self._all.clear()

    def _read(self, job: Job, data: bytes, name: str, what: What) -> bytes:
        """Ask the program of this thread. One that died between two files is replaced once."""
        for _ in range(2):
            if self._closed:
                break
            program = self._program_of_this_thread()
            try:
                return program.ask(job, data, name, what)
            except OSError:
                self._all.discard(program)
                program.end()
                del self._mine.program
        raise NotReady("uploads cannot be decoded at the moment: try again later")

    def _program_of_this_thread(self) -> _Program:
        if not hasattr(self._mine, "program"):
            self._mine.program = _Program(self._program)
            self._all.add(self._mine.program)
        found: _Program = self._mine.program
        return found


class _Program:
    """A running decoder (`process.py`) and the socket to it. It gets nothing of this process's environment."""

    def __init__(self, module: str) -> None:
        self._line, theirs = socket.socketpair()
        self._line.settimeout(SILENCE_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  (our own module)
                [sys.executable, "-m", module],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the server, which ends it
            )

    def ask(self, job: Job, data: bytes, name: str, what: What) -> bytes:
        """Decode one file. Raises BadInput, Undecodable; OSError when the program is gone or does not answer."""
        send(self._line, {"job": job, "name": name, "what": what}, data)
        answer = receive(self._line)
        if answer is None:
            raise ConnectionResetError("the decoder ended")
        about, result = answer
        if about["verdict"] == "refused":
            raise BadInput(about["message"])
        if about["verdict"] == "stopped":
            raise Undecodable(
                f"{what} {name!r} could not be decoded within {CPU_SECONDS} s and {MEMORY_BYTES / 2**30:.1f} GB: "
                "save it again in a plain format, or scale it down"
            )
        return result

    def end(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.wait()


def send(line: socket.socket, about: Mapping[str, str], data: bytes) -> None:
    """Write one message: JSON about the file, and its bytes. Raises OSError."""
    text = json.dumps(about).encode()
    line.sendall(_HEAD.pack(len(text), len(data)) + text)
    line.sendall(data)


def receive(line: socket.socket) -> tuple[dict[str, str], bytes] | None:
    """The next message; None when the other side is gone. Raises OSError."""
    head = _exactly(line, _HEAD.size)
    if head is None:
        return None
    text_size, data_size = _HEAD.unpack(head)
    text, data = _exactly(line, text_size), _exactly(line, data_size)
    return None if text is None or data is None else (json.loads(text), data)


def _exactly(line: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = line.recv(min(size - len(data), _PART))
        if not part:
            return None
        data += part
    return bytes(data)
