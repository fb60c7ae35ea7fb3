"""Dimensions without learned parts: published formulas, pictures whose answer is known, and a reason for no number."""

from __future__ import annotations

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from models.interfaces import Audio, EncodedImage, Unwatched
from models.interfaces import Reference as ShownTo
from models.sketch.training.world import COLOURS, reference_array, render_array, render_clip, sample_spec
from models.sketch.training.world.render import draft_layers
from pipelines.media import decode_clip, encode_png, encode_video
from pipelines.scoring import ScoreRequest, score_file
from quality.asked import Asked, Sound
from quality.colour import ciede2000, lab, palette, palette_difference
from quality.dimensions.product_colour import MIDDLE, product_palette
from quality.engine import measure
from quality.loudness import integrated
from quality.score import NoValue
from quality.stream import Reference, Shot

CLASSICAL = (
    "technical", "technical.sharpness", "technical.noise", "technical.clipping", "technical.blockiness",
    "technical.exposure", "product_colour", "freeze_loop.frozen", "unwanted_cuts", "ad.duration", "ad.ratio",
    "ad.black_frames", "ad.luminance_clipping", "ad.loudness",
)  # fmt: skip


def score(name, frames, **fields):
    return measure([name], frames, Shot(**fields))[0]


def value(name, frames, **fields):
    found = score(name, frames, **fields)
    assert found.raw is not None, found.reason
    return found.raw


def larger(picture, times=3):
    return cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def scene():
    return sample_spec(np.random.default_rng(1), aspect="16:9")


@pytest.fixture(scope="module")
def picture(scene):
    return larger(render_array(scene))


# --- colour ---

SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, 2.8361, -74.02), (50, 0, -82.7485), 3.4412),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, -1.1848, -84.8006), (50, 0, -82.7485), 1.0),
    ((50, -0.9009, -85.5211), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, -1, 2), (50, 0, 0), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.001), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.49, -0.001), (50, -2.49, 0.0012), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.001, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((50, 2.5, 0), (50, 3.1736, 0.5854), 1.0),
    ((50, 2.5, 0), (50, 3.2972, 0), 1.0),
    ((50, 2.5, 0), (50, 1.8634, 0.5757), 1.0),
    ((50, 2.5, 0), (50, 3.2592, 0.3350), 1.0),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((61.2901, 3.7196, -5.3901), (61.4292, 2.2480, -4.962), 1.8731),
    ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.9730, -42.5619), 2.0373),
    ((36.4612, 47.8580, 18.3852), (36.2715, 50.5065, 21.2231), 1.4146),
    ((90.8027, -2.0831, 1.441), (91.1528, -1.6435, 0.0447), 1.4441),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Table 1 of Sharma, Wu and Dalal (2005)."""


def test_the_colour_difference_gives_every_published_value_both_ways():
    one, other, expected = (np.array([row[place] for row in SHARMA], float) for place in range(3))
    assert len(SHARMA) == 34
    assert ciede2000(one, other) == pytest.approx(expected, abs=5e-5)
    assert ciede2000(other, one) == pytest.approx(expected, abs=5e-5)


def test_lab_of_srgb_is_that_of_the_standard():
    primaries = lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [100, 50, 75]], np.uint8))
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [28.11, 25.90, -5.25]]
    assert primaries == pytest.approx(np.array(expected), abs=0.02)


def test_a_palette_holds_the_colours_and_their_shares_the_largest_first():
    found = palette(np.array([[20.0, 0, 0]] * 60 + [[80.0, 40, 0]] * 30 + [[50.0, 0, 60]] * 10))
    assert found.colours == pytest.approx(np.array([[20.0, 0, 0], [80, 40, 0], [50, 0, 60]]))
    assert found.shares == pytest.approx([0.6, 0.3, 0.1])
    assert palette_difference(found, found) == 0


def box_of(cover):
    """Where the product is, and a little around it."""
    rows, columns = np.nonzero(cover > 0.5)
    height, width = cover.shape
    across, down = 0.15 * np.ptp(columns) / width, 0.15 * np.ptp(rows) / height
    left, right = columns.min() / width - across, (columns.max() + 1) / width + across
    top, bottom = rows.min() / height - down, (rows.max() + 1) / height + down
    return tuple(float(np.clip(edge, 0, 1)) for edge in (left, top, right, bottom))


def test_another_colour_of_the_product_raises_product_colour():
    draws = np.random.default_rng(11)
    told, pairs = 0, 16
    for _ in range(pairs):
        spec = sample_spec(draws)
        other = replace(spec, colour=str(draws.choice([colour for colour in COLOURS if colour != spec.colour])))
        reference = (Reference(reference_array(spec, draws)),)
        right, wrong = (
            value("product_colour", [frame], references=reference, product={0: box_of(cover[..., 0])})
            for frame, cover in map(draft_layers, (spec, other))
        )
        told += right < wrong
    assert told >= 0.95 * pairs  # of 200 pairs: 99.5 %


def test_product_colour_says_when_it_guessed_the_place_and_leaves_out_frames_without_the_product(scene):
    frames = list(render_clip(scene, 24))
    reference = (Reference(reference_array(scene, np.random.default_rng(0))),)
    assert "nobody said where" in (score("product_colour", frames, references=reference).note or "")
    known = score("product_colour", frames, references=reference, product={12: MIDDLE})
    assert (known.frames_used, known.note) == (1, None)
    reason = score("product_colour", frames, references=reference, product={}).reason
    assert reason == "the product is in none of the frames that were looked at"
    assert score("product_colour", frames).reason == "needs a picture of the product as a reference"


def test_the_background_of_a_reference_is_no_colour_of_the_product():
    white, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((250, 250, 250), (30, 60, 200)))
    for ground in (white, blue):
        ground[20:44, 20:44] = (200, 30, 30)
    assert palette_difference(product_palette(white), product_palette(blue)) < 0.5


# --- technical ---


def test_blur_lowers_sharpness_and_the_whole(picture):
    blurred = cv2.GaussianBlur(picture, None, 3)
    assert value("technical.sharpness", [blurred]) < 0.3 * value("technical.sharpness", [picture])
    assert value("technical", [blurred]) < value("technical", [picture])


@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_noise_is_estimated_on_a_smooth_picture(sigma):
    smooth = np.tile(np.linspace(80, 170, 256)[:, None, None], (1, 320, 3))
    noisy = smooth + np.random.default_rng(0).normal(0, sigma, (256, 320, 1))
    assert value("technical.noise", [np.clip(noisy, 0, 255).astype(np.uint8)]) == pytest.approx(sigma, rel=0.1)


def test_clipping_and_exposure_are_shares_of_the_picture():
    half = np.full((64, 64, 3), 128, np.uint8)
    half[:16], half[16:32] = 0, 255
    assert value("technical.clipping", [half]) == 0.5
    assert value("technical.exposure", [half]) == pytest.approx((0.25 * 255 + 0.5 * 128) / 255, abs=1e-3)
    coloured = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    assert value("technical.clipping", [coloured]) == 0


def test_a_strongly_compressed_picture_is_blocky_and_the_original_is_not(picture):
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])
    blocky = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert abs(value("technical.blockiness", [picture])) < 0.3
    assert value("technical.blockiness", [blocky]) > 1.0


def test_the_whole_is_its_worst_part_and_says_which(picture):
    found = score("technical", [np.full((64, 64, 3), 255, np.uint8)])
    assert found.raw == 0.0 and (found.note or "").startswith("shares: sharpness 0.00")
    assert 0 < value("technical", [picture]) < 1


# --- frozen frames and cuts ---


def test_duplicates_are_frozen_before_and_after_encoding(picture):
    assert value("freeze_loop.frozen", [picture] * 5) == 1.0
    height, width = picture.shape[:2]
    encoded = decode_clip(encode_video([picture] * 25, 24, (width, height), 17, 1))
    assert value("freeze_loop.frozen", encoded) >= 0.9


@pytest.mark.parametrize("camera", ["push_in", "pan_left", "tilt_up", "orbit"])
def test_a_slow_move_is_not_frozen(scene, camera):
    clip = render_clip(replace(scene, camera=camera), 96)[:13]  # four seconds a move
    assert value("freeze_loop.frozen", [larger(frame) for frame in clip]) == 0.0


def test_half_a_clip_that_stands_still_is_half_frozen(scene):
    moving = [larger(frame) for frame in render_clip(replace(scene, camera="pan_left"), 11)]
    found = score("freeze_loop.frozen", [*moving, *[moving[-1]] * 10])
    assert found.raw == 0.5
    assert found.series is not None and found.series.values == (0.0,) * 10 + (1.0,) * 10


def test_a_planted_cut_is_found_at_its_frame_and_camera_moves_are_none(scene):
    draws = np.random.default_rng(3)
    for camera in ("static", "push_in", "pan_left", "orbit"):
        first = replace(sample_spec(draws, aspect="1:1"), camera=camera, setting="beach", time="noon")
        second = replace(first, setting="forest", time="evening")
        one, other = render_clip(first, 12), render_clip(second, 12)
        assert value("unwanted_cuts", one) == 0
        found = score("unwanted_cuts", [*one, *other])
        assert (found.raw, found.note) == (1.0, "a new shot begins at frame 13, counted from 1")


# --- what an ad must keep to ---


def test_an_exact_length_is_off_by_no_frame_and_another_says_by_how_many():
    frames = [np.zeros((8, 8, 3), np.uint8)] * 48
    assert value("ad.duration", frames, fps=24.0, asked=Asked(seconds=2.0)) == 0
    found = score("ad.duration", frames, fps=24.0, asked=Asked(seconds=1.75))
    assert (found.raw, found.note) == (6.0, "longer than asked")
    assert score("ad.duration", frames, fps=24.0).reason == "needs the length that was asked for"


def test_the_ratio_is_off_by_a_share_whichever_side_is_too_long():
    asked = Asked(ratio=(16, 9))
    assert value("ad.ratio", [np.zeros((90, 160, 3), np.uint8)], asked=asked) == pytest.approx(0)
    assert value("ad.ratio", [np.zeros((90, 176, 3), np.uint8)], asked=asked) == pytest.approx(0.1)
    assert value("ad.ratio", [np.zeros((99, 160, 3), np.uint8)], asked=asked) == pytest.approx(0.1)


def test_black_frames_and_clipped_light_are_counted(picture):
    black, white = np.full_like(picture, 6), np.full_like(picture, 255)
    assert value("ad.black_frames", [picture, black, black, picture]) == 0.5
    found = score("ad.luminance_clipping", [picture, white, picture])
    assert found.raw == 1.0 and found.series is not None and found.series.values[1] == 1.0


# --- loudness ---


def tone(decibel, rate=48_000, seconds=4.0, hertz=997.0, channels=2):
    wave = 10 ** (decibel / 20) * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return Sound(np.tile(wave[:, None], (1, channels)).astype(np.float32), rate)


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000])
def test_a_stereo_tone_of_minus_23_dbfs_is_minus_23_lufs(rate):
    assert integrated(tone(-23.0, rate)) == pytest.approx(-23.0, abs=0.1)  # the tolerance of EBU Tech 3341


def test_quiet_passages_are_gated_as_the_ebu_asks():
    levels = [(-36.0, 4.0), (-23.0, 30.0), (-36.0, 4.0)]  # case 3 of Tech 3341, shorter
    parts = [tone(level, seconds=seconds).samples for level, seconds in levels]
    assert integrated(Sound(np.concatenate(parts), 48_000)) == pytest.approx(-23.0, abs=0.1)


def ffmpeg_loudness(sound, layout):
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=sound.rate, format="flt", layout=layout, time_base=f"1/{sound.rate}")
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    found = ""
    for start in [*range(0, len(sound.samples), 4800), None]:
        if start is None:
            source.push(None)
        else:
            samples = np.ascontiguousarray(sound.samples[start : start + 4800].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate, frame.pts = sound.rate, start
            source.push(frame)
        while True:
            try:
                found = dict(sink.pull().metadata).get("lavfi.r128.I", found)
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return float(found)


@pytest.mark.parametrize(("channels", "layout"), [(1, "mono"), (2, "stereo"), (6, "5.1")])
def test_loudness_is_that_of_ffmpegs_meter(channels, layout):
    draws = np.random.default_rng(channels)
    loud = np.repeat(draws.uniform(0.002, 0.3, 60), 4800)[:, None]
    sound = Sound((loud * draws.normal(0, 1, (288_000, channels))).astype(np.float32), 48_000)
    assert integrated(sound) == pytest.approx(ffmpeg_loudness(sound, layout), abs=0.05)


def test_silence_and_a_moment_of_sound_have_a_reason():
    with pytest.raises(NoValue, match="it is silence"):
        integrated(Sound(np.zeros((48_000, 2), np.float32), 48_000))
    with pytest.raises(NoValue, match="needs 400 ms of sound: there are 100"):
        integrated(tone(-20, seconds=0.1))
    frame = [np.zeros((8, 8, 3), np.uint8)]
    assert "it has no sound track" in (score("ad.loudness", frame).reason or "")
    assert value("ad.loudness", frame, sound=tone(-23.0)) == pytest.approx(-23.0, abs=0.1)


def test_a_videos_own_sound_its_reference_and_its_length_reach_the_dimensions(picture):
    height, width = picture.shape[:2]
    audio = Audio(tone(-23.0, seconds=2.0).samples.T, 48_000)
    request = ScoreRequest(
        data=encode_video([picture] * 48, 24, (width, height), 17, 1, audio=audio),
        dimensions=("ad.loudness", "ad.duration", "product_colour"),
        asked=Asked(seconds=2.0),
        references=(ShownTo(image=EncodedImage(data=encode_png(picture)), role="product"),),
    )
    loudness, duration, colour = score_file(request, {}, Unwatched())
    assert loudness.raw == pytest.approx(-23.0, abs=0.3)  # AAC
    assert duration.raw == 0
    assert colour.raw is not None
    silent = request.model_copy(update={"data": encode_video([picture] * 4, 24, (width, height), 17, 1)})
    assert "it has no sound track" in (score_file(silent, {}, Unwatched())[0].reason or "")


# --- every one of them ---


@pytest.mark.parametrize("shape", [(0, 8, 8), (1, 4, 4), (2, 17, 31), (3, 48, 80), (20, 16, 16)])
def test_any_clip_has_a_finite_value_or_a_reason_whatever_the_block_size(shape):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    asked = Asked(seconds=1.0, ratio=(1, 1))
    shot = Shot(asked=asked, product={0: MIDDLE}, references=(Reference(np.full((9, 9, 3), 9, np.uint8)),))
    whole = measure(CLASSICAL, frames, shot)
    assert whole == measure(CLASSICAL, frames, shot, block_frames=3)
    assert all((one.raw is None) != (one.reason is None) for one in whole)
    assert all(one.fidelity == "classical" for one in whole if one.raw is not None)
