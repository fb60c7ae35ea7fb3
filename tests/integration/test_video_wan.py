"""What only Wan families do: a last frame where the weights take one, two denoisers, VACE's references as images."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, LoraUse, Unwatched
from models.registry import load
from models.spec import LoraSource, lora_part
from tests.support import tiny_clips, tiny_models
from tests.support.engine_calls import clip, reference, video_request

FIRST = tiny_models.png(1)


@pytest.fixture(scope="module")
def both_ends(tmp_path_factory):
    main = tiny_clips.save_wan(tmp_path_factory.mktemp("wan-flf"), last_frame=True)
    return load(tiny_clips.video_spec("wan", last_frame=True), {"main": main}, "cpu")


@pytest.fixture(scope="module")
def vace(tmp_path_factory):
    spec = tiny_clips.video_spec("wan-vace", frame_multiple=4, references=3, first_frame="optional", last_frame=True)
    return load(spec, tiny_clips.video_folders("wan-vace", tmp_path_factory.mktemp("vace")), "cpu")


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory):
    return tiny_clips.save_wan_experts(tmp_path_factory.mktemp("wan-experts"))


def save_expert_lora(folder, main, name):
    """A strong random LoRA for the denoiser `name` of a Wan folder, in the published format."""
    torch.manual_seed(5)
    denoiser = WanTransformer3DModel.from_pretrained(main / name, local_files_only=True)
    denoiser.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = {key: value * 3 for key, value in get_peft_model_state_dict(denoiser).items()}
    WanPipeline.save_lora_weights(folder, transformer_lora_layers=layers, weight_name=f"{name}.safetensors")


def test_a_pair_of_loras_reaches_the_denoiser_of_high_noise_and_that_of_low(experts_folder, tmp_path):
    for name in ("transformer", "transformer_2"):
        save_expert_lora(tmp_path, experts_folder, name)
    pinned = {"repository": "owner/lora", "revision": "0" * 40}
    pair = LoraSource(**pinned, weight_name="transformer.safetensors", second_weight_name="transformer_2.safetensors")
    folders = {"main": experts_folder, lora_part("fast"): tmp_path}
    engine: Any = load(tiny_clips.video_spec("wan", loras={"fast": pair}), folders, "cpu")
    plain = clip(engine, first_frame=FIRST)
    assert not np.array_equal(clip(engine, first_frame=FIRST, loras=(LoraUse(name="fast"),)), plain)
    assert np.array_equal(clip(engine, first_frame=FIRST), plain)
    for denoiser in (engine._pipeline.transformer, engine._pipeline.transformer_2):
        assert any(isinstance(module, BaseTunerLayer) for module in denoiser.modules())


def test_a_lora_for_one_of_two_denoisers_is_refused(experts_folder, tmp_path):
    save_expert_lora(tmp_path, experts_folder, "transformer")
    single = LoraSource(repository="owner/lora", revision="0" * 40)
    with pytest.raises(InvalidRequest, match=r"two denoisers is two files.*'fast'"):
        load(
            tiny_clips.video_spec("wan", loras={"fast": single}),
            {"main": experts_folder, lora_part("fast"): tmp_path}, "cpu",
        )  # fmt: skip


def test_the_second_denoiser_has_a_guidance_of_its_own_that_follows_the_first(experts_folder):
    def made(**changes):
        engine = load(tiny_clips.video_spec("wan", **changes), {"main": experts_folder}, "cpu")
        return clip(engine, first_frame=FIRST, num_inference_steps=2)

    assert np.array_equal(made(), made(guidance_scale_2=4.0))
    assert not np.array_equal(made(), made(guidance_scale_2=2.0))


def test_the_last_frame_reaches_the_clip(both_ends):
    one, other = (clip(both_ends, first_frame=FIRST, last_frame=tiny_models.png(seed)) for seed in (7, 8))
    assert one.shape == (5, 64, 64, 3)
    assert not np.array_equal(one, other)
    assert np.array_equal(one, clip(both_ends, first_frame=FIRST, last_frame=tiny_models.png(7)))


def test_weights_that_need_both_ends_refuse_a_request_with_one(both_ends):
    with pytest.raises(InvalidRequest, match="give last_frame too"):
        clip(both_ends, first_frame=FIRST)


def test_a_spec_cannot_promise_a_last_frame_that_the_weights_do_not_take(tmp_path):
    main = tiny_clips.save_wan(tmp_path)
    engine = load(tiny_clips.video_spec("wan", last_frame=True), {"main": main}, "cpu")
    with pytest.raises(InvalidRequest, match="cannot end on a given frame"):
        clip(engine, first_frame=FIRST, last_frame=tiny_models.png(2))


def test_a_clip_with_references_has_its_own_frames_only(vace):
    for frames, width, height in ((1, 64, 64), (5, 96, 64), (9, 48, 80)):
        given = {"references": (reference(3),), "first_frame": FIRST}
        assert clip(vace, num_frames=frames, width=width, height=height, **given).shape == (frames, height, width, 3)


def test_a_reference_of_no_strength_is_left_out(vace):
    without = clip(vace, references=(reference(4),))
    assert np.array_equal(clip(vace, references=(reference(3, weight=0.0), reference(4))), without)
    none = clip(vace, references=(reference(3),), adapter=AdapterSettings(scale=0.0))
    assert np.array_equal(none, clip(vace))


def test_a_weight_has_no_effect_and_the_result_says_so(vace):
    whole, half = (
        vace.generate(video_request(references=(reference(3, weight=weight),)), Unwatched()) for weight in (1.0, 0.5)
    )
    assert whole.notes == ()
    assert half.notes[0].startswith("reference 1 acts in full, not with weight 0.5")
    assert np.array_equal(half.frames, whole.frames)
