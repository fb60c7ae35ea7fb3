"""Small real models: stock diffusers and transformers classes with tiny configurations and seeded random weights.

Each `save_*` function writes a folder that `from_pretrained` loads, exactly as for a large model. Nothing here is a
mock, and nothing here makes a meaningful picture: weights are random.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.interfaces import EncodedImage
from models.spec import ImageModelSpec

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


def vae(**changes: Any) -> AutoencoderKL:
    defaults = {
        "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8, "latent_channels": 4, "layers_per_block": 1,
        "sample_size": 64, "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }  # fmt: skip
    return AutoencoderKL(**defaults | changes)


def unet(**changes: Any) -> UNet2DConditionModel:
    defaults = {
        "sample_size": 8, "block_out_channels": UNET_CHANNELS, "layers_per_block": 1, "norm_num_groups": 8,
        "attention_head_dim": 4, "cross_attention_dim": TEXT_WIDTH,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**defaults | changes)


def t5_tokenizer(max_length: int = 512) -> T5Tokenizer:
    """One token per letter."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.:;-'"]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=max_length)


def as_sentencepiece(folder: Path) -> None:
    """Replace the tokenizer in `folder` by a trained SentencePiece model, `spiece.model`, as T5's is published."""
    import sentencepiece

    (folder / "tokenizer.json").unlink()
    sentences = ["a red bottle stands on a wooden table, in daylight", "the quick brown fox jumps over the lazy dog"]
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=trained, vocab_size=64, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(trained.getvalue())
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "unk_token": "<unk>", "model_max_length": 128}))


def t5_config() -> T5Config:
    return T5Config(
        vocab_size=128, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4, is_encoder_decoder=False
    )  # fmt: skip


# --- folders ------------------------------------------------------------------------------------------


def image_folders(family: str, root: Path) -> dict[str, Path]:
    """The weight parts of an image family, with its adapter where it has one, in folders below `root`."""
    main = IMAGE_FAMILIES[family](root / "main")
    if family == "flux":
        adapter = save_flux_ip_adapter(root / "ip_adapter", main)
        return {"main": main, "ip_adapter": adapter, "image_encoder": adapter / "image_encoder"}
    if family not in ("stable-diffusion", "stable-diffusion-xl"):
        return {"main": main}
    return {"main": main, "ip_adapter": save_ip_adapter(root / "ip_adapter", main)}


def save_stable_diffusion(folder: Path, *, channels: int = 4) -> Path:
    """SD1.5-type: f8 VAE with `channels` latent channels, two-block UNet, CLIP text encoder, DDIM."""
    torch.manual_seed(0)
    StableDiffusionPipeline(
        vae=vae(latent_channels=channels), unet=unet(in_channels=channels, out_channels=channels),
        text_encoder=CLIPTextModel(clip_text_config()), tokenizer=clip_tokenizer(),
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


def save_ip_adapter(folder: Path, main: Path, *, plus: bool = False) -> Path:
    """IP-Adapter for the UNet in `main`, in the published file format, strong enough to be seen.

    `plus`: the kind that reads all patches of a reference, into sixteen tokens.
    """
    torch.manual_seed(2)
    vision = clip_vision_config()
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
    target = UNet2DConditionModel.from_pretrained(main, subfolder="unet")
    width = target.config.cross_attention_dim
    state = (
        _resampler(vision.hidden_size, width)
        if plus
        else {
            "image_proj.proj.weight": torch.randn(4 * width, 16),
            "image_proj.proj.bias": torch.randn(4 * width),
            "image_proj.norm.weight": torch.ones(width),
            "image_proj.norm.bias": torch.zeros(width),
        }
    )
    names = [name for name in target.attn_processors if name.endswith("attn2.processor")]
    for index, name in enumerate(names):
        channels = target.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * index + 1}.{part}.weight"] = torch.randn(channels, width)
    save_file(state, folder / "ip-adapter.safetensors")
    return folder


