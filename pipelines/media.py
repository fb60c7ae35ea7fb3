"""Pictures, clips and sounds as files: PNG, H.264/AAC/MP4 and WAV bytes on one side, arrays on the other.

Every encoder here is bit-reproducible: the same pixels give the same bytes, so that an artifact's sha256 is a fact
about its content. The bytes it decodes are our own: pictures of strangers go through `pipelines.uploads` first, their
videos are decoded by `pipelines.uploaded_videos`.
"""

from __future__ import annotations

import hashlib
import io
import platform
import tempfile
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from models.errors import InferenceFailed
from models.interfaces import Audio, Frames, Pixels, Samples
from models.spec import Size

CLIP_CRF = 8
"""Near-lossless: measured mean error on generated clips is that of the 4:2:0 colour planes, not of the codec."""
FINAL_CRF = 17
PRESET = "veryfast"
"""x264's. Measured at 720x1280, crf 17: 31 ms of CPU a frame against 71 for `medium`, and the file no larger."""
DECODER = "swscale-default"
"""Names in every score how frames became RGB: the fast conversion, which decord and PyAV share bit by bit."""
AUDIO_BIT_RATE = 192_000
"""AAC's, for both channels."""
VOICE_RATE = 16_000
GAP = VOICE_RATE // 20
"""Samples of a voice: shorter gaps in a track are how containers round, and what a filter holds back."""
_BT709 = 1
_LIMITED_RANGE = 1


def encode_png(pixels: Pixels) -> bytes:
    """The PNG file of `pixels`, without metadata. Lossless: `decode_image` gives back the same array."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """The baseline JPEG file of `pixels`, without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_webp(pixels: Pixels, quality: int = 90) -> bytes:
    """The lossy WebP file of `pixels`, without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=quality)
    return buffer.getvalue()


def decode_image(data: bytes) -> Pixels:
    """RGB pixels of a PNG, JPEG or WebP file that this project wrote."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def image_size(data: bytes) -> Size:
    """Width and height of a picture that this project wrote; only its header is read."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.size


def encode_sound(audio: Audio) -> bytes:
    """A WAV file of `audio`, 16 bits a sample."""
    levels = np.rint(audio.samples.clip(-1, 1) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(levels))
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes(levels.T.tobytes())
    return buffer.getvalue()


def decode_sound(data: bytes) -> Audio:
    """What `encode_sound` wrote."""
    with wave.open(io.BytesIO(data)) as file:
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return Audio((levels.T / 32767).astype(np.float32), file.getframerate())


def clip_sound(data: bytes) -> Audio | None:
    """The sound of a video that this project wrote; None when it is silent."""
    import av

    with av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            return None
        rate = container.streams.audio[0].rate
        planar = av.AudioResampler(format="fltp", rate=rate)
        pieces = [piece.to_ndarray() for frame in container.decode(audio=0) for piece in planar.resample(frame)]
    return Audio(np.concatenate(pieces, axis=1), rate) if pieces else None


def clip_voice(data: bytes) -> Iterator[Samples]:
    """The sound of a video that this project wrote, as `voice` gives it; nothing when it is silent."""
    import av

    with av.open(io.BytesIO(data)) as container:
        if container.streams.audio:
            yield from voice(container, container.streams.audio[0])


def voice(container: Any, stream: Any) -> Iterator[Samples]:
    """What a detector of speech hears of a sound track, from the first frame of the pictures on: pieces of one channel,
    shape (samples,), VOICE_RATE samples a second. Where the track has a gap, or begins later, there is silence."""
    import av

    mono = av.AudioResampler(format="fltp", layout="mono", rate=VOICE_RATE)
    level = np.float32(1 if stream.channels == 1 else 0.5**0.5)  # FFmpeg adds channels up to the same power
    pictures = next(iter(container.streams.video), None)
    zero = 0.0 if pictures is None else float((pictures.start_time or 0) * pictures.time_base)
    place: int | None = None
    for frame in container.decode(stream):
        due = place or 0 if frame.time is None else round((frame.time - zero) * VOICE_RATE)
        place = min(due, 0) if place is None else place
        while due - place > GAP:
            silence = min(due - place, VOICE_RATE)
            yield np.zeros(silence, np.float32)
            place += silence
        for piece in mono.resample(frame):
            samples = level * piece.to_ndarray()[0]
            yield samples[max(0, -place) :]
            place += len(samples)
    if place is not None:
        yield from (level * piece.to_ndarray()[0] for piece in mono.resample(None))


def encode_clip(frames: Frames, fps: int, audio: Audio | None = None) -> bytes:
    """`frames` and `audio` as an intermediate clip that also plays in a browser, its frames near-lossless."""
    _, height, width, _ = frames.shape
    return encode_video(frames, fps, (width, height), crf=CLIP_CRF, threads=1, audio=audio)


def encode_video(
    frames: Iterable[Pixels], fps: int, size: tuple[int, int], crf: int, threads: int, audio: Audio | None = None
) -> bytes:
    """An MP4 of `frames`, taken one at a time: H.264 High, yuv420p, BT.709 limited range, faststart, closed GOP.

    Constant frame rate: frame k has presentation time k/fps. A key frame at least every two seconds, so that players
    seek quickly. `size` is (width, height), both even. `audio`, of one or two channels, becomes AAC; its track is as
    long as it is, to the sample. `threads` is part of the result: x264 writes other bits with
    another count, so callers pass a constant and never the number of cores. Raises OSError when the disk is full.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    rounding = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    # A real file, because faststart makes the muxer read back what it wrote in order to move the index to the front.
    with tempfile.TemporaryDirectory(prefix="admint-encode-") as folder:
        path = Path(folder) / "video.mp4"
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        if audio is not None:
            # A track's length is written in this unit, milliseconds by default.
            options["movie_timescale"] = str(audio.sample_rate)
        with av.open(str(path), "w", format="mp4", options=options) as container:
            stream = _h264_stream(container, fps, size, crf, threads)
            sounds = [] if audio is None else _aac_packets(container, audio)
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=rounding,
                )
                frame.pts = number
                container.mux(stream.encode(frame))
                while sounds and sounds[0].pts * sounds[0].time_base * fps <= number:
                    container.mux(sounds.pop(0))
            container.mux(stream.encode())
            container.mux(sounds)
        return path.read_bytes()


