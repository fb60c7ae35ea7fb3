"""The second generation's networks, all stock classes, and what they have in common.

Pictures of 128 x 128, 160 x 96 and 96 x 160 pixels become latents of 16 x 16, 20 x 12 and 12 x 20 cells of 16 channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
)

FACTOR = 8
LATENTS = 16
SIDE = 128
"""What the vision tower sees of any picture: the whole of it, squeezed to this square."""
PATCH = 16
WIDTH = 128
EMBEDDING = 128
MAX_TOKENS = 48
CHANNELS = (64, 96, 112)
HEADS = 4
MOTION_LENGTH = 32
ADAPTER_WIDTH = 96
ADAPTER_TOKENS = 16
ADAPTER_HEAD = 64
"""Fixed by the checkpoint format, as the depth of 4 is."""


@dataclass(frozen=True)
class Sizes:
    """How large the networks are; `TINY` is for rehearsals."""

    vae: tuple[int, ...] = (24, 48, 64, 64)
    unet: tuple[int, int, int] = CHANNELS
    vision_layers: int = 4
    text_layers: int = 2
    observer: int = 96


FULL = Sizes()
TINY = Sizes(vae=(8, 8, 16, 16), unet=(32, 32, 32), vision_layers=2, text_layers=1, observer=32)


def autoencoder(sizes: Sizes = FULL) -> AutoencoderKL:
    """Factor 8; the latents are made mean 0 and spread 1 by its own 1 x 1 convolutions, so its scale is 1."""
    count = len(sizes.vae)
    return AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * count,
        up_block_types=("UpDecoderBlock2D",) * count,
        latent_channels=LATENTS,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )


def image_unet(sizes: Sizes = FULL) -> UNet2DConditionModel:
    """Residual branches and the output start at zero, as in DDPM: noticeably faster over the first thousand steps."""
    unet = UNet2DConditionModel(
        sample_size=SIDE // FACTOR,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=sizes.unet,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=16,
    )
    for name, parameter in unet.named_parameters():
        if name.endswith(("conv2.weight", "proj_out.weight", "conv_out.weight")):
            nn.init.zeros_(parameter)
    return unet


def motion_adapter(sizes: Sizes = FULL, conv_in: bool = True) -> MotionAdapter:
    """Motion modules of the image model's shape, and PIA's input layer: latents, a mask, the keyframe's latents."""
    return MotionAdapter(
        block_out_channels=sizes.unet,
        motion_layers_per_block=1,
        motion_num_attention_heads=HEADS,
        motion_norm_num_groups=16,
        motion_max_seq_length=MOTION_LENGTH,
        use_motion_mid_block=False,
        conv_in_channels=1 + 2 * LATENTS if conv_in else None,
    )


class ToldInput(nn.Module):
    """PIA's input layer in two: what the image model makes of noisy latents, and what is told of the keyframe."""

    def __init__(self, image: nn.Conv2d) -> None:
        super().__init__()
        self.image = image
        self.told = nn.Conv2d(1 + LATENTS, image.out_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.told.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        noisy, told = inputs[:, :LATENTS], inputs[:, LATENTS:]
        out: torch.Tensor = self.image(noisy) + self.told(told)
        return out

    def weight(self) -> torch.Tensor:
        """Of the one layer that does the same."""
        return torch.cat([self.image.weight, self.told.weight], dim=1).detach()


def motion_unet(unet: UNet2DConditionModel, sizes: Sizes = FULL) -> UNetMotionModel:
    """The image model, unchanged and frozen, with inert motion modules and an input layer that ignores what it is told.

    The stock `from_unet2d` counts on four latent channels where the motion adapter has an input layer of its own.
    """
    model = UNetMotionModel.from_unet2d(unet, motion_adapter(sizes, conv_in=False))
    model.conv_in = ToldInput(model.conv_in)
    model.register_to_config(in_channels=1 + 2 * LATENTS)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("motion_modules" in name or name == "conv_in.told.weight")
    return model


def motion_state(model: UNetMotionModel) -> dict[str, torch.Tensor]:
    """The trained part under the names of a stock `MotionAdapter`."""
    state = {k: v for k, v in model.state_dict().items() if "motion_modules" in k}
    return {**state, "conv_in.weight": model.conv_in.weight(), "conv_in.bias": model.conv_in.image.bias.detach()}


def text_config(tokenizer: CLIPTokenizer, sizes: Sizes = FULL) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=EMBEDDING,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def vision_config(sizes: Sizes = FULL) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=EMBEDDING,
    )


def text_encoder(tokenizer: CLIPTokenizer, sizes: Sizes = FULL) -> CLIPTextModel:
    return CLIPTextModel(text_config(tokenizer, sizes))


def vision_tower(sizes: Sizes = FULL) -> CLIPVisionModel:
    return CLIPVisionModel(vision_config(sizes))


def observer_tower(sizes: Sizes = FULL) -> Dinov2Model:
    """A second pair of eyes, of another kind and another seed than CLIP's."""
    config: Any = Dinov2Config(
        hidden_size=sizes.observer,
        num_hidden_layers=3,
        num_attention_heads=3 if sizes.observer % 3 == 0 else 2,
        mlp_ratio=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    return Dinov2Model(config)


def clip(tokenizer: CLIPTokenizer, sizes: Sizes = FULL) -> CLIPModel:
    config = CLIPConfig(
        text_config=text_config(tokenizer, sizes).to_dict(),
        vision_config=vision_config(sizes).to_dict(),
        projection_dim=EMBEDDING,
    )
    return CLIPModel(config)
