"""Videos of strangers: decoded whole, in a limited process, with caps that count what is decoded."""

import io
import os
import platform
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from models.errors import Cancelled, InferenceFailed
from models.interfaces import Audio, Unwatched
from pipelines import media, uploaded_videos
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from pipelines.scoring import ScoreRequest, score_file
from pipelines.uploaded_videos import check_video, uploaded_frames, uploaded_sound, uploaded_voice

FRAMES = 12


def pictures(count=FRAMES, width=64, height=48):
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 255, (height // 16, width // 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return np.stack([np.roll(blocks, 4 * number, 1) for number in range(count)])


def checked(data):
    return check_video(data, "clip.mp4", Unwatched())


def refusal(data):
    with pytest.raises(BadInput, match=r"'clip\.mp4'") as caught:
        checked(data)
    return str(caught.value)


def written(frames, times=None, codec="libx264", clock=90_000, layout="yuv420p", **options):
    """An MP4 of `frames`, shown at `times` in seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options=options) as container:
        stream = container.add_stream(codec, rate=24, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], layout
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = round((number / 24 if times is None else times[number]) * clock)
            frame.time_base = Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def turned(data, a, b, c, d):
    """`data` with another display matrix."""
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16
    return (
        data[:place] + struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30) + data[place + 36 :]
    )


@pytest.fixture(scope="module")
def clip():
    return encode_clip(pictures(), fps=8)


def test_the_time_of_every_frame_is_told(clip):
    assert checked(clip) == tuple(number / 8 for number in range(FRAMES))


def test_the_frames_are_those_that_our_own_decoder_sees(clip):
    frames = list(uploaded_frames(clip))
    assert np.array_equal(frames, media.decode_clip(clip))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_video_that_is_cut_off_is_refused(clip, kept):
    assert "cut off" in refusal(clip[: int(len(clip) * kept)])


@pytest.mark.parametrize("kept", [0.4, 0.7, 0.95])
def test_a_fragmented_video_that_is_cut_off_is_refused(kept):
    data = written(pictures(24), movflags="frag_keyframe+empty_moov+default_base_moof")
    assert len(checked(data)) == 24
    assert "cut off" in refusal(data[: int(len(data) * kept)])


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_video_is_read_or_refused_in_one_line(clip, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(clip)
    for place in rng.integers(48, len(data), 8):
        data[place] = rng.integers(0, 256)
    try:
        assert checked(bytes(data))
    except BadInput as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"nothing of the kind", b"\0\0\0\x18ftypmp42" + bytes(99), b"GIF89a" + bytes(99)]
)
def test_what_is_no_video_is_refused(data):
    assert "is not an MP4 file" in refusal(data)


def test_frames_are_counted_while_they_are_decoded_whatever_the_header_says(monkeypatch):
    """A fragmented file names no number of frames; a high rate makes many of them one second."""
    data = written(pictures(40), [number / 2000 for number in range(40)], movflags="frag_keyframe+empty_moov")
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].frames == 0
    monkeypatch.setattr(uploaded_videos, "MAX_FRAMES", 30)
    with pytest.raises(BadInput, match="beyond frame 30"):
        list(uploaded_videos.decoded(data, "clip.mp4"))


def test_seconds_and_pixels_are_counted_while_they_are_decoded(monkeypatch):
    data = written(pictures(10), [number * 2.0 for number in range(10)], movflags="frag_keyframe+empty_moov")
    monkeypatch.setattr(uploaded_videos, "MAX_SECONDS", 7.0)
    with pytest.raises(BadInput, match=r"at most 7 s"):
        list(uploaded_videos.decoded(data, "clip.mp4"))
    monkeypatch.undo()
    monkeypatch.setattr(uploaded_videos, "MAX_ALL_PIXELS", 5 * 64 * 48)
    with pytest.raises(BadInput, match="too many frames of 64x48"):
        list(uploaded_videos.decoded(data, "clip.mp4"))


def test_the_process_that_decodes_has_limits_and_nothing_of_this_environment(clip, monkeypatch):
    monkeypatch.setenv("ADMINT_SECRET", "a secret of the server")
    frames = uploaded_frames(clip)
    next(frames)
    (child,) = [
        number
        for number in map(int, filter(str.isdigit, os.listdir("/proc")))
        if uploaded_videos.PROGRAM.encode() in command_of(number) and parent_of(number) == os.getpid()
    ]
    with open(f"/proc/{child}/limits") as limits:
        lines = {line[:25].strip(): line[25:].split()[0] for line in limits}
    assert lines["Max open files"] == lines["Max file size"] == lines["Max processes"] == "0"
    assert lines["Max address space"] == str(uploaded_videos.MEMORY_BYTES)
    assert lines["Max cpu time"] == str(uploaded_videos.CPU_SECONDS["frames"])
    with open(f"/proc/{child}/environ", "rb") as environment:
        assert b"a secret" not in environment.read()
    frames.close()
    assert not os.path.exists(f"/proc/{child}")


def command_of(number):
    try:
        with open(f"/proc/{number}/cmdline", "rb") as line:
            return line.read()
    except OSError:
        return b""


def parent_of(number):
    with open(f"/proc/{number}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_a_check_that_nobody_waits_for_any_more_ends_at_its_next_frame(clip):
    class Gone:
        seen = 0

        def step(self, done, total):
            self.seen = done
            if done == 3:
                raise Cancelled("gone")

    gone = Gone()
    with pytest.raises(Cancelled):
        check_video(clip, "clip.mp4", gone)
    assert gone.seen == 3


# --- turned pictures ---


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1)])
def test_a_phones_video_is_upright_and_the_same_with_both_decoders(clip, matrix):
    data = turned(clip, *matrix)
    by_av = np.stack(list(media.stream_clip(data)))
    assert by_av.shape[1:3] == ((64, 48) if matrix[0] == 0 else (48, 64))
    assert np.array_equal(np.stack(list(uploaded_frames(data))), by_av)
    if platform.machine() == "x86_64":
        assert np.array_equal(media.decode_clip(data), by_av)


def test_a_mirrored_video_is_mirrored_back(clip):
    plain = next(iter(uploaded_frames(clip)))
    assert np.array_equal(next(iter(uploaded_frames(turned(clip, -1, 0, 0, 1)))), plain[:, ::-1])
    assert np.array_equal(next(iter(uploaded_frames(turned(clip, 1, 0, 0, -1)))), plain[::-1])


# --- sound ---


def tone(seconds=1.5, rate=44_100):
    """Two channels of different loudness."""
    wave = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 440 / rate).astype(np.float32)
    return Audio(np.stack([0.5 * wave, 0.1 * wave]), rate)


@pytest.fixture(scope="module")
def talkie():
    return encode_clip(pictures(), fps=8, audio=tone())


def test_the_sound_is_what_our_own_decoder_hears(talkie, clip):
    heard, own = uploaded_sound(talkie), media.clip_sound(talkie)
    assert heard is not None and own is not None
    assert heard.sample_rate == own.sample_rate == 44_100
    assert np.array_equal(heard.samples, own.samples)
    assert uploaded_sound(clip) is None
    ours, theirs = (np.concatenate(list(voice(talkie))) for voice in (media.clip_voice, uploaded_voice))
    assert np.array_equal(ours, theirs) and len(ours) > media.VOICE_RATE
    assert list(uploaded_voice(clip)) == []


def test_an_upload_is_as_loud_as_the_same_file_of_our_own_and_no_process_but_the_limited_one_hears_it(
    talkie, monkeypatch
):
    (own,) = score_file(ScoreRequest(data=talkie, dimensions=("ad.loudness",)), {}, Unwatched())

    def forbidden(data):
        raise AssertionError("the sound of an upload was decoded in this process")

    monkeypatch.setattr("pipelines.scoring.clip_sound", forbidden)
    ((uploaded,), (silent,)) = scores(talkie, "ad.loudness"), scores(encode_clip(pictures(), fps=8), "ad.loudness")
    assert uploaded.raw == own.raw
    assert silent.reason == "it has no sound track"


def test_sound_that_is_not_read_here_is_a_reason_and_the_pictures_are_measured_all_the_same(clip):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container, av.open(io.BytesIO(clip)) as source:
        copied = container.add_stream_from_template(source.streams.video[0])
        stream = container.add_stream("pcm_s16le", rate=44_100, layout="stereo")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copied
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 44_100), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    loudness, flicker = scores(buffer.getvalue(), "ad.loudness", "temporal_flickering")
    assert loudness.raw is None and "its sound cannot be read: it is coded as 'pcm_s16le'" in loudness.reason
    assert flicker.raw is not None


def test_sound_is_counted_while_it_is_decoded(talkie, monkeypatch):
    monkeypatch.setattr(uploaded_videos, "MAX_SECONDS", -0.5)
    with pytest.raises(InferenceFailed, match="goes beyond what is scored"):
        uploaded_sound(talkie)
    with pytest.raises(InferenceFailed, match="goes beyond what is scored"):
        list(uploaded_voice(talkie))


# --- time ---


def scores(data, *names, watcher=None):
    return score_file(ScoreRequest(data=data, times=checked(data), dimensions=names), {}, watcher or Unwatched())


def test_a_variable_rate_is_read_by_time():
    """The same movement, once with all of its frames, once without those that a recorder left out."""
    frames = pictures(25, 128, 96)
    whole = written(frames)
    some = [number for number in range(25) if number % 3 == 0 or number in (1, 2, 4, 5, 7, 8, 10, 11)]
    thinned = written(frames[some], [number / 24 for number in some])
    ((one,), (other,)) = scores(whole, "flow_dynamics"), scores(thinned, "flow_dynamics")
    assert one.frames_used == other.frames_used == 9
    assert other.raw == pytest.approx(one.raw, rel=0.15)


def test_a_dimension_can_be_stopped_at_any_frame(clip):
    class Stopped:
        steps = 0

        def step(self, done, total):
            self.steps += 1
            if self.steps == 5:
                raise Cancelled("enough")

    for name in ("temporal_flickering", "flow_smoothness", "flow_dynamics"):
        stopped = Stopped()
        with pytest.raises(Cancelled):
            scores(clip, name, watcher=stopped)
        assert stopped.steps == 5, name