def _aac_packets(container: Any, audio: Audio) -> list[Any]:
    """All of `audio`, encoded for a new stream of `container`."""
    import av

    layout = "mono" if len(audio.samples) == 1 else "stereo"
    stream = container.add_stream("aac", rate=audio.sample_rate, layout=layout)
    stream.bit_rate = AUDIO_BIT_RATE
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = audio.sample_rate, 0
    return [*stream.encode(frame), *stream.encode()]


def _same_bits() -> str:
    """x264's AVX-512 code gives other bits now and then: 1 to 3 of 10 equal encodes; with AVX2 none (AMD EPYC)."""
    return ":asm=avx2" if platform.machine() in ("x86_64", "AMD64") else ""


def _h264_stream(container: Any, fps: int, size: tuple[int, int], crf: int, threads: int) -> Any:
    stream = container.add_stream(
        "libx264",
        rate=fps,
        options={
            "crf": str(crf),
            "preset": PRESET,
            "profile": "high",
            "threads": str(threads),
            "x264-params": f"open-gop=0:keyint={2 * fps}{_same_bits()}",
        },
    )
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def decode_clip(data: bytes) -> Frames:
    """All frames of a clip that this project wrote, shape (frames, height, width, 3). Raises InferenceFailed.

    decord reads where it has a wheel (x86-64) and PyAV elsewhere; on what `encode_video` writes both give the same bits
    (tested). Both use the fast colour conversion: measured, one encode and decode darkens by about 1 of 255, so a frame
    that starts the next scene should come from the model's own array and not from its clip.
    """
    try:
        import decord
    except ImportError:
        return np.stack(list(stream_clip(data)))
    try:
        reader = decord.VideoReader(io.BytesIO(data), num_threads=1)
        reader.get_batch([0])
        return np.stack([reader[number].asnumpy() for number in range(len(reader))])
    except decord.DECORDError:
        # decord 0.6 mistakes the row padding of the widths 16, 24, 48 and 72 for pixels and gives up; of the 47 widths
        # tried up to 1920 it reads all others. A file that is really broken fails in PyAV too.
        return np.stack(list(stream_clip(data)))


def stream_clip(data: bytes) -> Iterator[Pixels]:
    """The frames of a clip that this project wrote, one at a time. Raises InferenceFailed when it is damaged.

    By PyAV, which decodes no further than it is asked: decord reads ahead of whoever is slow (measured at 100 frames a
    second: 340 MB after 600 frames of 832x480, PyAV 12 MB).
    """
    import av

    with _broken_as_failure(), av.open(io.BytesIO(data)) as container:
        matrix: Matrix | None = None
        for number, frame in enumerate(container.decode(video=0)):
            matrix = display_matrix(frame) if number == 0 else matrix
            yield frame_pixels(frame, matrix)


@contextmanager
def _broken_as_failure() -> Iterator[None]:
    """Turns PyAV's errors on a damaged file into InferenceFailed."""
    import av

    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        raise InferenceFailed(f"a clip cannot be decoded: {error}; it is cut off or damaged: make it again") from error


Matrix: TypeAlias = "npt.NDArray[np.int32]"
"""The nine numbers of a display matrix."""


def display_matrix(frame: Any) -> Matrix | None:
    """How a frame of PyAV, and with it its stream, is to be turned and mirrored; None: it is upright.

    Asked of one frame only: the list of its side data and the frame hold each other, so that either waits for Python's
    cycle collector, with some 200 frames before it (measured: 140 MB at 832x480).
    """
    from av.sidedata.sidedata import Type

    # By its kind: what going through the list gives are the data themselves before PyAV 19, and their kinds since.
    found = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if found is None else np.frombuffer(bytes(found), np.int32)


def frame_pixels(frame: Any, matrix: Matrix | None) -> Pixels:
    """RGB pixels of a frame of PyAV, turned and mirrored as its stream's display matrix says, as decord does it."""
    # One thread: by default each frame gets a converter with as many threads as cores, which stay for a while.
    pixels: Pixels = frame.to_ndarray(format="rgb24", threads=1)
    if matrix is None:
        return pixels
    a, b, _, c, d, *_ = matrix
    if abs(int(a)) + abs(int(d)) < abs(int(b)) + abs(int(c)):  # the axes change places
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def clip_rate(data: bytes) -> tuple[float, int | None]:
    """Frames per second and number of frames of a clip as its header, the only part that is read, gives them.

    A rate of 0 or a number of None: it does not. Raises InferenceFailed when it is no video.
    """
    import av

    with _broken_as_failure(), av.open(io.BytesIO(data)) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise InferenceFailed("a clip to be scored has no video stream: make it again")
        return float(stream.average_rate or 0), stream.frames or None


def frames_sha256(frames: Frames) -> str:
    """sha256 over shape and raw bytes: the identity of what a model made, before any codec."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()
