"""Placement of real tiny pipelines: what each acceleration changes, what is refused, and what a deterministic call is.

Offload needs an accelerator: it is tested in `tests/gpu/`.
"""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, WanImageToVideoPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from models.diffusion.calls import CallLock
from models.diffusion.latents import encode
from models.diffusion.noise import draw
from models.diffusion.placement import denoisers, exact, free_hooks, place
from models.errors import InvalidRequest
from models.interfaces import NoiseSpec, Unwatched
from models.pool import size_bytes
from tests.support import tiny_clips, tiny_models

CACHE = {"class": "FirstBlockCacheConfig", "threshold": 10.0}
"""So high that every step after the first is skipped: the difference cannot be missed."""

INT8 = {"to": "int8_weights", "components": ["transformer"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clips.save_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    return tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("sd"))


def spec(**acceleration):
    return tiny_clips.video_spec("wan", acceleration=acceleration)


def placed(folder, **acceleration):
    pipeline = WanImageToVideoPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    place(pipeline, spec(**acceleration), "cpu")
    return pipeline


def generate_video(pipeline):
    noise = draw(NoiseSpec(seed=1), 16, 8, 8, 2)[None]
    picture = tiny_models.opened(tiny_models.png(5))
    try:
        with torch.inference_mode():
            return pipeline(
                image=picture, prompt="a red bottle", width=64, height=64, num_frames=5, num_inference_steps=3,
                guidance_scale=4.0, latents=noise, output_type="np", max_sequence_length=64,
            ).frames[0]  # fmt: skip
    finally:
        free_hooks(pipeline)


def test_without_accelerations_the_pipeline_is_plain_diffusers(folder):
    plain = WanImageToVideoPipeline.from_pretrained(folder, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    assert np.array_equal(generate_video(placed(folder)), generate_video(plain))


def test_a_cache_changes_the_clip_and_a_deterministic_call_does_not_use_it(folder):
    plain, cached = generate_video(placed(folder)), placed(folder, cache=CACHE)
    first = generate_video(cached)
    assert not np.array_equal(first, plain)
    with exact(cached):
        assert np.array_equal(generate_video(cached), plain)
    assert np.array_equal(generate_video(cached), first)
    with exact(cached, wanted=False):
        assert np.array_equal(generate_video(cached), first)


def test_a_deterministic_call_leaves_what_other_lanes_of_the_process_compute_with(folder):
    pipeline = placed(folder)
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    with exact(pipeline):
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == flags


def test_the_caches_come_back_when_a_deterministic_call_fails(folder):
    cached = placed(folder, cache=CACHE)
    with pytest.raises(RuntimeError, match="stop"), exact(cached):
        raise RuntimeError("stop")
    assert all(denoiser.is_cache_enabled for denoiser in denoisers(cached))


def test_a_cache_that_follows_the_timestep_finds_it(folder):
    cached = placed(folder, cache={"class": "PyramidAttentionBroadcastConfig", "spatial_attention_block_skip_range": 2})
    assert np.isfinite(generate_video(cached)).all()


def test_the_attention_backend_is_set_for_this_model_alone(folder):
    before = _AttentionBackendRegistry.get_active_backend()[0]
    pipeline = placed(folder, attention_backend="_native_math")
    assert _AttentionBackendRegistry.get_active_backend()[0] == before
    assert np.allclose(generate_video(pipeline), generate_video(placed(folder)), atol=1e-4)
    used = {
        module.processor._attention_backend
        for module in pipeline.transformer.modules()
        if hasattr(getattr(module, "processor", None), "_attention_backend")
    }
    assert {backend.value for backend in used} == {"_native_math"}


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # inductor's own
def test_compiled_blocks_give_the_same_clip_within_rounding(folder):
    compiled = placed(folder, compile="regional")
    assert np.allclose(generate_video(compiled), generate_video(placed(folder)), atol=1e-3)


def test_weights_stored_in_eight_bits_take_a_quarter_of_the_memory_and_still_make_the_clip(folder):
    plain, small = placed(folder), placed(folder, storage="float8_e4m3fn")
    block = small.transformer.blocks[0]
    assert block.attn1.to_q.weight.dtype == torch.float8_e4m3fn
    assert block.attn1.to_q.weight.nbytes * 4 == plain.transformer.blocks[0].attn1.to_q.weight.nbytes
    assert np.abs(generate_video(small) - generate_video(plain)).mean() < 0.05


@pytest.mark.parametrize(("to", "bound"), [("int8_weights", 0.01), ("float8_weights", 0.04)])
def test_rounded_weights_take_a_quarter_of_the_memory_and_the_denoiser_says_nearly_the_same(folder, to, bound):
    plain, rounded = placed(folder), placed(folder, quantisation={"to": to, "components": ["transformer"]})
    linear, kept = rounded.transformer.blocks[0].attn1.to_q.weight, rounded.transformer.proj_out.weight
    assert size_bytes([linear_module(rounded)]) < 0.4 * size_bytes([linear_module(plain)])
    assert type(linear).__module__.startswith("torchao")
    assert type(kept) is torch.nn.Parameter
    outputs = []
    for pipeline in (plain, rounded):
        torch.manual_seed(0)
        with torch.inference_mode():
            outputs.append(pipeline.transformer(
                hidden_states=torch.randn(1, 36, 2, 8, 8), timestep=torch.tensor([500]),
                encoder_hidden_states=torch.randn(1, 8, 32), encoder_hidden_states_image=torch.randn(1, 17, 32),
                return_dict=False,
            )[0])  # fmt: skip
    difference = (outputs[0] - outputs[1]).norm() / outputs[0].norm()
    assert 0 < difference < bound
    assert np.abs(generate_video(rounded) - generate_video(plain)).mean() < 0.02


def test_a_rounded_text_encoder_still_reads(folder):
    settings = {"to": "int8_weights", "components": ["transformer", "text_encoder"]}
    rounded = placed(folder, quantisation=settings)
    assert size_bytes([rounded.text_encoder]) < size_bytes([placed(folder).text_encoder])
    assert np.abs(generate_video(rounded) - generate_video(placed(folder))).mean() < 0.02


def test_vae_tiling_is_switched_on(folder):
    assert placed(folder, vae_tiling=True).vae.use_tiling


@pytest.mark.parametrize(("acceleration", "message"), [
    ({"cache": {"class": "MagicConfig"}}, r"cache: MagicConfig.*'FirstBlockCacheConfig'"),
    ({"cache": {"class": "UNet2DConditionModel"}}, "must name a cache of diffusers"),
    ({"cache": {"class": "FirstBlockCacheConfig", "treshold": 1}}, r"cache: treshold.*takes threshold"),
    ({"attention_backend": "warp"}, r"attention_backend: warp.*flash, .*native"),
    ({"attention_backend": "flash_hub"}, r"attention_backend: flash_hub"),
    ({"attention_backend": "sage"}, r"attention_backend: sage.*needs an NVIDIA card"),
    ({"quantisation": {"to": "int8_weights", "components": ["unet"]}}, r"quantisation: unet.*transformer"),
    ({"quantisation": {"to": "float8_products", "components": ["transformer"]}}, r"does not multiply in float8"),
    ({"quantisation": INT8, "offload": "sequential"}, r"quantisation: int8_weights.*`offload: model` or `group`"),
    ({"offload": "model"}, r"offload: model.*this device is 'cpu'"),
    ({"offload": "sequential"}, r"offload: sequential"),
    ({"offload": "group"}, r"offload: group"),
    ({"storage": "float8_e4m3fn", "quantisation": INT8}, "storage: .*`quantisation` stores"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(folder, acceleration, message):
    with pytest.raises(InvalidRequest, match=message) as refused:
        placed(folder, **acceleration)
    assert "model 'tiny-wan'" in str(refused.value)
    assert "YAML" in str(refused.value)


@pytest.mark.parametrize("acceleration", [{"cache": CACHE}, {"attention_backend": "native"}])
def test_a_unet_takes_neither_cache_nor_attention_backend(still, acceleration):
    pipeline = StableDiffusionPipeline.from_pretrained(still, safety_checker=None, local_files_only=True)
    with pytest.raises(InvalidRequest, match="UNet2DConditionModel"):
        place(pipeline, spec(**acceleration), "cpu")


def linear_module(pipeline):
    """A layer of a repeated block that is large enough for its scales to matter little."""
    return pipeline.transformer.blocks[0].ffn.net[2]


def test_rounded_weights_can_be_moved_within_a_call_as_offload_moves_them(folder):
    pipeline = placed(folder, quantisation=INT8)
    with CallLock("rounded").turn(Unwatched(), 1):
        pipeline.transformer.to("meta")
    assert pipeline.transformer.device.type == "meta"


def test_pixels_are_encoded_where_the_layers_of_an_offloaded_vae_compute(still):
    from accelerate import cpu_offload

    vae = AutoencoderKL.from_pretrained(still / "vae", local_files_only=True)
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        expected = encode(vae, pixels)
        cpu_offload(vae, torch.device("cpu"))
        assert vae.device.type == "meta"
        assert torch.equal(encode(vae, pixels), expected)
