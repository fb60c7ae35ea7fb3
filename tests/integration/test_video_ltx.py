"""The LTX family on tiny real weights: first and last frame, own noise, frame counts, cancelling, bare diffusers."""

import numpy as np
import pytest
from diffusers import LTXConditionPipeline
from diffusers.pipelines.ltx import pipeline_ltx_condition
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from diffusers.utils.torch_utils import randn_tensor

from models.diffusion.noise import draw, noise_sha256, step_generator
from models.errors import Cancelled, InvalidRequest
from models.interfaces import LoraUse, NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)
SPEC = {"size_multiple": 32, "frame_multiple": 8, "max_frames": 33, "first_frame": "optional", "last_frame": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_ltx(tmp_path_factory.mktemp("ltx"))


@pytest.fixture(scope="module")
def engine(folder):
    return load(tiny_models.video_spec("ltx", **SPEC), {"main": folder}, "cpu")


def request(**changes):
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 17, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 3.0, "first_frame": tiny_models.png(1),
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


def test_a_request_equals_the_stock_pipeline_that_draws_the_same_start_and_repeats_its_bits(
    engine, folder, monkeypatch
):
    stock = LTXConditionPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    draws = []

    def ours_first(*args, **options):
        draws.append(randn_tensor(*args, **options))
        return draw(NOISE, 8, 2, 2, frames=3)[None] if len(draws) == 1 else draws[-1]

    monkeypatch.setattr(pipeline_ltx_condition, "randn_tensor", ours_first)
    bare = stock(
        conditions=[LTXVideoCondition(tiny_models.opened(tiny_models.png(1)), frame_index=0),
                    LTXVideoCondition(tiny_models.opened(tiny_models.png(2)), frame_index=16)],
        prompt="a bottle, static camera", negative_prompt="", width=64, height=64, num_frames=17, frame_rate=8,
        num_inference_steps=3, guidance_scale=3.0, generator=step_generator(NOISE), decode_timestep=0.05,
        decode_noise_scale=0.025, output_type="np",
    ).frames[0]  # fmt: skip
    monkeypatch.undo()
    clip = generate(engine, last_frame=tiny_models.png(2))
    assert np.array_equal(clip, (bare * 255).round().astype("uint8"))
    assert np.array_equal(clip, generate(engine, last_frame=tiny_models.png(2)))


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 64), (9, 96, 64), (25, 32, 64)])
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine, frames, width, height):
    assert generate(engine, num_frames=frames, width=width, height=height).shape == (frames, height, width, 3)


def test_given_frames_the_camera_the_prompt_and_the_noise_reach_the_clip(engine):
    plain = generate(engine)
    for changes in (
        {"first_frame": tiny_models.png(2)}, {"camera": "pan_left"}, {"prompt": "a mug"}, {"noise": NoiseSpec(seed=3)},
        {"negative_prompt": "dark"}, {"guidance_scale": 1.0}, {"last_frame": tiny_models.png(2)},
        {"last_frame": tiny_models.png(3)}, {"first_frame": None},
    ):  # fmt: skip
        assert not np.array_equal(generate(engine, **changes), plain), changes


def test_the_result_names_its_noise_and_an_unread_prompt(engine):
    result = engine.generate(request(), Unwatched())
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 8, 2, 2, frames=3))
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert result.notes == ()
    assert "reads the first 256" in engine.generate(request(prompt="bottle " * 60), Unwatched()).notes[0]


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug"), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 80}, "multiples of 32"),
    ({"num_frames": 16}, r"makes 8k \+ 1 frames, not 16; ask for 9 or 17"),
    ({"num_frames": 41}, "at most 33"),
    ({"camera": "orbit"}, "does not know the camera move 'orbit'"),
    ({"num_frames": 1, "last_frame": tiny_models.png(2)}, "cannot have both a first and a last frame"),
    ({"references": (Reference(image=tiny_models.png(3), role="product"),)}, "takes no reference images"),
    ({"loras": (LoraUse(name="neon"),)}, "has no LoRA 'neon'; it has: none"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)


@pytest.mark.parametrize(("spec", "changes", "message"), [
    ({"first_frame": "required"}, {"first_frame": None}, "makes clips from a first frame; give first_frame"),
    ({"last_frame": False}, {"last_frame": tiny_models.png(2)}, "cannot end on a given frame; leave out last_frame"),
])  # fmt: skip
def test_a_request_that_the_spec_does_not_allow_is_refused(folder, spec, changes, message):
    limited = load(tiny_models.video_spec("ltx", **SPEC | spec), {"main": folder}, "cpu")
    with pytest.raises(InvalidRequest, match=message):
        generate(limited, **changes)
