"""Videos of strangers: picture and sound are decoded in a limited process of its own, by PyAV, with caps that count.

A header promises what it likes (a fragmented MP4 has no frame count at all), and decoders have holes. So this module is
also a program, `python -m pipelines.uploaded_videos`, that reads a file from its stdin, limits itself, decodes, and can
open no file and no socket; other processes only see what it writes. `pipelines.media` reads videos of our own.
"""

from __future__ import annotations

import io
import math
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from select import POLLIN, poll
from typing import IO, Any, Literal

import numpy as np

from models.errors import InferenceFailed
from models.interfaces import Audio, Pixels, Samples, Watcher
from pipelines.errors import BadInput

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
SOUND_CODECS = ("aac", "mp3", "opus", "flac", "alac", "ac3", "eac3")
MAX_CHANNELS = 8
MAX_SAMPLE_RATE = 96_000
MAX_VIDEO_PIXELS = 4096 * 2304
"""Of one frame."""
MAX_SECONDS = 120.0
MAX_FRAMES = 120 * 60
MAX_ALL_PIXELS = 1920 * 1080 * 3600
"""Of all frames together: two minutes of 30 frames per second in Full HD."""
SILENCE_SECONDS = 30
"""A program that says nothing for so long is given up."""
MEMORY_BYTES = 1536 * 1024 * 1024
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
"""What an MP4 begins with."""
PROGRAM = "pipelines.uploaded_videos"
Pass = Literal["check", "frames", "sound", "voice"]
CPU_SECONDS: dict[Pass, int] = {"check": 90, "frames": 240, "sound": 90, "voice": 90}
"""Of one pass over a file. Measured on one core in Full HD: 120 frames per second to check, 56 with their pixels, so
that what was checked in time is measured in time."""
_FRAME, _SOUND, _END, _REFUSED = b"f", b"s", b"e", b"r"
_HEAD = struct.Struct("!cIII")
"""What follows: kind, then height and width of a frame, channels and samples of a piece of sound (float32, channel by
channel), or 0 and the length of a text; the last is the time in 1/90000 of a second, or the samples per second."""
_CLOCK = 90_000


def check_video(data: bytes, name: str, watcher: Watcher) -> tuple[float, ...]:
    """The time of each frame in seconds from the first, after the whole of the MP4 was decoded in a limited process.

    `watcher` hears of every frame, and may end it. Raises BadInput unless `data` has one video stream, whole and
    undamaged, that can be scored in bounded time; and what `watcher` raises.
    """
    times: list[float] = []
    with closing(_asked("check", data, name)) as frames:
        for seconds, _ in frames:
            watcher.step(len(times), MAX_FRAMES)
            times.append(seconds)
    if not times:
        raise BadInput(f"video {name!r} shows no frame: save it again as H.264 MP4")
    return tuple(seconds - times[0] for seconds in times)


def uploaded_frames(data: bytes) -> Generator[Pixels, None, None]:
    """The frames of a video that `check_video` has taken, upright, one at a time, from a limited process.

    The process ends with the generator. Raises InferenceFailed when it cannot go on.
    """
    try:
        with closing(_asked("frames", data, "upload")) as frames:
            for _, pixels in frames:
                yield pixels
    except BadInput as error:
        raise InferenceFailed(f"a video that had been checked cannot be decoded: {error}") from error


def uploaded_sound(data: bytes) -> Audio | None:
    """The sound track of a video that `check_video` has taken, at its own rate; None when it has none.

    Of several tracks the first. Raises InferenceFailed, whose message is for the uploader, when it cannot be read.
    """
    with closing(_heard("sound", data)) as heard:
        pieces = list(heard)
    return Audio(np.concatenate([piece for _, piece in pieces], axis=1), pieces[-1][0]) if pieces else None


def uploaded_voice(data: bytes) -> Iterator[Samples]:
    """The same as `pipelines.media.voice` gives it, in pieces; nothing when it has none."""
    with closing(_heard("voice", data)) as heard:
        for _, piece in heard:
            yield piece[0]


def _heard(what: Pass, data: bytes) -> Generator[tuple[int, Samples], None, None]:
    """Samples per second and (channels, samples) of each piece of the sound track."""
    total = 0
    try:
        with _program(what, data, "upload") as line:
            while True:
                kind, channels, samples, rate = _answer(line, "upload")
                if kind != _SOUND:
                    return
                total += samples
                if channels > MAX_CHANNELS or rate > MAX_SAMPLE_RATE or total > (MAX_SECONDS + 1) * rate:
                    raise BadInput("it goes beyond what is scored")
                raw = _exactly(line, channels * samples * 4, "upload")
                yield rate, np.frombuffer(raw, np.float32).reshape(channels, samples)
    except BadInput as error:
        raise InferenceFailed(f"its sound cannot be read: {error}") from error


