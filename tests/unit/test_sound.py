"""The mix of a video's sound: exact length, pitch, fades, silence, and no clipping."""

import numpy as np
import pytest

from models.interfaces import Audio
from pipelines.media import decode_sound, encode_sound
from pipelines.recipe import Recipe
from pipelines.sound import EDGE, RATE, fitted, mixed
from pipelines.timeline import plan_timeline

SETTINGS = Recipe.model_fields["transitions"].default


def tone(hertz, seconds, rate=24_000, level=0.5, channels=2):
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return Audio(np.repeat(wave[None].astype(np.float32), channels, axis=0), rate)


def pitch(samples):
    """Loudest frequency, hertz."""
    spectrum = np.abs(np.fft.rfft(samples))
    return np.argmax(spectrum) * RATE / len(samples)


def loudness(samples):
    return float(np.sqrt(np.mean(np.square(samples))))


@pytest.mark.parametrize(("made", "asked"), [(1.0, 1.0), (1.04, 1.0), (1.0, 1.7), (1.0, 3.0)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stem_takes_the_asked_time_at_its_own_pitch_and_loudness(made, asked, channels):
    sound = fitted(tone(440, made, channels=channels), round(asked * RATE))
    assert sound.shape == (2, round(asked * RATE))
    middle = sound[:, RATE // 10 : -RATE // 10]
    assert pitch(middle[0]) == pytest.approx(440, rel=0.01)
    assert loudness(middle) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_scenes_sound_in_their_own_time_and_a_silent_one_is_silent_for_exactly_its_length():
    timeline = plan_timeline((24, 12, 24), ("cut", "cut"), SETTINGS, 24)
    mix = mixed(timeline, (tone(440, 1.0), None, tone(880, 1.0))).samples
    assert mix.shape == (2, 60 * RATE // 24)
    first, silent, last = mix[0, :RATE], mix[:, RATE : RATE * 3 // 2], mix[0, RATE * 3 // 2 :]
    assert (pitch(first), pitch(last)) == (pytest.approx(440, rel=0.01), pytest.approx(880, rel=0.01))
    assert not silent.any()
    assert np.abs(first[-3:]).max() < 0.02 < loudness(first[-4 * EDGE :])


def test_a_crossfade_is_of_equal_power_and_a_dip_to_black_is_silent_at_its_bottom():
    timeline = plan_timeline((48, 48, 48), ("crossfade", "fade"), SETTINGS, 24)
    crossfade, fade = timeline.segments[0].tail * 2, timeline.segments[1].fade_out
    assert min(crossfade, fade) > 4
    stems = tuple(
        tone(hertz, segment.clip_frames / 24) for hertz, segment in zip((440, 660, 550), timeline.segments, strict=True)
    )
    mix = mixed(timeline, stems).samples[0]
    per_frame = RATE // 24
    boundary = 48 * per_frame
    assert loudness(mix[boundary - 2 * per_frame : boundary + 2 * per_frame]) == pytest.approx(
        0.5 / np.sqrt(2), rel=0.1
    )
    dip = 96 * per_frame
    levels = [loudness(mix[dip - (frames + 1) * per_frame : dip - frames * per_frame]) for frames in range(fade + 1)]
    assert levels == sorted(levels)
    assert np.abs(mix[dip - 20 : dip + 20]).max() < 0.01


def test_a_mix_that_would_pass_full_scale_is_quieter_as_a_whole_and_not_clipped():
    timeline = plan_timeline((48, 48), ("crossfade",), SETTINGS, 24)
    stems = tuple(tone(440, segment.clip_frames / 24, level=0.99) for segment in timeline.segments)
    mix = mixed(timeline, stems).samples
    assert np.abs(mix).max() == pytest.approx(1.0)
    assert (np.abs(mix) > 0.999).mean() < 0.005


def test_a_sound_file_gives_back_the_sound_and_the_same_bytes():
    sound = tone(440, 0.1)
    data = encode_sound(sound)
    back = decode_sound(data)
    assert (data[:4], back.sample_rate) == (b"RIFF", 24_000)
    assert np.abs(back.samples - sound.samples).max() <= 0.5 / 32767 + 1e-6
    assert data == encode_sound(sound)
