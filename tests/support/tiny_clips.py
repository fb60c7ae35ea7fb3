"""Small real video models, as those of `tiny_models`: stock classes, tiny configurations, seeded random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    HeliosPipeline,
    HeliosScheduler,
    HeliosTransformer3DModel,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
    LTXConditionPipeline,
    LTXVideoTransformer3DModel,
    MotionAdapter,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import (
    CLIPImageProcessor,
    CLIPVisionModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaTokenizer,
    SiglipVisionConfig,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from models.spec import LoraSource, VideoModelSpec
from tests.support.tiny_models import (
    TEXT_WIDTH,
    UNET_CHANNELS,
    clip_vision_config,
    image_folders,
    t5_config,
    t5_tokenizer,
)


def video_spec(family: str, **changes: Any) -> VideoModelSpec:
    defaults = {
        "kind": "video", "name": f"tiny-{family}", "family": family, "licence": "none", "vram_gb": 0,
        "sizes": {"1:1": (64, 64)}, "num_inference_steps": 3, "guidance_scale": 4.0, "references": 0,
        "native_fps": 8, "max_frames": 16, "camera_moves": ("static", "push_in", "pan_left"),
    }  # fmt: skip
    return VideoModelSpec.model_validate(defaults | changes)


def umt5_config() -> UMT5Config:
    return UMT5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)


def video_folders(family: str, root: Path) -> dict[str, Path]:
    """The weight parts of a video family, with its adapter where it has one, in folders below `root`."""
    if family == "animatediff":
        motion = save_motion_adapter(root / "motion_adapter")
        return image_folders("stable-diffusion", root) | {"motion_adapter": motion}
    return {"main": VIDEO_FAMILIES[family](root / "main")}


def save_motion_adapter(folder: Path, *, conv_in_channels: int | None = 9) -> Path:
    """Motion modules for `save_stable_diffusion`; PIA-type with nine input channels unless told otherwise."""
    torch.manual_seed(3)
    MotionAdapter(
        block_out_channels=UNET_CHANNELS, motion_layers_per_block=1, motion_num_attention_heads=4,
        motion_norm_num_groups=8, motion_max_seq_length=16, use_motion_mid_block=False,
        conv_in_channels=conv_in_channels,
    ).save_pretrained(folder)  # fmt: skip
    return folder


WAN_TRANSFORMER = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "out_channels": 16, "text_dim": 32,
    "freq_dim": 32, "ffn_dim": 32, "num_layers": 2, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}  # fmt: skip


def wan_parts() -> dict[str, Any]:
    """What every Wan pipeline has beside its transformer."""
    return {
        "vae": AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        "text_encoder": UMT5EncoderModel(umt5_config()), "tokenizer": t5_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }  # fmt: skip


def save_wan_text(folder: Path, *, head: int = 12) -> Path:
    """Wan 2.1 text-to-video, with heads of `head` channels: kernels of a card take multiples of 8 alone."""
    torch.manual_seed(9)
    transformer = WanTransformer3DModel(in_channels=16, **WAN_TRANSFORMER | {"attention_head_dim": head})
    WanPipeline(transformer=transformer, **wan_parts()).save_pretrained(folder)
    return folder


def save_wan_vace(folder: Path) -> Path:
    """Wan 2.1 VACE, one of two layers with a control branch."""
    torch.manual_seed(10)
    transformer = WanVACETransformer3DModel(in_channels=16, vace_layers=[0], vace_in_channels=96, **WAN_TRANSFORMER)
    parts = wan_parts()
    # Strong enough that what a random VAE sees of a picture, and the texts, can be seen in the clip.
    with torch.no_grad():
        parts["vae"].quant_conv.weight *= 50
        for layer in (transformer.vace_blocks[0].proj_out, *(block.attn2.to_v for block in transformer.blocks)):
            layer.weight *= 5
    WanVACEPipeline(transformer=transformer, **parts).save_pretrained(folder)
    return folder


def save_wan(folder: Path, *, last_frame: bool = False) -> Path:
    """Wan 2.1 image-to-video; with `last_frame` the first-and-last-frame variant."""
    torch.manual_seed(4)
    transformer = WanTransformer3DModel(
        in_channels=36, image_dim=32, added_kv_proj_dim=24, pos_embed_seq_len=2 * 17 if last_frame else None,
        **WAN_TRANSFORMER,
    )  # fmt: skip
    WanImageToVideoPipeline(
        transformer=transformer, **wan_parts(), image_encoder=CLIPVisionModel(clip_vision_config()),
        image_processor=CLIPImageProcessor(size=32, crop_size=32),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_wan_experts(folder: Path) -> Path:
    """Wan 2.2 A14B image-to-video: two transformers, one for high noise and one for low, and no image encoder."""
    torch.manual_seed(12)
    first, second = (WanTransformer3DModel(in_channels=36, **WAN_TRANSFORMER) for _ in range(2))
    WanImageToVideoPipeline(
        transformer=first, transformer_2=second, boundary_ratio=0.9, **wan_parts(), image_encoder=None,
        image_processor=None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_wan_residual(folder: Path) -> Path:
    """Wan 2.2 TI2V-5B: a residual VAE of 48 channels and a folder that names the text-to-video class."""
    torch.manual_seed(17)
    parts = wan_parts() | {
        "vae": AutoencoderKLWan(
            base_dim=8, z_dim=48, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True, in_channels=12,
            out_channels=12, patch_size=2, scale_factor_spatial=16, scale_factor_temporal=4,
            latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
        )
    }  # fmt: skip
    transformer = WanTransformer3DModel(**{**WAN_TRANSFORMER, "in_channels": 48, "out_channels": 48})
    WanPipeline(transformer=transformer, expand_timesteps=True, **parts).save_pretrained(folder)
    return folder


def save_expert_loras(main: Path, folder: Path, source: LoraSource) -> None:
    """The two files of a LoRA for the two denoisers of `save_wan_experts` in `main`, strong and random."""
    from peft import LoraConfig, get_peft_model_state_dict  # a machine with a GPU may have none

    for name, file in (("transformer", source.weight_name), ("transformer_2", source.second_weight_name)):
        torch.manual_seed(5)
        denoiser = WanTransformer3DModel.from_pretrained(main / name, local_files_only=True)
        denoiser.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
        layers = {key: value * 3 for key, value in get_peft_model_state_dict(denoiser).items()}
        path = folder / str(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        WanPipeline.save_lora_weights(path.parent, transformer_lora_layers=layers, weight_name=path.name)


def save_ltx(folder: Path) -> Path:
    """LTX-Video 0.9.5: a VAE that folds 32 x 32 pixels and 8 frames into one cell of 8 channels, and denoises last."""
    torch.manual_seed(8)
    video_vae = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5, timestep_conditioning=True,
    )  # fmt: skip
    transformer = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=2, caption_channels=TEXT_WIDTH,
    )  # fmt: skip
    LTXConditionPipeline(
        vae=video_vae, transformer=transformer, text_encoder=T5EncoderModel(t5_config()), tokenizer=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def gemma3_text() -> tuple[Gemma3ForConditionalGeneration, GemmaTokenizer]:
    """A Gemma 3 of two layers that reads letters, with the vision tower that its class wants, and its tokenizer."""
    text = Gemma3TextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )  # fmt: skip
    config = Gemma3Config(
        text_config=text.to_dict(), vision_config=vision.to_dict(), mm_tokens_per_image=1, image_token_index=63,
        boi_token_index=61, eoi_token_index=62,
    )  # fmt: skip
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz0123456789,.:;-'▁"]
    tokenizer = GemmaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=1024)
    return Gemma3ForConditionalGeneration(config), tokenizer


def save_ltx2(folder: Path) -> Path:
    """LTX-2: frames as in LTX-Video, and sound of two channels at 24,000 samples a second, 25 latent frames of it."""
    torch.manual_seed(18)
    text_encoder, tokenizer = gemma3_text()
    transformer = LTX2VideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        audio_in_channels=8, audio_out_channels=8, audio_num_attention_heads=2, audio_attention_head_dim=8,
        audio_cross_attention_dim=16, num_layers=2, caption_channels=16, rope_double_precision=False,
        rope_type="split",
    )  # fmt: skip
    # Registers, as published: without them a masked text meets torch 2.11's memory-efficient attention in float32,
    # which an H200 computes 19 % off the exact values where the mask is the lowest float.
    connector = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_learnable_registers": 128}
    connectors = LTX2TextConnectors(
        caption_channels=16, text_proj_in_factor=3, connector_rope_base_seq_len=32, rope_double_precision=False,
        rope_type="split", **{f"{kind}_connector_{name}": value for kind in ("video", "audio")
                              for name, value in connector.items()},
    )  # fmt: skip
    video_vae = AutoencoderKLLTX2Video(
        latent_channels=8, block_out_channels=(8, 16, 32, 64), decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4, spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )  # fmt: skip
    audio_vae = AutoencoderKLLTX2Audio(base_channels=8, num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=16)
    vocoder = LTX2Vocoder(
        in_channels=32, hidden_channels=32, upsample_kernel_sizes=[16, 15, 8, 4, 4], resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )  # fmt: skip
    LTX2Pipeline(
        vae=video_vae, audio_vae=audio_vae, transformer=transformer, text_encoder=text_encoder, tokenizer=tokenizer,
        connectors=connectors, vocoder=vocoder,
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_image_seq_len=1024, base_shift=0.95, max_shift=2.05, shift_terminal=0.1
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_helios(folder: Path) -> Path:
    """Helios: Wan's VAE and texts, windows of 33 frames, and three patch layers for what is looked back on."""
    torch.manual_seed(19)
    transformer = HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=32, freq_dim=32, ffn_dim=32, num_layers=2,
        rope_dim=(4, 4, 4),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it has numpy count from a tensor to a tensor
        parts = wan_parts() | {"scheduler": HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)}
    # Strong enough that what a random VAE sees of a picture can be seen in the clip.
    with torch.no_grad():
        parts["vae"].quant_conv.weight *= 50
    HeliosPipeline(transformer=transformer, **parts).save_pretrained(folder)
    return folder


VIDEO_FAMILIES: dict[str, Callable[[Path], Path]] = {
    "wan": save_wan, "wan-text": save_wan_text, "wan-vace": save_wan_vace, "ltx": save_ltx,
    "ltx2": save_ltx2, "helios": save_helios,
}  # fmt: skip