def _asked(what: Pass, data: bytes, name: str) -> Generator[tuple[float, Pixels], None, None]:
    """Time and pixels of each frame as the program gives them; a frame of no pixels when it only checks."""
    with _program(what, data, name) as line:
        while True:
            kind, height, width, ticks = _answer(line, name)
            if kind != _FRAME:
                return
            raw = _exactly(line, height * width * 3, name)
            yield ticks / _CLOCK, np.frombuffer(raw, np.uint8).reshape(height, width, 3)


@contextmanager
def _program(what: Pass, data: bytes, name: str) -> Iterator[IO[bytes]]:
    """What the program writes about `data`. It ends with the context."""
    # Nothing of this process's environment, and Ctrl-C is for the server, which ends it.
    program = subprocess.Popen(  # noqa: S603  (our own module)
        [sys.executable, "-m", PROGRAM, what, name.encode(errors="replace").hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    if program.stdin is None or program.stdout is None:
        raise ValueError("a program with pipes has them")
    try:
        with suppress(BrokenPipeError):
            program.stdin.write(data)
            program.stdin.close()
        yield program.stdout
    finally:
        program.kill()
        program.wait()
        with suppress(BrokenPipeError):
            program.stdin.close()
        program.stdout.close()


def _answer(line: IO[bytes], name: str) -> tuple[bytes, int, int, int]:
    """The head of what comes next. Raises BadInput with the program's own words when it refuses."""
    kind, first, second, third = _HEAD.unpack(_exactly(line, _HEAD.size, name))
    if kind == _REFUSED:
        raise BadInput(_exactly(line, second, name).decode())
    return kind, first, second, third


def _exactly(line: IO[bytes], size: int, name: str) -> bytes:
    """The next `size` bytes. Raises BadInput when the program has ended or stays silent."""
    data = bytearray()
    waiting = poll()  # and not `select`, which knows no descriptor above 1023
    waiting.register(line, POLLIN)
    while len(data) < size:
        part = b""
        if waiting.poll(SILENCE_SECONDS * 1000):
            part = os.read(line.fileno(), min(size - len(data), 1024 * 1024))
        if not part:
            raise BadInput(
                f"video {name!r} could not be decoded within {CPU_SECONDS['check']} s and {MEMORY_BYTES / 2**30:.1f}"
                " GB: save it again as H.264 MP4, or make it shorter or smaller"
            )
        data += part
    return bytes(data)


# --- in the limited process ---


def decoded(data: bytes, name: str) -> Iterator[tuple[float, Any]]:
    """Time in seconds and PyAV frame of every frame. Raises BadInput, at the first frame beyond a cap."""
    import av

    if _is_cut_off(data):
        raise BadInput(f"video {name!r} is cut off: send the whole file")
    try:
        with av.open(io.BytesIO(data), format="mp4") as container:
            stream = _stream(container, name)
            stream.codec_context.thread_count = 1  # no threads can be started here, and the same bits everywhere
            size, last, first = (stream.width, stream.height), -math.inf, 0.0
            for count, frame in enumerate(container.decode(stream), start=1):
                seconds = (count - 1) / float(stream.average_rate or 24) if frame.time is None else frame.time
                first = seconds if count == 1 else first
                _check_frame(frame, size, count, seconds - first, name)
                last = max(last, seconds)
                yield last, frame
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # PyAV raises its own, and ValueError, UnicodeDecodeError and more on damaged files
        raise BadInput(f"video {name!r} is not an MP4 file, or is damaged: save it again as H.264 MP4") from error


def _is_cut_off(data: bytes) -> bool:
    """Whether a box of the MP4 ends beyond the file: a decoder would show what is left as if it were all."""
    if data[4:8] not in FIRST_BOXES:
        return False  # no MP4 at all: the decoder says so
    place = 0
    while place + 8 <= len(data) and data[place + 4 : place + 8].isalnum():  # what else follows is no box
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if size == 0:
            return False  # to the end of the file, by the format's own word
        if size < 8:
            return False  # no box at all: the decoder says what is wrong
        place += size
    return place > len(data)


def _stream(container: Any, name: str) -> Any:
    streams = container.streams.video
    if len(streams) != 1:
        raise BadInput(f"video {name!r} has {len(streams)} video streams: give a file with exactly one")
    stream = streams[0]
    codec = stream.codec_context.codec.canonical_name  # `name` is the decoder's own: libdav1d for av1
    if codec not in CODECS:
        raise BadInput(f"video {name!r} is coded as {codec!r}: convert it to one of {', '.join(CODECS)}")
    if stream.width * stream.height > MAX_VIDEO_PIXELS:
        raise BadInput(f"video {name!r} is {stream.width}x{stream.height}: scale it down to at most 4096x2304")
    seconds = float(container.duration or 0) / 1_000_000
    if seconds > MAX_SECONDS or stream.frames > MAX_FRAMES:
        raise BadInput(
            f"video {name!r} has {seconds:.0f} s and {stream.frames} frames: at most {MAX_SECONDS:.0f} s and"
            f" {MAX_FRAMES} frames are scored; cut it"
        )
    return stream


def _check_frame(frame: Any, size: tuple[int, int], count: int, seconds: float, name: str) -> None:
    if frame.is_corrupt:
        raise BadInput(f"video {name!r} is damaged at frame {count}: save it again as H.264 MP4")
    if (frame.width, frame.height) != size:
        raise BadInput(f"video {name!r} changes its size at frame {count}: save it again in one size")
    if count > MAX_FRAMES or seconds > MAX_SECONDS:
        raise BadInput(
            f"video {name!r} goes beyond frame {min(count, MAX_FRAMES)} at {min(seconds, MAX_SECONDS):.0f} s: at most"
            f" {MAX_SECONDS:.0f} s and {MAX_FRAMES} frames are scored; cut it"
        )
    if count * size[0] * size[1] > MAX_ALL_PIXELS:
        raise BadInput(f"video {name!r} has too many frames of {size[0]}x{size[1]}: scale it down or cut it")


def _sound(data: bytes, as_voice: bool) -> Iterator[tuple[int, Any]]:
    """Samples per second and a piece of the sound track, float32 of shape (channels, samples). Raises BadInput."""
    import av

    from pipelines.media import VOICE_RATE, voice

    try:
        with av.open(io.BytesIO(data), format="mp4") as container:
            if not container.streams.audio:
                return
            stream = container.streams.audio[0]
            stream.codec_context.thread_count = 1
            codec, rate, channels = stream.codec_context.codec.canonical_name, stream.rate, stream.channels
            if codec not in SOUND_CODECS:
                raise BadInput(f"it is coded as {codec!r}: convert it to one of {', '.join(SOUND_CODECS)}")
            if channels > MAX_CHANNELS or rate > MAX_SAMPLE_RATE:
                raise BadInput(
                    f"it has {channels} channels of {rate} Hz: at most {MAX_CHANNELS} of {MAX_SAMPLE_RATE} are measured"
                )
            if as_voice:
                yield from ((VOICE_RATE, samples[None]) for samples in voice(container, stream))
                return
            planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                for piece in planar.resample(frame):
                    yield rate, piece.to_ndarray()
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # as for pictures
        raise BadInput("it is damaged: save it again as AAC") from error


def _run(what: Pass, name: str) -> None:
    """Decode what stdin brings, and write it to stdout."""
    import av.subtitles.stream
    import av.video.reformatter  # noqa: F401

    from pipelines.media import display_matrix, frame_pixels

    data = sys.stdin.buffer.read()
    line = sys.stdout.buffer
    _limit(CPU_SECONDS[what])
    try:
        if what in ("sound", "voice"):
            for rate, piece in _sound(data, what == "voice"):
                line.write(_HEAD.pack(_SOUND, *piece.shape, rate) + piece.astype(np.float32).tobytes())
        else:
            matrix = None
            for number, (seconds, frame) in enumerate(decoded(data, name)):
                matrix = display_matrix(frame) if number == 0 else matrix
                pixels = frame_pixels(frame, matrix) if what == "frames" else np.zeros((0, 0, 3), np.uint8)
                ticks = max(0, min(2**32 - 1, round(seconds * _CLOCK)))
                line.write(_HEAD.pack(_FRAME, *pixels.shape[:2], ticks) + pixels.tobytes())
        line.write(_HEAD.pack(_END, 0, 0, 0))
    except BadInput as error:
        text = str(error).encode(errors="replace")
        line.write(_HEAD.pack(_REFUSED, 0, len(text), 0) + text)
    line.flush()


def _limit(cpu_seconds: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    asked, hexed = sys.argv[1:]
    try:
        _run(next(known for known in CPU_SECONDS if known == asked), bytes.fromhex(hexed).decode())
    except (BrokenPipeError, MemoryError):
        os._exit(1)  # who asked has gone away, or the file wanted too much: nobody reads a traceback
