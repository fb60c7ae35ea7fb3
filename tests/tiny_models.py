"""Small real models: stock diffusers and transformers classes with tiny configurations and seeded random weights.

Each `save_*` function writes a folder that `from_pretrained` loads, exactly as for a large model. Nothing here is a
mock, and nothing here makes a meaningful picture: weights are random.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    MotionAdapter,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.interfaces import EncodedImage
from models.spec import ImageModelSpec, VideoModelSpec

TEXT_WIDTH = 32
UNET_CHANNELS = (32, 64)


def png(seed: int, width: int = 64, height: int = 64) -> EncodedImage:
    """A PNG of smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return encoded(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def half_mask(width: int = 64, height: int = 64) -> EncodedImage:
    """Left half black (keep), right half white (repaint)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, width // 2 :] = 255
    return encoded(Image.fromarray(mask))


def encoded(image: Image.Image) -> EncodedImage:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return EncodedImage(data=buffer.getvalue())


def opened(image: EncodedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def image_spec(family: str, *, references: int = 3, scheduler: dict[str, Any] | None = None) -> ImageModelSpec:
    return ImageModelSpec(
        kind="image", name=f"tiny-{family}", family=family, licence="none", vram_gb=0, sizes={"1:1": (64, 64)},
        num_inference_steps=4, guidance_scale=4.0, references=references, scheduler=scheduler,
    )  # fmt: skip


def video_spec(family: str, **changes: Any) -> VideoModelSpec:
    defaults = {
        "kind": "video", "name": f"tiny-{family}", "family": family, "licence": "none", "vram_gb": 0,
        "sizes": {"1:1": (64, 64)}, "num_inference_steps": 3, "guidance_scale": 4.0, "references": 0,
        "native_fps": 8, "max_frames": 16, "camera_moves": ("static", "push_in", "pan_left"),
    }  # fmt: skip
    return VideoModelSpec.model_validate(defaults | changes)


# --- parts --------------------------------------------------------------------------------------------


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-level: every text is spelled letter by letter."""
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def clip_text_config(projection: int = TEXT_WIDTH) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514, hidden_size=TEXT_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=projection, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    )  # fmt: skip


def clip_vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
        projection_dim=16,
    )  # fmt: skip


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=8, latent_channels=4, layers_per_block=1, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def unet(**changes: Any) -> UNet2DConditionModel:
    defaults = {
        "sample_size": 8, "block_out_channels": UNET_CHANNELS, "layers_per_block": 1, "norm_num_groups": 8,
        "attention_head_dim": 4, "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**defaults | changes)


# --- folders ------------------------------------------------------------------------------------------


def save_stable_diffusion(folder: Path) -> Path:
    """SD1.5-type: f8 VAE with 4 latent channels, two-block UNet, CLIP text encoder, DDIM."""
    torch.manual_seed(0)
    StableDiffusionPipeline(
        vae=vae(), unet=unet(), text_encoder=CLIPTextModel(clip_text_config()), tokenizer=clip_tokenizer(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1, set_alpha_to_one=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_stable_diffusion_xl(folder: Path) -> Path:
    """SDXL-type: two text encoders, pooled text and time ids."""
    torch.manual_seed(1)
    xl_unet = unet(
        cross_attention_dim=2 * TEXT_WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * 8, layers_per_block=2,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=vae(), unet=xl_unet, text_encoder=CLIPTextModel(clip_text_config()), tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_text_config()), tokenizer_2=clip_tokenizer(),
        scheduler=EulerDiscreteScheduler(), add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_ip_adapter(folder: Path, main: Path) -> Path:
    """IP-Adapter for the UNet in `main`, in the published file format, strong enough to be seen."""
    torch.manual_seed(2)
    CLIPVisionModelWithProjection(clip_vision_config()).save_pretrained(folder / "image_encoder")
    target = UNet2DConditionModel.from_pretrained(main, subfolder="unet")
    width = target.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(4 * width, 16),
        "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    names = [name for name in target.attn_processors if name.endswith("attn2.processor")]
    for index, name in enumerate(names):
        channels = target.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * index + 1}.{part}.weight"] = torch.randn(channels, width)
    save_file(state, folder / "ip-adapter.safetensors")
    return folder


def save_motion_adapter(folder: Path, *, conv_in_channels: int | None = 9) -> Path:
    """Motion modules for `save_stable_diffusion`; PIA-type with nine input channels unless told otherwise."""
    torch.manual_seed(3)
    MotionAdapter(
        block_out_channels=UNET_CHANNELS, motion_layers_per_block=1, motion_num_attention_heads=4,
        motion_norm_num_groups=8, motion_max_seq_length=16, use_motion_mid_block=False,
        conv_in_channels=conv_in_channels,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_wan(folder: Path, *, last_frame: bool = False) -> Path:
    """Wan 2.1 image-to-video; with `last_frame` the first-and-last-frame variant."""
    torch.manual_seed(4)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=36, out_channels=16,
        text_dim=32, freq_dim=32, ffn_dim=32, num_layers=2, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        image_dim=32, rope_max_seq_len=32, added_kv_proj_dim=24, pos_embed_seq_len=2 * 17 if last_frame else None,
    )  # fmt: skip
    video_vae = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    )  # fmt: skip
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.:;-'"]
    WanImageToVideoPipeline(
        tokenizer=T5Tokenizer(vocab=pieces, extra_ids=0), text_encoder=text_encoder, vae=video_vae,
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        image_encoder=CLIPVisionModel(clip_vision_config()),
        image_processor=CLIPImageProcessor(size=32, crop_size=32),
    ).save_pretrained(folder)  # fmt: skip
    return folder
