"""What only the AnimateDiff family does: the keyframe condition, references, camera words, motion adapters."""

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter, PIAPipeline, UNet2DConditionModel, UNetMotionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, NoiseSpec
from models.registry import load
from models.video.animatediff import followed, held, motion_unet
from tests.support import tiny_clips, tiny_models
from tests.support.engine_calls import assert_all_differ, clip, reference, video_request


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_clips.video_folders("animatediff", tmp_path_factory.mktemp("animatediff"))


@pytest.fixture(scope="module")
def engine(folders):
    return load(tiny_clips.video_spec("animatediff", references=3), folders, "cpu")


def request(**changes):
    return video_request(**{"num_frames": 4, "first_frame": tiny_models.png(1)} | changes)


def generate(engine, **changes):
    return clip(engine, **{"num_frames": 4, "first_frame": tiny_models.png(1)} | changes)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_condition_is_the_stock_one_without_its_chance(engine, monkeypatch, guidance_scale):
    """Mask and keyframe latents equal those of the stock class once its VAE sampling is the mode too."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    pipeline, picture = engine._pipeline, tiny_models.opened(tiny_models.png(1))
    monkeypatch.setattr(pipeline, "_guidance_scale", guidance_scale, raising=False)
    options = {"num_frames": 8, "height": 64, "width": 64, "dtype": torch.float32, "device": "cpu", "generator": None}
    with torch.inference_mode():
        condition = held(pipeline, picture, "static", 8)
        mask, keyframe = pipeline.prepare_masked_condition(condition, 1, 4, **options)
        stock_mask, stock_keyframe = PIAPipeline.prepare_masked_condition(pipeline, picture, 1, 4, **options)
    assert torch.equal(mask, stock_mask)
    assert torch.equal(keyframe, stock_keyframe)


def test_a_followed_keyframe_is_what_the_moved_camera_sees_of_it(engine):
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
    engine = load(tiny_clips.video_spec("animatediff", keyframe="followed"), folders, "cpu")
    monkeypatch.setattr(engine, "_prompt", lambda request: "a bottle")
    assert not np.array_equal(generate(engine, camera="push_in"), generate(engine, camera="static"))


def test_references_reach_the_clip_with_their_weights(engine):
    plain = generate(engine)
    three = generate(engine, references=(reference(3), reference(4, weight=0.5), reference(5, weight=0.2)))
    assert not np.array_equal(three, plain)
    assert not np.array_equal(three, generate(engine, references=(reference(3), reference(4, weight=0.5))))
    zero = generate(engine, references=(reference(3), reference(4, weight=0.0)))
    assert np.array_equal(zero, generate(engine, references=(reference(3),)))
    off = AdapterSettings(scale=0.0)
    assert np.array_equal(generate(engine, references=(reference(3),), adapter=off), plain)


def test_no_reference_and_no_adapter_are_the_same_bits(engine, folders):
    bare = load(tiny_clips.video_spec("animatediff"), folders, "cpu")
    assert np.array_equal(generate(engine), generate(bare))


def test_presets_and_begin_change_the_clip(engine):
    clips = [
        generate(engine, references=(reference(3),), adapter=AdapterSettings(**settings))
        for settings in ({}, {"blocks": "style"}, {"blocks": "layout"}, {"begin_step_percent": 0.5})
    ]
    assert_all_differ(clips)


def test_the_camera_comes_last_unless_it_would_be_cut_off(engine):
    assert engine._prompt(request(camera="push_in")) == "a bottle, camera pushes in"
    long = "a very long prompt " * 8
    assert engine._prompt(request(camera="push_in", prompt=long)) == f"camera pushes in, {long}"
    assert not np.array_equal(
        generate(engine, prompt=long, camera="push_in"), generate(engine, prompt=long, camera="static")
    )


def test_the_motion_adapter_limits_the_length_even_where_the_spec_says_more(folders):
    engine = load(tiny_clips.video_spec("animatediff", max_frames=99), folders, "cpu")
    with pytest.raises(InvalidRequest, match="at most 16"):
        generate(engine, num_frames=17)


# --- motion adapters --------------------------------------------------------------------------------------------------


def test_the_wider_input_of_four_channels_is_the_stock_one(folders):
    still = UNet2DConditionModel.from_pretrained(folders["main"], subfolder="unet")
    stock, ours = (
        make(still, MotionAdapter.from_pretrained(folders["motion_adapter"]))
        for make in (UNetMotionModel.from_unet2d, motion_unet)
    )
    assert stock.config.in_channels == ours.config.in_channels == 9
    mine = ours.state_dict()
    assert stock.state_dict().keys() == mine.keys()
    assert all(torch.equal(tensor, mine[name]) for name, tensor in stock.state_dict().items())


@pytest.mark.parametrize("channels", [8, 16])
@pytest.mark.parametrize("keyframe", ["held", "followed"])
def test_a_vae_of_more_latent_channels_takes_a_motion_adapter_of_1_plus_twice_as_many(tmp_path, channels, keyframe):
    main = tiny_models.save_stable_diffusion(tmp_path / "main", channels=channels)
    folders = {
        "main": main, "ip_adapter": tiny_models.save_ip_adapter(tmp_path / "ip_adapter", main),
        "motion_adapter": tiny_clips.save_motion_adapter(tmp_path / "motion", conv_in_channels=1 + 2 * channels),
    }  # fmt: skip
    engine = load(tiny_clips.video_spec("animatediff", references=1, keyframe=keyframe), folders, "cpu")
    plain = generate(engine)
    assert plain.shape == (4, 64, 64, 3)
    assert np.array_equal(generate(engine), plain)
    for changes in ({"noise": NoiseSpec(seed=3)}, {"first_frame": tiny_models.png(2)}, {"references": (reference(3),)}):
        assert not np.array_equal(generate(engine, **changes), plain), changes


@pytest.mark.parametrize(("channels", "message"), [
    (None, r"use a PIA-type motion adapter \(`conv_in_channels: 9`"),
    (17, "has `conv_in_channels: 17`, but the VAE in `main` has 4 latent channels, which need 9"),
])  # fmt: skip
def test_a_motion_adapter_that_takes_no_keyframe_or_one_of_another_vae_is_refused(folders, tmp_path, channels, message):
    other = {**folders, "motion_adapter": tiny_clips.save_motion_adapter(tmp_path, conv_in_channels=channels)}
    with pytest.raises(InvalidRequest, match=message):
        load(tiny_clips.video_spec("animatediff"), other, "cpu")
