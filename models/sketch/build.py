"""Untrained stand-ins for the sketch weights: small stock-class models, built from a seed, equal byte for byte.

They load through exactly the code that loads the trained and the large ones, and they draw noise and write nonsense:
whoever runs them says so (`models.weights.Library.untrained_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

SEED = 20260101
CHANNELS = (32, 64, 128)
TEXT_WIDTH = 128
EMBEDDING = 64
LATENT_CHANNELS = 16
IMAGE_TOKENS = 4
"""Tokens per reference image."""
ADAPTER_WIDTH = 64
"""One attention head: the IP-Adapter's checkpoint format fixes its width."""
PROMPT_TOKENS = 48
CONTEXT_TOKENS = 8192
IMAGE_PIXELS = 128
PATCH_PIXELS = 16

WORDS = """
a ad and are as at beach beauty before best bold bottle brand bright by calm camera can character city clear close
clean coffee cold colour comfort cup day desk discover drop every feel for forest fresh from gold good hand hero home
hot in is it kitchen last light look made modern morning mountain new night now of on one open pan phone product red
ride run scene shoe shot show slow smile soft steel story strong style sun table take that the this time to today up
warm watch water white wide with work world you your
"""

WEIGHTS = ("weight", "bias")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|{{ message['role'] }}|>
{%- if message['content'] is string -%}{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<image>{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""
CHAT_SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>")


def build(name: str, folder: Path) -> None:
    """Write the untrained model `name` (a key of `BUILDERS`) into the empty or missing `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), _without_progress_bars():
        torch.manual_seed(SEED)
        BUILDERS[name](folder)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """transformers draws one per saved model, over whatever the caller shows."""
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


# --- image ----------------------------------------------------------------------------------------------------------


def _image(folder: Path) -> None:
    tokenizer = _clip_tokenizer()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 16, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=LATENT_CHANNELS,
            layers_per_block=1,
            norm_num_groups=8,
            sample_size=IMAGE_PIXELS,
            mid_block_add_attention=False,
            scaling_factor=1.0,
            force_upcast=False,
        ),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=_image_processor(),
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=IMAGE_PIXELS // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def _motion(folder: Path) -> None:
    adapter = MotionAdapter(
        block_out_channels=CHANNELS,
        motion_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=8,
        motion_max_seq_length=32,
        use_motion_mid_block=False,
        conv_in_channels=1 + 2 * LATENT_CHANNELS,
    )
    adapter.save_pretrained(folder, safe_serialization=True)


def _ip_adapter(folder: Path) -> None:
    """The kind "plus": a resampler of patches, and a key and value matrix for each cross-attention of the UNet."""
    unet = _unet()
    projection = IPAdapterPlusImageProjection(
        embed_dims=EMBEDDING, output_dims=TEXT_WIDTH, hidden_dims=ADAPTER_WIDTH, heads=1, num_queries=IMAGE_TOKENS
    )
    tensors = {f"image_proj.{key}": tensor for key, tensor in projection_state(projection).items()}
    cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for index, name in enumerate(cross):
        width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for matrix in ("to_k_ip", "to_v_ip"):
            # The checkpoint numbers all attentions of the UNet; the cross-attentions are the odd ones.
            key = f"ip_adapter.{2 * index + 1}.{matrix}.weight"
            tensors[key] = torch.nn.Linear(TEXT_WIDTH, width, bias=False).weight
    save_file({key: tensor.detach() for key, tensor in tensors.items()}, folder / "ip-adapter.safetensors")
    encoder = folder / "image_encoder"
    CLIPVisionModelWithProjection(_vision_config()).save_pretrained(encoder, safe_serialization=True)
    _image_processor().save_pretrained(encoder)


def projection_state(projection: IPAdapterPlusImageProjection) -> dict[str, torch.Tensor]:
    """The resampler's weights under the names of IP-Adapter's own checkpoints, which diffusers reads."""
    found: dict[str, torch.Tensor] = {}
    state = {k: v.detach().cpu().contiguous().clone() for k, v in projection.state_dict().items()}
    for name in ("latents", *(f"{part}.{kind}" for part in ("proj_in", "proj_out", "norm_out") for kind in WEIGHTS)):
        found[name] = state[name]
    for k in range(len(projection.layers)):
        here, there = f"layers.{k}", f"layers.{k}.0"
        for kind in WEIGHTS:
            found[f"{there}.norm1.{kind}"] = state[f"{here}.ln0.{kind}"]
            found[f"{there}.norm2.{kind}"] = state[f"{here}.ln1.{kind}"]
            found[f"layers.{k}.1.0.{kind}"] = state[f"{here}.ff.0.{kind}"]
        found[f"{there}.to_q.weight"] = state[f"{here}.attn.to_q.weight"]
        found[f"{there}.to_kv.weight"] = torch.cat([state[f"{here}.attn.{n}.weight"] for n in ("to_k", "to_v")])
        found[f"{there}.to_out.weight"] = state[f"{here}.attn.to_out.0.weight"]
        found[f"layers.{k}.1.1.weight"] = state[f"{here}.ff.1.net.0.proj.weight"]
        found[f"layers.{k}.1.3.weight"] = state[f"{here}.ff.1.net.2.weight"]
    return found


# --- CLIP -----------------------------------------------------------------------------------------------------------


def _clip(folder: Path) -> None:
    tokenizer = _clip_tokenizer()
    config = CLIPConfig(
        text_config=_text_config(tokenizer).to_dict(),
        vision_config=_vision_config().to_dict(),
        projection_dim=EMBEDDING,
    )
    CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    _image_processor().save_pretrained(folder)


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=PROMPT_TOKENS,
        projection_dim=EMBEDDING,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=EMBEDDING,
        intermediate_size=2 * EMBEDDING,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=IMAGE_PIXELS,
        patch_size=PATCH_PIXELS,
        projection_dim=EMBEDDING,
    )


def _image_processor() -> CLIPImageProcessorPil:
    """Squashes any aspect ratio to the square, so that nothing of a reference is cropped away."""
    side = {"height": IMAGE_PIXELS, "width": IMAGE_PIXELS}
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(size=side, do_center_crop=False, image_mean=half, image_std=half)


def _clip_tokenizer() -> CLIPTokenizer:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges([[*word[:-1], f"{word[-1]}</w>"] for word in WORDS.split()])
    # Text encoders pool at the first end token or at the highest id: the special tokens come last, as in CLIP.
    tokens = _unique(
        [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges)],
        ["<|startoftext|>", "<|endoftext|>"],
    )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=PROMPT_TOKENS)


def _observer(folder: Path) -> None:
    config = Dinov2Config(
        hidden_size=EMBEDDING,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_PIXELS,
        patch_size=PATCH_PIXELS,
    )
    Dinov2Model(config).save_pretrained(folder, safe_serialization=True)


# --- chat -----------------------------------------------------------------------------------------------------------


def _llm(folder: Path) -> None:
    tokenizer = _chat_tokenizer()
    config = LlavaConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            head_dim=64,
            max_position_embeddings=CONTEXT_TOKENS,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        ),
        vision_config=_vision_config(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE_PIXELS // PATCH_PIXELS) ** 2,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder, safe_serialization=True)
    processor = LlavaProcessor(
        image_processor=_image_processor(),
        tokenizer=tokenizer,
        patch_size=PATCH_PIXELS,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)


def _chat_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text has tokens; the words of `WORDS` are one token each, bare and after a space."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges([list(form) for word in WORDS.split() for form in (word, f"Ġ{word}")])
    tokens = _unique(list(CHAT_SPECIAL), [*symbols, *map("".join, merges)])
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CHAT_SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",  # noqa: S106
        eos_token="<|end|>",  # noqa: S106
        model_max_length=CONTEXT_TOKENS,
    )


def _merges(words: list[list[str]]) -> list[tuple[str, str]]:
    """Merge rules that grow each word from its first symbol on; a rule is listed once, at its first use."""
    rules: dict[tuple[str, str], None] = {}
    for symbols in words:
        grown = symbols[0]
        for symbol in symbols[1:]:
            rules[(grown, symbol)] = None
            grown += symbol
    return list(rules)


def _unique(*groups: list[str]) -> list[str]:
    return list(dict.fromkeys(token for group in groups for token in group))


BUILDERS: dict[str, Callable[[Path], None]] = {
    "image": _image,
    "ip_adapter": _ip_adapter,
    "motion": _motion,
    "clip": _clip,
    "observer": _observer,
    "llm": _llm,
}
