from __future__ import annotations

import gc
import io
import sys

import av
import numpy as np
import pytest

from models.errors import InferenceFailed
from models.interfaces import Audio
from pipelines.media import (
    clip_rate,
    decode_clip,
    decode_image,
    encode_clip,
    encode_jpeg,
    encode_png,
    encode_video,
    frames_sha256,
    stream_clip,
)


@pytest.fixture(scope="module")
def frames():
    """A soft gradient with a bright square that moves two pixels a frame."""
    y, x = np.mgrid[0:96, 0:64]
    backdrop = np.stack([x * 3, y * 2, 255 - x * 2], axis=-1).astype(np.uint8)
    clip = np.repeat(backdrop[None], 13, axis=0)
    for number in range(13):
        clip[number, 20:52, 8 + 2 * number : 32 + 2 * number] = (230, 60, 40)
    return clip


def test_a_png_gives_back_the_same_pixels_and_the_same_bytes(frames):
    data = encode_png(frames[0])
    assert np.array_equal(decode_image(data), frames[0])
    assert data == encode_png(frames[0])


def test_a_png_carries_no_metadata(frames):
    chunks = {kind for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME") if kind in encode_png(frames[0])}
    assert chunks == set()


def test_a_jpeg_decodes_to_nearly_the_same_picture(frames):
    error = np.abs(decode_image(encode_jpeg(frames[0])).astype(int) - frames[0])
    assert error.mean() < 4


def test_a_clip_is_bit_reproducible(frames):
    assert encode_clip(frames, 8) == encode_clip(frames, 8)


def test_a_clip_keeps_count_size_and_nearly_all_of_the_picture(frames):
    decoded = decode_clip(encode_clip(frames, 8))
    assert decoded.shape == frames.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - frames).mean() < 3


def test_a_clip_of_one_frame_is_possible(frames):
    assert decode_clip(encode_clip(frames[:1], 8)).shape == (1, 96, 64, 3)


def test_a_clip_is_decoded_no_further_than_it_is_asked(monkeypatch):
    read = 0

    class Counted(io.BytesIO):
        def read(self, size=-1):
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    noise = np.random.default_rng(0).integers(0, 256, (60, 120, 160, 3), dtype=np.uint8)
    clip = encode_clip(noise, 24)
    monkeypatch.setattr(io, "BytesIO", Counted)
    frames = iter(stream_clip(clip))
    for _ in range(3):
        next(frames)
    assert 0 < read < len(clip) / 2


def test_no_frame_that_was_read_waits_for_the_cycle_collector():
    clip = encode_clip(np.zeros((30, 32, 32, 3), np.uint8), 24)
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in stream_clip(clip)) == 30
        waiting = sum(type(each).__name__ == "VideoFrame" for each in gc.get_objects())
        held = sum(type(each).__name__ == "SideDataContainer" for each in gc.get_objects())
    finally:
        gc.enable()
    assert waiting + held <= 2


@pytest.mark.parametrize("damaged", [lambda clip: clip[: len(clip) // 2], lambda clip: b"no video", lambda clip: b""])
def test_a_damaged_clip_is_a_failure_that_says_so(damaged):
    clip = damaged(encode_clip(np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), 24))
    with pytest.raises(InferenceFailed, match="cannot be decoded"):
        list(stream_clip(clip))


def test_what_is_no_video_has_no_rate_and_says_so():
    with pytest.raises(InferenceFailed, match="cannot be decoded"):
        clip_rate(b"no video")


def test_decord_and_pyav_read_the_same_pixels(frames, monkeypatch):
    pytest.importorskip("decord")
    data = encode_clip(frames, 8)
    with_decord = decode_clip(data)
    monkeypatch.setitem(sys.modules, "decord", None)
    assert np.array_equal(decode_clip(data), with_decord)


@pytest.mark.parametrize("width", [16, 24, 48, 72, 128])
def test_clips_of_every_width_are_read(width):
    clip = np.full((3, 32, width, 3), 120, np.uint8)
    assert decode_clip(encode_clip(clip, 8)).shape == clip.shape


def test_a_video_is_tagged_as_players_expect(frames):
    data = encode_video(iter(frames), 24, (64, 96), crf=17, threads=2)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (stream.codec_context.name, stream.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (
            1,
            1,
            1,
            1,
        )
        assert (stream.average_rate, stream.base_rate, stream.frames) == (24, 24, 13)
        packets = sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None)
        assert [pts * 24 for pts in packets] == list(range(13))
        assert len(container.streams.audio) == 0


def test_the_index_lies_before_the_pictures_so_that_playing_starts_at_once(frames):
    data = encode_clip(frames, 8)
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_the_colours_survive_the_round_trip():
    colours = [(230, 30, 30), (30, 200, 60), (40, 60, 220), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    picture = np.concatenate([np.full((32, 64, 3), colour, np.uint8) for colour in colours])
    decoded = decode_clip(encode_clip(picture[None], 8))[0]
    for row, colour in enumerate(colours):
        assert np.abs(decoded[row * 32 + 16, 32].astype(int) - colour).max() <= 3


def test_the_hash_of_frames_depends_on_shape_and_pixels(frames):
    changed = frames.copy()
    changed[3, 0, 0, 0] ^= 1
    hashes = {frames_sha256(frames), frames_sha256(changed), frames_sha256(frames.reshape(13, 64, 96, 3))}
    assert len(hashes) == 3 and frames_sha256(frames) == frames_sha256(frames.copy())


def test_a_clip_with_sound_has_tracks_of_one_length_keeps_its_pictures_and_is_bit_reproducible(frames):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(39_000) / 24_000).astype(np.float32)
    data = encode_clip(frames, 8, Audio(np.stack([wave, -wave]), 24_000))
    assert data == encode_clip(frames, 8, Audio(np.stack([wave, -wave]), 24_000))
    assert np.array_equal(decode_clip(data), decode_clip(encode_clip(frames, 8)))
    with av.open(io.BytesIO(data)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert float(video.duration * video.time_base) == float(audio.duration * audio.time_base) == 13 / 8
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
    assert np.corrcoef(heard[0, 1000:38_000], wave[1000:38_000])[0, 1] > 0.99
