"""Tiny real models on a CUDA device: equal noise, offload, batches, real lack of memory, cancelling, and the pool."""

import gc
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import Cancelled, OutOfMemory
from models.interfaces import (
    ImageRequest,
    ImageResult,
    Inpaint,
    LoraUse,
    NoiseSpec,
    Reference,
    StartImage,
    StartLatents,
    Unwatched,
    VideoRequest,
)
from models.pool import ModelPool
from models.registry import load
from models.spec import Acceleration, ImageModelSpec, LoraSource, lora_part
from tests.support import tiny_clips, tiny_models

CUDA = "cuda:0"
NEAR = 3
"""Levels of 255 between devices and between shapes."""
LOW_PRECISION = 40
"""The same when the denoiser's weights are stored in eight bits."""


def request(**changes):
    plain = {
        "prompt": "a red bottle", "negative_prompt": "dark", "width": 64, "height": 64, "noise": NoiseSpec(seed=1),
        "num_inference_steps": 4, "guidance_scale": 4.0,
        "references": (Reference(image=tiny_models.png(1), role="product"),),
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


def difference(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max()


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folders(family, tmp_path_factory):
    return tiny_models.image_folders(family, tmp_path_factory.mktemp(family))


def spec_of(family, **changes):
    changes = {"batch_pixels": 8 * 64 * 64} | changes
    return tiny_models.image_spec(family).model_copy(update=changes)


@pytest.fixture(scope="module")
def engine(family, folders):
    return load(spec_of(family), folders, CUDA)


def test_noise_is_bit_equal_and_the_picture_near_the_cpu_s(family, folders, engine):
    on_cpu = load(spec_of(family), folders, "cpu").generate(request(), Unwatched())
    on_gpu = engine.generate(request(), Unwatched())
    assert on_gpu.noise_sha256 == on_cpu.noise_sha256
    assert difference(on_gpu.image, on_cpu.image) <= NEAR


def test_a_deterministic_call_repeats_its_bits(engine):
    first, again = (engine.generate(request(deterministic=True), Unwatched()).image for _ in range(2))
    assert np.array_equal(first, again)


def test_items_of_a_batch_are_as_alone(engine):
    requests = [request(noise=NoiseSpec(seed=seed), prompt=f"bottle {seed}") for seed in range(4)]
    for one, outcome in zip(requests, engine.generate_batch(requests, [Unwatched()] * 4), strict=True):
        alone = engine.generate(one, Unwatched())
        assert outcome.noise_sha256 == alone.noise_sha256
        assert difference(outcome.image, alone.image) <= NEAR


@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_offload_changes_where_weights_lie_and_not_the_picture(family, folders, engine, offload):
    offloaded = load(spec_of(family, acceleration=Acceleration(offload=offload)), folders, CUDA)
    for changes in ({}, {"start": StartImage(image=tiny_models.png(2), strength=0.5)}):
        plain = engine.generate(request(**changes), Unwatched()).image
        for _ in range(2):
            assert difference(offloaded.generate(request(**changes), Unwatched()).image, plain) <= NEAR
    if offload != "group":
        assert next(offloaded._pipeline.vae.parameters()).device.type in ("cpu", "meta")


def test_half_precision_gives_a_finite_picture_and_the_vae_keeps_its_precision(family, folders):
    engine = load(spec_of(family, dtype="float16"), folders, CUDA)
    for _ in range(2):
        assert isinstance(engine.generate(request(), Unwatched()), ImageResult)
        assert engine._pipeline.vae.dtype == torch.float16


def test_a_real_lack_of_memory_is_typed_and_the_next_call_is_served(engine):
    plain = engine.generate(request(deterministic=True), Unwatched()).image
    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    hog = torch.empty(int(free * 0.999), dtype=torch.uint8, device=CUDA)
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    try:
        with pytest.raises(OutOfMemory, match="no room for 1 image of 128x128"):
            engine.generate(request(width=128, height=128), Unwatched())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        del hog
    assert np.array_equal(engine.generate(request(deterministic=True), Unwatched()).image, plain)


def test_a_cancelled_call_gives_its_memory_back(engine):
    class Stop:
        def step(self, done, total):
            if done == 2:
                raise Cancelled("enough")

    engine.generate(request(), Unwatched())
    gc.collect()
    before = torch.cuda.memory_allocated()
    with pytest.raises(Cancelled):
        engine.generate(request(), Stop())
    gc.collect()
    assert torch.cuda.memory_allocated() <= before


def test_the_pool_gives_the_device_memory_of_an_evicted_model_back(family, folders):
    pool: ModelPool[ImageModelSpec] = ModelPool(lambda spec: load(spec, folders, CUDA), budget_bytes=1)
    one, other = (spec_of(family, name=name) for name in ("one", "other"))
    with pool.use(one, Unwatched()):
        pass
    gc.collect()
    before = torch.cuda.memory_allocated()
    with pool.use(other, Unwatched()):
        pass
    gc.collect()
    assert list(pool.loaded()) == ["other"]
    assert torch.cuda.memory_allocated() <= before * 1.05


@pytest.mark.parametrize("acceleration", [
    {"offload": "model"}, {"offload": "sequential"}, {"offload": "group"}, {"attention_backend": "_native_math"},
    {"compile": "regional"}, {"vae_tiling": True},
], ids=lambda acceleration: "-".join(map(str, acceleration.values())))  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_acceleration_of_a_transformer_gives_the_plain_clip(tmp_path, acceleration):
    folder = tiny_clips.save_wan(tmp_path / "wan")

    def generate_video(**acceleration):
        spec = tiny_clips.video_spec("wan", size_multiple=16, frame_multiple=4, acceleration=acceleration)
        request = VideoRequest(
            prompt="a red bottle", width=64, height=64, num_frames=5, noise=NoiseSpec(seed=1), num_inference_steps=3,
            guidance_scale=4.0, first_frame=tiny_models.png(1),
        )  # fmt: skip
        return load(spec, {"main": folder}, CUDA).generate(request, Unwatched()).frames

    assert difference(generate_video(**acceleration), generate_video()) <= NEAR


@pytest.mark.parametrize("acceleration", [{}, {"offload": "model"}, {"offload": "group"}], ids=str)
@pytest.mark.parametrize("family", ["ltx", "ltx2", "helios", "wan-vace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_clips_their_sound_and_what_follows_them_are_near_the_cpu_s(family, acceleration, tmp_path, monkeypatch):
    # With TF32 in convolutions, which PyTorch leaves on, Helios lay 33 levels away, VACE 12; without it 3.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    folders = tiny_clips.video_folders(family, tmp_path)
    grid = {"size_multiple": 32, "frame_multiple": 8} if "ltx" in family else {"size_multiple": 16, "frame_multiple": 4}
    limits: dict[str, Any] = {"first_frame": "optional", "last_frame": family != "helios", "max_frames": 33, **grid}
    on_cpu = load(tiny_clips.video_spec(family, **limits), folders, "cpu")
    on_gpu = load(tiny_clips.video_spec(family, **limits, acceleration=acceleration), folders, CUDA)
    whole = {
        "prompt": "a red bottle", "width": 64, "height": 64, "num_frames": 17, "noise": NoiseSpec(seed=1),
        "num_inference_steps": 4, "guidance_scale": 4.0, "keep_latents": True,
    }  # fmt: skip
    kept = on_cpu.generate(VideoRequest.model_validate(whole), Unwatched()).latents
    after = {"continues": kept} if family == "helios" else {"start": StartLatents(data=kept, strength=0.5)}
    for changes in ({}, {"first_frame": tiny_models.png(1)}, after):
        ours, theirs = (
            engine.generate(VideoRequest.model_validate(whole | changes), Unwatched()) for engine in (on_gpu, on_cpu)
        )
        assert ours.noise_sha256 == theirs.noise_sha256
        assert difference(ours.frames, theirs.frames) <= NEAR, changes
        assert (ours.audio is None) == (family != "ltx2")
        if ours.audio is not None:
            assert theirs.audio is not None
            assert np.abs(ours.audio.samples - theirs.audio.samples).max() < 0.02


@pytest.mark.parametrize("changes", [{}, {"offload": "model", "storage": "float8_e4m3fn"}], ids=["plain", "small"])
@pytest.mark.parametrize("family", ["flux2-klein", "qwen-image", "qwen-image-edit"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_start_repaint_and_refer_on_the_device_as_on_the_cpu(family, changes, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE", 64 * 64)
    folders = tiny_models.image_folders(family, tmp_path)
    acceleration = Acceleration(**changes)
    spec = tiny_models.image_spec(family, references=0 if family == "qwen-image" else 3)
    if family != "flux2-klein":
        source = LoraSource(repository="owner/lora", revision="0" * 40, scheduler={"shift_terminal": None})
        spec = spec.model_copy(update={"loras": {"fast": source}})
        tiny_models.save_lightning_lora(folders["main"], tmp_path / "lora" / "fast.safetensors")
        folders |= {lora_part("fast"): tmp_path / "lora"}
    on_cpu = load(spec, folders, "cpu")
    on_gpu = load(spec.model_copy(update={"acceleration": acceleration}), folders, CUDA)
    inpaint = Inpaint(image=tiny_models.png(2), mask=tiny_models.half_mask(), strength=0.75)
    kept = on_cpu.generate(plain(keep_latents=True), Unwatched()).latents
    ways: list[dict[str, Any]] = [
        {}, {"start": StartImage(image=tiny_models.png(2), strength=0.5)}, {"inpaint": inpaint},
        {"start": StartLatents(data=kept, strength=0.5)},
    ]  # fmt: skip
    if spec.references:
        ways += [{"references": request().references}, {"references": request().references, "inpaint": inpaint}]
    if spec.loras:
        ways.append({"loras": (LoraUse(name="fast"),)})
    near = LOW_PRECISION if acceleration.storage else NEAR
    for way in ways:
        ours, theirs = (engine.generate(plain(**way), Unwatched()) for engine in (on_gpu, on_cpu))
        assert ours.noise_sha256 == theirs.noise_sha256
        assert difference(ours.image, theirs.image) <= near, way


def plain(**changes):
    return request(**{"references": ()} | changes)
