"""The Wan VACE family on tiny real weights: references, first and last frame, own noise, cancelling, bare diffusers."""

import numpy as np
import pytest
import torch
from diffusers import WanVACEPipeline
from PIL import Image

from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest
from models.interfaces import AdapterSettings, NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)
SPEC = {"size_multiple": 16, "frame_multiple": 4, "references": 3, "first_frame": "optional", "last_frame": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_wan_vace(tmp_path_factory.mktemp("wan-vace"))


@pytest.fixture(scope="module")
def engine(folder):
    return load(tiny_models.video_spec("wan-vace", **SPEC), {"main": folder}, "cpu")


def request(**changes):
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 5, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 4.0,
    }  # fmt: skip
    return VideoRequest.model_validate(plain | changes)


def reference(seed, **changes):
    return Reference.model_validate({"image": tiny_models.png(seed), "role": "product"} | changes)


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
    stock = WanVACEPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    grey, keep, make = Image.new("RGB", (64, 64), (128,) * 3), Image.new("L", (64, 64)), Image.new("L", (64, 64), 255)
    # The clip's noise is that of a request without references; theirs comes after it in the drawing, before it here.
    noise = draw(NOISE, 16, 8, 8, frames=4)[None]
    assert torch.equal(noise[:, :, :2], draw(NOISE, 16, 8, 8, frames=2)[None])
    bare = stock(
        "a bottle, static camera", negative_prompt="", width=64, height=64, num_frames=5, num_inference_steps=3,
        guidance_scale=4.0, latents=torch.cat([noise[:, :, 2:], noise[:, :, :2]], dim=2),
        video=[tiny_models.opened(tiny_models.png(1)), *[grey] * 4], mask=[keep, *[make] * 4],
        reference_images=[tiny_models.opened(tiny_models.png(seed)) for seed in (3, 4)],
    ).frames[0]  # fmt: skip
    asked = {"first_frame": tiny_models.png(1), "references": (reference(3), reference(4))}
    result = engine.generate(request(**asked), Unwatched())
    assert np.array_equal(result.frames, (bare * 255).round().astype("uint8"))
    assert np.array_equal(result.frames, generate(engine, **asked))
    assert result.noise_sha256 == noise_sha256(noise)


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 64), (5, 96, 64), (9, 48, 80)])
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine, frames, width, height):
    asked = {"num_frames": frames, "width": width, "height": height}
    assert generate(engine, **asked).shape == (frames, height, width, 3)
    given = {"references": (reference(3),), "first_frame": tiny_models.png(1)}
    assert generate(engine, **asked, **given).shape == (frames, height, width, 3)


def test_frames_references_camera_prompt_and_noise_reach_the_clip(engine):
    first, last = tiny_models.png(1), tiny_models.png(2)

    def quick(**changes):
        return generate(engine, num_inference_steps=1, **changes)

    clips = [
        quick(), quick(first_frame=first), quick(first_frame=last),
        quick(last_frame=last), quick(first_frame=first, last_frame=last),
        quick(references=(reference(3),)), quick(references=(reference(4),)),
        quick(references=(reference(3), reference(4))),
        quick(references=(reference(3),), first_frame=first), quick(camera="pan_left"),
        quick(prompt="a mug"), quick(noise=NoiseSpec(seed=3)),
        quick(negative_prompt="dark"), quick(guidance_scale=1.0),
    ]  # fmt: skip
    for index, one in enumerate(clips):
        assert all(not np.array_equal(one, other) for other in clips[index + 1 :]), index


def test_a_reference_of_no_strength_is_left_out(engine):
    without = generate(engine, references=(reference(4),))
    assert np.array_equal(generate(engine, references=(reference(3, weight=0.0), reference(4))), without)
    none = generate(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.0))
    assert np.array_equal(none, generate(engine))


def test_what_had_no_effect_is_said(engine):
    assert engine.generate(request(references=(reference(3),)), Unwatched()).notes == ()
    weighed = engine.generate(request(references=(reference(3, weight=0.5),)), Unwatched())
    assert weighed.notes[0].startswith("reference 1 acts in full, not with weight 0.5")
    assert np.array_equal(weighed.frames, generate(engine, references=(reference(3),)))


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug", references=(reference(3),)), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 72}, "multiples of 16"),
    ({"num_frames": 8}, r"makes 4k \+ 1 frames, not 8; ask for 5 or 9"),
    ({"camera": "orbit"}, "does not know the camera move 'orbit'"),
    ({"num_frames": 1, "references": (reference(3), reference(4))}, "1 frames are too few for 2 .* at least 5"),
    ({"num_frames": 1, "first_frame": tiny_models.png(1), "last_frame": tiny_models.png(2)}, "give one of them"),
    ({"references": (Reference(image={"data": b"no image"}, role="product"),)}, "reference 1 cannot be decoded"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)


@pytest.mark.parametrize(("spec", "changes", "message"), [
    ({"first_frame": "required"}, {}, "makes clips from a first frame; give first_frame"),
    ({"first_frame": "unused"}, {"first_frame": tiny_models.png(1)}, "cannot start from a given frame"),
    ({"last_frame": False}, {"last_frame": tiny_models.png(1)}, "leave out last_frame"),
    ({"references": 1}, {"references": (reference(3), reference(4))}, "takes 1 reference images, but 2"),
])  # fmt: skip
def test_a_request_that_the_spec_does_not_allow_is_refused(folder, spec, changes, message):
    limited = load(tiny_models.video_spec("wan-vace", **SPEC | spec), {"main": folder}, "cpu")
    with pytest.raises(InvalidRequest, match=message):
        generate(limited, **changes)