def _resampler(seen: int, width: int, depth: int = 4, inner: int = 64, tokens: int = 16) -> dict[str, torch.Tensor]:
    """The projection of an IP-Adapter plus, by its published names: a perceiver of one head over `seen` channels."""
    shapes: dict[str, tuple[int, ...]] = {"latents": (1, tokens, inner)}
    linear = {"proj_in": (inner, seen), "proj_out": (width, inner)}
    norms = {"norm_out": width}
    for layer in range(depth):
        norms |= {f"layers.{layer}.0.norm1": inner, f"layers.{layer}.0.norm2": inner, f"layers.{layer}.1.0": inner}
        shapes |= {
            f"layers.{layer}.0.to_q.weight": (64, inner), f"layers.{layer}.0.to_kv.weight": (128, inner),
            f"layers.{layer}.0.to_out.weight": (inner, 64), f"layers.{layer}.1.1.weight": (4 * inner, inner),
            f"layers.{layer}.1.3.weight": (inner, 4 * inner),
        }  # fmt: skip
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    state = {f"image_proj.{name}": torch.randn(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    for name, size in norms.items():
        state |= {f"image_proj.{name}.weight": torch.ones(size), f"image_proj.{name}.bias": torch.zeros(size)}
    return state


def save_flux(folder: Path, *, guided: bool = True) -> Path:
    """Flux.1: f8 VAE with 16 latent channels, one double and one single block; `guided` as [dev], else as [schnell]."""
    torch.manual_seed(5)
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH, pooled_projection_dim=TEXT_WIDTH, axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )  # fmt: skip
    FluxPipeline(
        vae=vae(latent_channels=16, shift_factor=0.1159, scaling_factor=5.0), transformer=transformer,
        text_encoder=CLIPTextModel(clip_text_config()), tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(t5_config()), tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guided),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_flux_ip_adapter(folder: Path, main: Path) -> Path:
    """IP-Adapter for the double blocks of `save_flux`, in the published file format, with its image encoder beside."""
    torch.manual_seed(6)
    CLIPVisionModelWithProjection(clip_vision_config()).save_pretrained(folder / "image_encoder")
    config = FluxTransformer2DModel.load_config(main, subfolder="transformer")
    text, inner = config["joint_attention_dim"], config["num_attention_heads"] * config["attention_head_dim"]
    state = {
        "ip_adapter_proj_model.proj.weight": torch.randn(4 * text, 16),
        "ip_adapter_proj_model.proj.bias": torch.randn(4 * text),
        "ip_adapter_proj_model.norm.weight": torch.ones(text),
        "ip_adapter_proj_model.norm.bias": torch.zeros(text),
    }
    for block in range(config["num_layers"]):
        for side in ("k", "v"):
            name = f"double_blocks.{block}.processor.ip_adapter_double_stream_{side}_proj"
            state |= {f"{name}.weight": torch.randn(inner, text), f"{name}.bias": torch.randn(inner)}
    save_file(state, folder / "ip-adapter.safetensors")
    return folder


def qwen3_text() -> tuple[Qwen3ForCausalLM, Qwen2Tokenizer]:
    """A Qwen3 of 27 layers, 8 wide, that reads letters, and its tokenizer with a chat template."""
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=514, hidden_size=8, intermediate_size=16, num_hidden_layers=27, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8,
        )
    )  # fmt: skip
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=1024)
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return text_encoder, tokenizer


def save_flux2_klein(folder: Path, *, distilled: bool = True) -> Path:
    """Flux.2 [klein]: f8 VAE with 32 latent channels, Qwen3 texts (layers 9, 18 and 27 are read), three blocks."""
    torch.manual_seed(7)
    text_encoder, tokenizer = qwen3_text()
    transformer = Flux2Transformer2DModel(
        in_channels=128, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * 8, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    picture_vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=8, latent_channels=32, layers_per_block=1, sample_size=64
    )  # fmt: skip
    Flux2KleinPipeline(
        vae=picture_vae, transformer=transformer, text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), is_distilled=distilled,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_z_image(folder: Path) -> Path:
    """Z-Image: Flux's VAE with 16 latent channels, Qwen3 texts (the last layer but one is read), three blocks."""
    # A seed whose random VAE decodes one half of a picture almost apart from the other.
    torch.manual_seed(16)
    text_encoder, tokenizer = qwen3_text()
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=8,
        axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    ZImagePipeline(
        vae=vae(latent_channels=16, shift_factor=0.1159, scaling_factor=5.0), transformer=transformer,
        text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
    ).save_pretrained(folder)  # fmt: skip
    return folder


