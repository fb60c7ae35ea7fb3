"""The image model: denoises stills' latents, told by the states of their captions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextModel

from models.sketch.training.autoencoder import half
from models.sketch.training.diffusion import Noising, emphasis
from models.sketch.training.shelf import Shelf

DROP = 0.1
"""Share of captions that are left out, for guidance."""
TEXTS = 1024


@torch.no_grad()
def states(text: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Per-token states of ... x 48 ids, as Stable Diffusion takes them; bfloat16 on CUDA."""
    flat = ids.reshape(-1, ids.shape[-1])
    found = [text(input_ids=part.long()).last_hidden_state for part in torch.split(flat, TEXTS)]
    whole = torch.cat(found).to(torch.bfloat16 if ids.is_cuda else torch.float32)
    return whole.view(*ids.shape, whole.shape[-1])


class Painting:
    """The steps over one UNet. Shelves bring `latents`, `cover` and `states` (of captions), computed before."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        shelves: Mapping[str, Shelf],
        empty: torch.Tensor,
        batch: int,
        noising: Noising,
    ) -> None:
        """`empty` is the state of an empty caption."""
        self.unet, self.shelves, self.empty, self.batch, self.noising = unet, shelves, empty, batch, noising
        self.usual = {aspect: usual_places(shelf) for aspect, shelf in shelves.items()}
        self.device = empty.device

    def step(self, aspect: str) -> torch.Tensor:
        shelf = self.shelves[aspect]
        rows = shelf.draw(self.batch)
        told = drawn_states(shelf["states"], rows, self.empty, DROP)
        clean = shelf["latents"][rows].float().contiguous(memory_format=torch.channels_last)
        timesteps = self.noising.timesteps(self.batch)
        noisy, target = self.noising.noised(clean, timesteps)
        with half(self.device):
            out = self.unet(noisy, timesteps, encoder_hidden_states=told).sample
        weight = emphasis(timesteps, rimmed(shelf["cover"][rows]), self.usual[aspect])
        return self.noising.loss(out, target, timesteps, weight)


def drawn_states(states_of: torch.Tensor, rows: torch.Tensor, empty: torch.Tensor, drop: float) -> torch.Tensor:
    """States of one of each row's captions; of none for a share of `drop`."""
    which = (torch.rand(len(rows), device=rows.device) * states_of.shape[1]).long()
    kept = torch.rand(len(rows), 1, 1, device=rows.device) >= drop
    return torch.where(kept, states_of[rows, which], empty)


def rimmed(cover: torch.Tensor) -> torch.Tensor:
    """Product coverage of each latent cell, 0 to 1, its rim included: n x 1 x height x width."""
    return F.max_pool2d(cover.float()[:, None] / 255, 3, stride=1, padding=1)


def usual_places(shelf: Shelf) -> torch.Tensor:
    """Where products usually are: height x width, 0 to 1."""
    return shelf["cover"][: min(shelf.count, 4000)].float().mean(0) / 255
