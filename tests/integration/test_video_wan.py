"""The Wan family on tiny real weights: first and last frame, own noise, frame counts, cancelling, bare diffusers."""

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline

from models.diffusion.memory import SECOND_TRY
from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest, OutOfMemory
from models.interfaces import LoraUse, NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def engine(folder):
    return load(tiny_models.video_spec("wan", size_multiple=16, frame_multiple=4), {"main": folder}, "cpu")


@pytest.fixture(scope="module")
def both_ends(tmp_path_factory):
    main = tiny_models.save_wan(tmp_path_factory.mktemp("wan-flf"), last_frame=True)
    return load(tiny_models.video_spec("wan", last_frame=True), {"main": main}, "cpu")


def request(**changes):
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 5, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 4.0, "first_frame": tiny_models.png(1),
    }  # fmt: skip
    return VideoRequest.model_validate(plain | changes)


def generate(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).frames


class StopAt:
    def __init__(self, step):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


def test_a_request_equals_the_bare_stock_pipeline_and_repeats_its_bits(engine, folder):
    stock = WanImageToVideoPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        tiny_models.opened(tiny_models.png(1)), "a bottle, static camera", negative_prompt="", width=64, height=64,
        num_frames=5, num_inference_steps=3, guidance_scale=4.0, latents=draw(NOISE, 16, 8, 8, frames=2)[None],
    ).frames[0]  # fmt: skip
    clip = generate(engine)
    assert np.array_equal(clip, (bare * 255).round().astype("uint8"))
    assert np.array_equal(clip, generate(engine))


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 64), (5, 96, 64), (9, 48, 80)])
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine, frames, width, height):
    assert generate(engine, num_frames=frames, width=width, height=height).shape == (frames, height, width, 3)


def test_the_first_frame_the_camera_the_prompt_and_the_noise_reach_the_clip(engine):
    plain = generate(engine)
    for changes in (
        {"first_frame": tiny_models.png(2)}, {"camera": "pan_left"}, {"prompt": "a mug"}, {"noise": NoiseSpec(seed=3)},
        {"negative_prompt": "dark"}, {"guidance_scale": 1.0},
    ):  # fmt: skip
        assert np.abs(generate(engine, **changes).astype(int) - plain).max() > 0, changes


def test_the_last_frame_reaches_the_clip(both_ends):
    one, other = (generate(both_ends, last_frame=tiny_models.png(seed)) for seed in (7, 8))
    assert one.shape == (5, 64, 64, 3)
    assert not np.array_equal(one, other)
    assert np.array_equal(one, generate(both_ends, last_frame=tiny_models.png(7)))


def test_the_result_names_its_noise(engine):
    result = engine.generate(request(num_frames=9), Unwatched())
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 16, 8, 8, frames=3))
    assert set(result.timings) == {"encode", "denoise", "decode"}


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug"), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 72}, "multiples of 16"),
    ({"num_frames": 8}, r"makes 4k \+ 1 frames, not 8; ask for 5 or 9"),
    ({"num_frames": 16}, r"not 16; ask for 13 and"),
    ({"num_frames": 17}, "at most 16"),
    ({"camera": "orbit"}, "does not know the camera move 'orbit'"),
    ({"last_frame": tiny_models.png(2)}, "cannot end on a given frame"),
    ({"references": (Reference(image=tiny_models.png(3), role="product"),)}, "takes no reference images"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)


def test_weights_that_need_both_ends_refuse_a_request_with_one(both_ends):
    with pytest.raises(InvalidRequest, match="give last_frame too"):
        generate(both_ends)


def test_a_spec_cannot_promise_a_last_frame_that_the_weights_do_not_take(folder):
    engine = load(tiny_models.video_spec("wan", last_frame=True), {"main": folder}, "cpu")
    with pytest.raises(InvalidRequest, match="cannot end on a given frame"):
        generate(engine, last_frame=tiny_models.png(2))


# --- accelerations, memory, budget, LoRAs -----------------------------------------------------------------------------


def test_a_deterministic_clip_does_not_use_the_cache(engine, folder):
    cache = {"class": "FirstBlockCacheConfig", "threshold": 10.0}
    spec = tiny_models.video_spec("wan", frame_multiple=4, acceleration={"cache": cache})
    cached = load(spec, {"main": folder}, "cpu")
    plain = generate(engine)
    assert not np.array_equal(generate(cached), plain)
    assert np.array_equal(generate(cached, deterministic=True), plain)


def test_a_cancelled_clip_leaves_nothing_in_the_cache(folder):
    cache = {"class": "FirstBlockCacheConfig", "threshold": 10.0}
    spec = tiny_models.video_spec("wan", frame_multiple=4, acceleration={"cache": cache})
    cached = load(spec, {"main": folder}, "cpu")
    before = generate(cached)
    with pytest.raises(Cancelled):
        cached.generate(request(prompt="a green mug", noise=NoiseSpec(seed=9)), StopAt(1))
    assert np.array_equal(generate(cached), before)


def test_a_clip_that_finds_no_memory_is_made_again_and_says_so(engine, monkeypatch):
    vae, tries = engine._pipeline.vae, []
    decode = vae.decode

    def scarce(latents, **options):
        tries.append(vae.use_tiling)
        if not vae.use_tiling:
            torch.empty(2**50)
        return decode(latents, **options)

    plain = generate(engine)
    monkeypatch.setattr(vae, "decode", scarce)
    result = engine.generate(request(), Unwatched())
    assert tries == [False, True]
    assert result.notes == (SECOND_TRY,)
    assert np.array_equal(result.frames, plain)
    assert not vae.use_tiling


def test_a_clip_that_never_fits_is_refused_by_its_size_and_the_next_is_made(engine, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(OutOfMemory, match="no room for 5 frames of 64x64"):
        patch.setattr(engine._pipeline.vae, "decode", lambda latents, **options: torch.empty(2**50))
        generate(engine)
    assert generate(engine).shape == (5, 64, 64, 3)


def test_a_clip_over_the_pixel_budget_is_refused_with_the_limit(engine):
    with pytest.raises(InvalidRequest, match="takes at most 262144 per request"):
        generate(engine, width=1024, height=1024)


def test_an_unlisted_lora_is_refused(engine):
    with pytest.raises(InvalidRequest, match="has no LoRA 'neon'; it has: none"):
        generate(engine, loras=(LoraUse(name="neon"),))


def test_a_clip_without_its_keyframe_is_refused(engine):
    with pytest.raises(InvalidRequest, match="give first_frame"):
        generate(engine, first_frame=None)
