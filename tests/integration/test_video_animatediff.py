"""The AnimateDiff family (PIA-type) on tiny real weights: keyframe, noise, references, camera words, cancelling."""

import numpy as np
import pytest
import torch
from diffusers import PIAPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest
from models.interfaces import AdapterSettings, EncodedImage, NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from models.video.animatediff import followed, held
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("animatediff")
    main = tiny_models.save_stable_diffusion(root / "main")
    return {
        "main": main,
        "ip_adapter": tiny_models.save_ip_adapter(root / "ip_adapter", main),
        "motion_adapter": tiny_models.save_motion_adapter(root / "motion_adapter"),
    }


@pytest.fixture(scope="module")
def engine(folders):
    return load(tiny_models.video_spec("animatediff", references=3), folders, "cpu")


def request(**changes):
    plain = {
        "prompt": "a bottle", "width": 64, "height": 64, "num_frames": 4, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 4.0, "first_frame": tiny_models.png(1),
    }  # fmt: skip
    return VideoRequest.model_validate(plain | changes)


def generate(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).frames


def reference(seed, weight=1.0):
    return Reference(image=tiny_models.png(seed), role="product", weight=weight)


class StopAt:
    def __init__(self, step):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


def test_the_same_request_gives_the_same_bits(engine):
    assert np.array_equal(generate(engine), generate(engine))


@pytest.mark.parametrize("frames", [1, 4, 9])
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine, frames):
    clip = generate(engine, num_frames=frames, width=96)
    assert clip.shape == (frames, 64, 96, 3)
    assert clip.dtype == np.uint8


def test_the_keyframe_the_camera_and_the_prompt_reach_the_clip(engine):
    plain = generate(engine)
    for changes in (
        {"first_frame": tiny_models.png(2)}, {"camera": "pan_left"}, {"prompt": "a mug"}, {"noise": NoiseSpec(seed=3)},
        {"negative_prompt": "dark"}, {"guidance_scale": 1.0},
    ):  # fmt: skip
        assert not np.array_equal(generate(engine, **changes), plain), changes


def test_the_result_names_its_noise_and_its_time(engine):
    result = engine.generate(request(), Unwatched())
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 4, 8, 8, frames=4))
    assert set(result.timings) == {"encode", "denoise", "decode"}


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_condition_is_the_stock_one_without_its_chance(engine, monkeypatch, guidance_scale):
    """Mask and keyframe latents equal those of the stock class once its VAE sampling is the mode too."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    pipeline, picture = engine._pipeline, tiny_models.opened(tiny_models.png(1))
    monkeypatch.setattr(pipeline, "_guidance_scale", guidance_scale, raising=False)
    options = {"num_frames": 8, "height": 64, "width": 64, "dtype": torch.float32, "device": "cpu", "generator": None}
    with torch.inference_mode():
        told = held(pipeline, picture, "static", 8)
        mask, keyframe = pipeline.prepare_masked_condition(told, 1, 4, **options)
        stock_mask, stock_keyframe = PIAPipeline.prepare_masked_condition(pipeline, picture, 1, 4, **options)
    assert torch.equal(mask, stock_mask)
    assert torch.equal(keyframe, stock_keyframe)


def test_a_followed_keyframe_is_told_as_the_moved_camera_sees_it(engine):
    pipeline, picture = engine._pipeline, tiny_models.opened(tiny_models.png(1))
    with torch.inference_mode():
        plain, still, panned = (
            held(pipeline, picture, "static", 4),
            *(followed(pipeline, picture, move, 4) for move in ("static", "pan_right")),
        )
    assert still.shape == panned.shape == plain.shape == (1, 5, 4, 8, 8)
    assert torch.allclose(still[:, 1:], plain[:, 1:], atol=1e-4)
    assert still[:, 0].min() == 1
    assert torch.allclose(panned[:, :, 0], still[:, :, 0], atol=1e-4)
    unknown = panned[0, 0, -1] == 0
    assert unknown[:, -1].all()
    assert not unknown[:, 0].any()
    assert (panned[0, 1:, -1][:, unknown] == 0).all()


def test_weights_that_follow_the_keyframe_see_the_camera_beyond_its_words(folders, monkeypatch):
    engine = load(tiny_models.video_spec("animatediff", keyframe="followed"), folders, "cpu")
    monkeypatch.setattr(engine, "_prompt", lambda request: "a bottle")
    assert not np.array_equal(generate(engine, camera="push_in"), generate(engine, camera="static"))


def test_references_reach_the_clip_with_their_weights(engine):
    plain = generate(engine)
    three = generate(engine, references=(reference(3), reference(4, 0.5), reference(5, 0.2)))
    assert not np.array_equal(three, plain)
    assert not np.array_equal(three, generate(engine, references=(reference(3), reference(4, 0.5))))
    zero = generate(engine, references=(reference(3), reference(4, 0.0)))
    assert np.array_equal(zero, generate(engine, references=(reference(3),)))
    off = AdapterSettings(scale=0.0)
    assert np.array_equal(generate(engine, references=(reference(3),), adapter=off), plain)


def test_no_reference_and_no_adapter_are_the_same_bits(engine, folders):
    bare = load(tiny_models.video_spec("animatediff"), folders, "cpu")
    assert np.array_equal(generate(engine), generate(bare))


def test_presets_and_begin_change_the_clip(engine):
    clips = [
        generate(engine, references=(reference(3),), adapter=AdapterSettings(**settings))
        for settings in ({}, {"blocks": "style"}, {"blocks": "layout"}, {"begin_step_percent": 0.5})
    ]
    for k, clip in enumerate(clips):
        assert not any(np.array_equal(clip, other) for other in clips[:k])


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(2)
    with pytest.raises(Cancelled):
        engine.generate(request(references=(reference(3),)), watcher)
    assert watcher.reports == [(0, 3), (1, 3), (2, 3)]
    assert np.array_equal(generate(engine), before)


def test_the_camera_comes_last_unless_it_would_be_cut_off(engine):
    assert engine._prompt(request(camera="push_in")) == "a bottle, camera pushes in"
    long = "a very long prompt " * 8
    assert engine._prompt(request(camera="push_in", prompt=long)) == f"camera pushes in, {long}"
    assert not np.array_equal(
        generate(engine, prompt=long, camera="push_in"), generate(engine, prompt=long, camera="static")
    )


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 60}, "multiples of 8"),
    ({"num_frames": 17}, "at most 16"),
    ({"camera": "orbit"}, "does not know the camera move 'orbit'; it knows static, push_in, pan_left"),
    ({"last_frame": tiny_models.png(2)}, "cannot end on a given frame"),
    ({"first_frame": EncodedImage(data=b"x")}, "the first frame cannot be decoded"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)


def test_the_motion_adapter_limits_the_length_even_where_the_spec_says_more(folders):
    engine = load(tiny_models.video_spec("animatediff", max_frames=99), folders, "cpu")
    with pytest.raises(InvalidRequest, match="at most 16"):
        generate(engine, num_frames=17)


def test_references_without_an_adapter_are_refused(folders):
    engine = load(tiny_models.video_spec("animatediff"), folders, "cpu")
    with pytest.raises(InvalidRequest, match="takes no reference images"):
        generate(engine, references=(reference(3),))


def test_a_motion_adapter_that_takes_no_keyframe_is_refused(folders, tmp_path):
    plain = {**folders, "motion_adapter": tiny_models.save_motion_adapter(tmp_path, conv_in_channels=None)}
    with pytest.raises(InvalidRequest, match="PIA-type motion adapter"):
        load(tiny_models.video_spec("animatediff"), plain, "cpu")
