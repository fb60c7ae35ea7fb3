"""IP-Adapter Plus over the frozen image model, in the state dict that `load_ip_adapter` reads.

The reference is always a photograph of the same product elsewhere, so that the adapter carries the product and nothing
else; captions mostly leave colour and shape unsaid. It reads every patch of the whole picture, squeezed to a square.
Its loss weighs the product's place as the image model's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from models.sketch.build import projection_state
from models.sketch.training.autoencoder import half
from models.sketch.training.diffusion import Noising, emphasis
from models.sketch.training.farm import NAMES_PRODUCT
from models.sketch.training.image import drawn_states, rimmed, usual_places
from models.sketch.training.networks import ADAPTER_TOKENS, ADAPTER_WIDTH, WIDTH
from models.sketch.training.shelf import Shelf
from models.sketch.training.towers import squeezed
from models.sketch.training.world import COLOURS, MATERIALS

DROP_TEXT = 0.15
DROP_IMAGE = 0.08
"""Share of references left out: the negative half of guidance, for which pipelines encode an empty picture."""
State = dict[str, torch.Tensor]


def initial(unet: UNet2DConditionModel, text: CLIPTextModel) -> dict[str, State]:
    """Image tokens of the scale of words' states, read by copies of the text's own keys and values."""
    projection = IPAdapterPlusImageProjection(
        embed_dims=WIDTH,
        output_dims=WIDTH,
        hidden_dims=ADAPTER_WIDTH,
        heads=1,
        num_queries=ADAPTER_TOKENS,
    )
    norm = text.text_model.final_layer_norm if hasattr(text, "text_model") else text.final_layer_norm
    with torch.no_grad():
        projection.norm_out.weight.copy_(norm.weight.cpu())
        projection.norm_out.bias.copy_(norm.bias.cpu())
    layers = {}
    for index, name in enumerate(n for n in unet.attn_processors if n.endswith("attn2.processor")):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        layers[f"{2 * index + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().clone().cpu()
        layers[f"{2 * index + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().clone().cpu()
    return {"image_proj": projection_state(projection), "ip_adapter": layers}


def attach(unet: UNet2DConditionModel, state: dict[str, State]) -> None:
    """Put an adapter on the UNet through diffusers' own loader, and leave only it trainable."""
    unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    unet.to(unet.device)
    unet.requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("_ip." in name or name.startswith("encoder_hid_proj"))


def adapter_state(unet: UNet2DConditionModel) -> State:
    """The adapter's weights under the file format's names."""
    layer: Any = unet.encoder_hid_proj.image_projection_layers[0]
    state = {f"image_proj.{k}": v for k, v in projection_state(layer).items()}
    processors = [p for n, p in unet.attn_processors.items() if n.endswith("attn2.processor")]
    for index, processor in enumerate(processors):
        for matrix in ("to_k_ip", "to_v_ip"):
            weight = getattr(processor, matrix)[0].weight
            state[f"ip_adapter.{2 * index + 1}.{matrix}.weight"] = weight.detach().cpu().contiguous().clone()
    return state


@torch.no_grad()
def patch_states(encoder: CLIPVisionModelWithProjection, pictures: torch.Tensor) -> torch.Tensor:
    """What the pipelines hand to the adapter: the last layer but one's states of every patch."""
    found = [
        encoder(pixel_values=squeezed(part), output_hidden_states=True).hidden_states[-2]
        for part in torch.split(pictures, 256)
    ]
    return torch.cat(found).to(torch.bfloat16 if pictures.is_cuda else torch.float32)


@torch.no_grad()
def blank_states(encoder: CLIPVisionModelWithProjection, device: torch.device) -> torch.Tensor:
    """For no picture: pipelines encode pixels of zero."""
    size = encoder.config.image_size
    pixels = torch.zeros(1, 3, size, size, device=device)
    states: torch.Tensor = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return states.to(torch.bfloat16 if device.type == "cuda" else torch.float32)


def product_of(attributes: torch.Tensor) -> torch.Tensor:
    """Index into `farm.PRODUCTS` of rows of attributes."""
    shape, colour, material = (attributes[:, k].long() for k in NAMES_PRODUCT)
    return (shape * len(COLOURS) + colour) * len(MATERIALS) + material


class Referring:
    """The steps over a UNet with an adapter. `seen` holds views x products x patches x width."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        shelves: Mapping[str, Shelf],
        seen: torch.Tensor,
        blank: torch.Tensor,
        empty: torch.Tensor,
        batch: int,
        noising: Noising,
    ) -> None:
        self.unet, self.shelves, self.seen, self.blank, self.empty = unet, shelves, seen, blank, empty
        self.batch, self.noising, self.device = batch, noising, empty.device
        self.usual = {aspect: usual_places(shelf) for aspect, shelf in shelves.items()}

    def step(self, aspect: str) -> torch.Tensor:
        shelf, batch, device = self.shelves[aspect], self.batch, self.device
        rows = shelf.draw(batch)
        told = drawn_states(shelf["unnamed_states"], rows, self.empty, DROP_TEXT)
        view = (torch.rand(batch, device=device) * len(self.seen)).long()
        shown = self.seen[view, product_of(shelf["attributes"][rows])]
        kept = torch.rand(batch, 1, 1, device=device) >= DROP_IMAGE
        shown = torch.where(kept, shown, self.blank)[:, None]
        clean = shelf["latents"][rows].float().contiguous(memory_format=torch.channels_last)
        timesteps = self.noising.timesteps(batch)
        noisy, target = self.noising.noised(clean, timesteps)
        with half(device):
            out = self.unet(
                noisy, timesteps, encoder_hidden_states=told, added_cond_kwargs={"image_embeds": [shown]}
            ).sample
        weight = emphasis(timesteps, rimmed(shelf["cover"][rows]), self.usual[aspect])
        return self.noising.loss(out, target, timesteps, weight)
