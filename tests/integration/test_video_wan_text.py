"""The Wan text-to-video family on tiny real weights: own noise, frame counts, cancelling, bare diffusers."""

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from models.diffusion.memory import SECOND_TRY
from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest, OutOfMemory
from models.interfaces import LoraUse, NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_wan_text(tmp_path_factory.mktemp("wan-text"))


@pytest.fixture(scope="module")
def engine(folder):
    spec = tiny_models.video_spec("wan-text", size_multiple=16, frame_multiple=4, first_frame="unused")
    return load(spec, {"main": folder}, "cpu")


def request(**changes):
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 5, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 4.0,
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
    stock = WanPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        "a bottle, static camera", negative_prompt="", width=64, height=64, num_frames=5, num_inference_steps=3,
        guidance_scale=4.0, latents=draw(NOISE, 16, 8, 8, frames=2)[None],
    ).frames[0]  # fmt: skip
    clip = generate(engine)
    assert np.array_equal(clip, (bare * 255).round().astype("uint8"))
    assert np.array_equal(clip, generate(engine))


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 64), (5, 96, 64), (9, 48, 80)])
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine, frames, width, height):
    assert generate(engine, num_frames=frames, width=width, height=height).shape == (frames, height, width, 3)


def test_the_camera_the_prompt_the_guidance_and_the_noise_reach_the_clip(engine):
    plain = generate(engine)
    for changes in (
        {"camera": "pan_left"}, {"prompt": "a mug"}, {"noise": NoiseSpec(seed=3)}, {"negative_prompt": "dark"},
        {"guidance_scale": 1.0},
    ):  # fmt: skip
        assert not np.array_equal(generate(engine, **changes), plain), changes


def test_the_result_names_its_noise_and_an_unread_prompt(engine):
    result = engine.generate(request(num_frames=9), Unwatched())
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 16, 8, 8, frames=3))
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert result.notes == ()
    assert "reads the first 512" in engine.generate(request(prompt="bottle " * 90), Unwatched()).notes[0]


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug"), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


def test_out_of_memory_is_answered_by_a_second_try_and_then_by_an_error_that_leaves_the_engine_whole(
    engine, monkeypatch
):
    short = {"num_frames": 1, "width": 32, "height": 32, "num_inference_steps": 1}
    before, decode, fails = generate(engine, **short), engine._pipeline.vae.decode, [1]

    def run_out(*args, **options):
        if fails and fails.pop():
            raise torch.OutOfMemoryError("out of memory")
        return decode(*args, **options)

    monkeypatch.setattr(engine._pipeline.vae, "decode", run_out)
    assert engine.generate(request(**short), Unwatched()).notes == (SECOND_TRY,)
    fails += [1, 1]
    with pytest.raises(OutOfMemory, match="no room for 1 frame of 32x32"):
        generate(engine, **short)
    assert np.array_equal(generate(engine, **short), before)


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 72}, "multiples of 16"),
    ({"num_frames": 8}, r"makes 4k \+ 1 frames, not 8; ask for 5 or 9"),
    ({"camera": "orbit"}, "does not know the camera move 'orbit'"),
    ({"first_frame": tiny_models.png(2)}, "makes clips from text alone; leave out first_frame"),
    ({"last_frame": tiny_models.png(2)}, "makes clips from text alone; leave out last_frame"),
    ({"references": (Reference(image=tiny_models.png(3), role="product"),)}, "takes no reference images"),
    ({"loras": (LoraUse(name="neon"),)}, "has no LoRA 'neon'; it has: none"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)
