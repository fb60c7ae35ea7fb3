"""Full-size published architectures with random weights, made on a device or saved as ordinary pipeline folders: true
speed and memory without a download. `tiny` variants have the same classes and rehearse the benchmark on a CPU.

The pictures mean nothing; time and memory do not depend on what the weights have learnt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLWan,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

BEGIN, END = 512, 513


@dataclass(frozen=True)
class SDXL:
    """Sizes of stabilityai/stable-diffusion-xl-base-1.0 (its config.json files), or of a small relative."""

    channels: tuple[int, ...] = (320, 640, 1280)
    heads: tuple[int, ...] = (5, 10, 20)
    depths: tuple[int, ...] = (1, 2, 10)
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    first_text: tuple[int, int, int] = (768, 12, 12)
    second_text: tuple[int, int, int] = (1280, 32, 20)
    """Of the text encoders: width, layers, heads."""
    groups: int = 32


TINY_SDXL = SDXL((32, 64, 64), (2, 4, 4), (1, 1, 1), (16, 16, 16, 16), (32, 2, 4), (32, 2, 4), 16)


@dataclass(frozen=True)
class Wan:
    """Sizes of Wan 2.1 text-to-video (config.json of the published diffusers folders), or of a small relative."""

    heads: int
    layers: int
    feed_forward: int
    head_width: int = 128
    text: tuple[int, int, int, int] = (4096, 24, 64, 10240)
    """Of the UMT5 encoder: width, layers, heads, feed-forward width."""
    vae_width: int = 96


WAN_1_3B = Wan(heads=12, layers=30, feed_forward=8960)
WAN_14B = Wan(heads=40, layers=40, feed_forward=13824)
TINY_WAN = Wan(heads=2, layers=2, feed_forward=32, head_width=12, text=(32, 2, 4, 32), vae_width=4)


@dataclass(frozen=True)
class Klein:
    """Configurations of FLUX.2 [klein] 4B (config.json of the published folders), or of a small relative."""

    transformer: dict[str, Any]
    text: dict[str, Any]
    """Of the Qwen3 encoder."""
    vae: dict[str, Any]


KLEIN_4B = Klein(
    transformer={
        "num_layers": 5, "num_single_layers": 20, "attention_head_dim": 128, "num_attention_heads": 24,
        "joint_attention_dim": 7680,
    },
    text={
        "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
    },
    vae={},
)  # fmt: skip
TINY_KLEIN = Klein(
    transformer={
        "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 24, "timestep_guidance_channels": 16, "axes_dims_rope": (4, 4, 4, 4),
    },
    text={
        "vocab_size": 514, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 27,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    },
    vae={"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8, "layers_per_block": 1, "sample_size": 64},
)  # fmt: skip

CLIP_VIT_L = {
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "vision_config": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14,
    },
    "projection_dim": 768,
}  # fmt: skip
TINY_CLIP = {
    "text_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 224, "patch_size": 56,
    },
    "projection_dim": 16,
}  # fmt: skip


def save_sdxl(folder: Path, size: SDXL, device: str, dtype: torch.dtype) -> None:
    sdxl(size, device, dtype).save_pretrained(folder)


def save_wan(folder: Path, size: Wan, device: str, dtype: torch.dtype) -> None:
    wan(size, device, dtype).save_pretrained(folder)


def sdxl(size: SDXL, device: str, dtype: torch.dtype) -> Any:
    # Not on the device: this scheduler computes with numpy.
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    with _made_on(device, dtype):
        return StableDiffusionXLPipeline(
            vae=_vae(size),
            unet=_unet(size),
            text_encoder=CLIPTextModel(_clip_text(*size.first_text)),
            text_encoder_2=CLIPTextModelWithProjection(_clip_text(*size.second_text)),
            tokenizer=_clip_tokenizer(),
            tokenizer_2=_clip_tokenizer(),
            scheduler=scheduler,
            add_watermarker=False,
        )


def wan(size: Wan, device: str, dtype: torch.dtype) -> Any:
    width, layers, heads, feed_forward = size.text
    with _made_on(device, dtype):
        return WanPipeline(
            transformer=WanTransformer3DModel(
                num_attention_heads=size.heads, attention_head_dim=size.head_width, num_layers=size.layers,
                ffn_dim=size.feed_forward, in_channels=16, out_channels=16, text_dim=width, freq_dim=256,
                patch_size=(1, 2, 2), cross_attn_norm=True, qk_norm="rms_norm_across_heads",
            ),
            text_encoder=UMT5EncoderModel(UMT5Config(
                vocab_size=256384, d_model=width, num_layers=layers, num_heads=heads, d_kv=width // heads,
                d_ff=feed_forward, feed_forward_proj="gated-gelu",
            )),
            tokenizer=_t5_tokenizer(),
            vae=AutoencoderKLWan(base_dim=size.vae_width, z_dim=16),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )  # fmt: skip


def klein(size: Klein, device: str, dtype: torch.dtype) -> Any:
    with _made_on(device, dtype):
        return Flux2KleinPipeline(
            transformer=Flux2Transformer2DModel(in_channels=128, guidance_embeds=False, **size.transformer),
            text_encoder=Qwen3ForCausalLM(Qwen3Config(**size.text)),
            tokenizer=_qwen_tokenizer(),
            vae=AutoencoderKLFlux2(**size.vae),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            is_distilled=True,
        )


def clip(config: dict[str, Any], device: str, dtype: torch.dtype) -> Any:
    with _made_on(device, dtype):
        return CLIPModel(CLIPConfig(**config)).eval()


@contextmanager
def _made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Within, modules are made on `device` in `dtype`: 14 billion float32 weights on the host would take minutes."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _unet(size: SDXL) -> Any:
    return UNet2DConditionModel(
        sample_size=128, block_out_channels=size.channels, layers_per_block=2, norm_num_groups=size.groups,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=size.heads, transformer_layers_per_block=size.depths, use_linear_projection=True,
        cross_attention_dim=size.first_text[0] + size.second_text[0], addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=size.second_text[0] + 6 * 256,
    )  # fmt: skip


def _vae(size: SDXL) -> Any:
    return AutoencoderKL(
        block_out_channels=size.vae_channels, layers_per_block=2, latent_channels=4, sample_size=1024,
        norm_num_groups=size.groups, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.13025, force_upcast=True,
    )  # fmt: skip


def _clip_text(width: int, layers: int, heads: int) -> Any:
    return CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=heads, projection_dim=width, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip


def _clip_tokenizer() -> Any:
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def _t5_tokenizer() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.:;-'"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def _qwen_tokenizer() -> Any:
    tokens = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], model_max_length=4096)
    message = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    tokenizer.chat_template = f"{{% for m in messages %}}{message}{{% endfor %}}<|im_start|>assistant\n"
    return tokenizer
