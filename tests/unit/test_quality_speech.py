"""Speech in a film's sound track: what is counted as said, and when, of what a detector hears."""

import io

import av
import numpy as np
import pytest

from models.interfaces import Audio
from pipelines.media import GAP, VOICE_RATE, clip_voice, encode_clip, voice
from quality.dimensions.speech import WINDOW, utterances
from quality.engine import measure
from quality.score import NoValue
from quality.stream import Shot

BOTH = ("ad.speech", "ad.first_speech")


class Detector:
    """Takes every window that is not silent for speech."""

    name, licence, fidelity, weights_sha256, dtype, device = "loud", "none", "published", "0" * 64, "float32", "cpu"

    def speech(self, pieces):
        samples = np.concatenate([np.zeros(0, np.float32), *pieces])
        return np.abs(np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)).max(axis=1)


def scores(samples, frames=48, fps=24.0, detector=None, **fields):
    pieces = np.array_split(np.asarray(samples, np.float32), 7)
    known = {"fps": fps, "voice": lambda: iter(pieces), "backbones": {"silero_vad": detector or Detector()}}
    return measure(BOTH, [np.zeros((8, 8, 3), np.uint8)] * frames, Shot(**known | fields))


def spoken(*stretches, seconds=2.0):
    """Sound that is loud in these stretches, in seconds."""
    samples = np.zeros(round(seconds * VOICE_RATE), np.float32)
    for begin, end in stretches:
        samples[round(begin * VOICE_RATE) : round(end * VOICE_RATE)] = 0.9
    return samples


def windows(*runs):
    return [probability for probability, count in runs for _ in range(count)]


def test_an_utterance_goes_on_through_short_pauses_and_doubt_and_a_blip_is_none():
    assert utterances([]) == utterances(windows((0.49, 50))) == ()
    assert utterances(windows((0, 10), (0.9, 7), (0, 10))) == ()  # 224 ms
    (one,) = utterances(windows((0.4, 10), (0.6, 1), (0.4, 9), (0, 3), (0.4, 5), (0, 4), (0.4, 9)))
    assert one == pytest.approx((10 * WINDOW, 28 * WINDOW))
    assert len(utterances(windows((0.9, 10), (0.1, 4), (0.9, 10)))) == 2
    assert utterances(windows((0, 5), (0.9, 20)))[-1].end == pytest.approx(25 * WINDOW)


def test_the_share_of_a_film_is_that_of_its_parts_of_a_second_and_the_first_word_has_its_second():
    share, first = scores(spoken((2.048, 2.56), (3.072, 4.096), seconds=5.0), frames=120)
    assert share.raw == pytest.approx((0.512 + 1.024) / 5)
    assert share.series.values == pytest.approx((0, 0, 0.512, 0.928, 0.096))
    assert share.series.seconds == (0, 1, 2, 3, 4)
    assert first.raw == pytest.approx(2.048)
    assert (share.fidelity, share.backbone, share.preproc, share.frames_used) == ("proxy", "loud", "mono16k", 120)
    assert share.note == "somebody speaks from 2.0 to 2.6 s, 3.1 to 4.1 s"


def test_what_is_heard_after_the_last_frame_does_not_count():
    share, first = scores(spoken((1.024, 3.0), seconds=3.0))
    assert (share.raw, first.raw) == (pytest.approx(0.976 / 2), pytest.approx(1.024))
    share, first = scores(spoken((2.048, 3.0), seconds=3.0))
    assert (share.raw, first.raw, first.reason) == (0, None, "nobody speaks in it")


def test_frames_of_uneven_times_have_the_parts_of_their_own_clock():
    share, _ = scores(spoken((1.024, 2.0)), frames=4, times=(0.0, 0.1, 1.4, 1.5))
    assert share.series.seconds == (0.0, 1.4)
    assert share.series.values == pytest.approx((0, 0.976), abs=2e-3)


def test_a_silent_film_and_one_that_cannot_be_heard_have_reasons():
    def refused():
        raise NoValue("its sound cannot be read: it is damaged")

    assert {each.reason for each in scores([])} == {"it has no sound track"}
    assert {each.reason for each in scores([], voice=None)} == {"it has no sound track"}
    assert {each.reason for each in scores([], voice=refused)} == {"its sound cannot be read: it is damaged"}
    assert {each.reason for each in scores([], backbones={})} == {
        "this deployment has no 'silero_vad' model: name one under `scorers` in the profile"
    }
    assert "not finite: 1 of 32 windows" in scores(np.r_[np.nan, np.zeros(16_000)])[0].reason


# --- what is heard ---


def film(samples, rate, seconds=2):
    return encode_clip(np.zeros((4 * seconds, 16, 16, 3), np.uint8), 4, Audio(samples.astype(np.float32), rate))


@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 48_000), (2, 44_100)])
def test_a_track_is_heard_in_one_channel_of_16000_samples_a_second(channels, rate):
    tone = 0.5 * np.sin(np.arange(2 * rate) * 2 * np.pi * 440 / rate)
    heard = np.concatenate(list(clip_voice(film(np.stack([tone] * channels), rate))))
    assert heard.dtype == np.float32
    assert abs(len(heard) - 2 * VOICE_RATE) <= 1024  # AAC ends with a whole frame
    middle = heard[8000:24_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    assert list(clip_voice(encode_clip(np.zeros((8, 16, 16, 3), np.uint8), 4))) == []


def moved(data, seconds, of):
    """The MP4 with the packets of its track `of` later by so much, in a container that can say so."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format="matroska") as target:
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                late = round(seconds / packet.time_base) if packet.stream.type == of else 0
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize(("of", "begins"), [("audio", 0.75 + 0.5), ("video", 0.75 - 0.5)])
def test_a_track_that_begins_later_or_earlier_than_the_pictures_is_heard_in_step_with_them(of, begins):
    samples = np.where(np.arange(32_000) >= 12_000, 0.5, 0.0) * np.sin(np.arange(32_000) * 0.3)
    data = moved(film(samples[None], 16_000), 0.5, of)
    with av.open(io.BytesIO(data)) as container:
        heard = np.concatenate(list(voice(container, container.streams.audio[0])))
    assert np.argmax(np.abs(heard) > 0.2) / VOICE_RATE == pytest.approx(begins, abs=2 * GAP / VOICE_RATE)