VISION_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def qwen_vision_text() -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    """A Qwen2.5-VL of two layers and two vision layers, 16 wide, that reads letters, and its tokenizer."""
    letters = list(bytes_to_unicode().values())
    marks = ["<|im_start|>", "<|im_end|>", *VISION_MARKS]
    tokens = [*letters, "<|endoftext|>", *marks]
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=8192,
        additional_special_tokens=marks,
    )  # fmt: skip
    start, end, image, video = (tokens.index(mark) for mark in VISION_MARKS)
    text = {
        "vocab_size": len(tokens), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 16, "num_heads": 2, "out_hidden_size": 16, "intermediate_size": 32,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, vision_start_token_id=start, vision_end_token_id=end,
        image_token_id=image, video_token_id=video, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), tokenizer


def qwen_image_parts(**transformer: Any) -> dict[str, Any]:
    """What both Qwen-Image pipelines have, with the published schedule."""
    text_encoder, tokenizer = qwen_vision_text()
    return {
        "vae": AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        "transformer": QwenImageTransformer2DModel(
            in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(4, 6, 6), **transformer,
        ),
        "text_encoder": text_encoder, "tokenizer": tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, max_image_seq_len=8192, max_shift=0.9, shift_terminal=0.02
        ),
    }  # fmt: skip


def save_qwen_image(folder: Path) -> Path:
    """Qwen-Image: a VAE for clips with 16 latent channels, texts read by a Qwen2.5-VL, two blocks."""
    torch.manual_seed(18)
    QwenImagePipeline(**qwen_image_parts()).save_pretrained(folder)
    return folder


def save_qwen_image_edit(folder: Path) -> Path:
    """Qwen-Image-Edit-2511: as `save_qwen_image`, with the processor of pictures and references that stay clean."""
    torch.manual_seed(18)
    QwenImageEditPlusPipeline(processor=None, **qwen_image_parts(zero_cond_t=True)).save_pretrained(folder)
    add_vision_processor(folder)
    return folder


def add_vision_processor(folder: Path) -> None:
    """The part `processor` of Qwen-Image-Edit, and its name in the index: the class itself wants torchvision."""
    Qwen2VLImageProcessorPil().save_pretrained(folder / "processor")
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))


def save_lightning_lora(main: Path, file: Path) -> None:
    """A LoRA of one file for the Qwen-Image transformer in `main`, by the names of lightx2v's, strong and random."""
    torch.manual_seed(6)
    denoiser = QwenImageTransformer2DModel.from_pretrained(main / "transformer", local_files_only=True)
    state: dict[str, torch.Tensor] = {}
    for block in range(denoiser.config.num_layers):
        for layer in ("attn.to_q", "attn.add_v_proj", "attn.to_out.0", "img_mlp.net.2", "img_mod.1"):
            name = f"transformer_blocks.{block}.{layer}"
            linear = denoiser.get_submodule(name)
            state |= {
                f"{name}.alpha": torch.tensor(4.0),
                f"{name}.lora_down.weight": torch.randn(4, linear.in_features),
                f"{name}.lora_up.weight": torch.randn(linear.out_features, 4),
            }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, file)


IMAGE_FAMILIES: dict[str, Callable[[Path], Path]] = {
    "stable-diffusion": save_stable_diffusion, "stable-diffusion-xl": save_stable_diffusion_xl, "flux": save_flux,
    "flux2-klein": save_flux2_klein, "z-image": save_z_image, "qwen-image": save_qwen_image,
    "qwen-image-edit": save_qwen_image_edit,
}  # fmt: skip
