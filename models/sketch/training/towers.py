"""What text and pictures say: the text encoder, CLIP's vision tower, a second tower, and CLIP's two projections.

The text encoder learns to name a caption's attributes and is then frozen: trained along with the image model it gave
all its room to the setting. Towers learn shapes from scrambled colours only: in true colours a network first learns
which shapes never come with a colour and a setting, and so excludes exactly the held-out combinations. Patches also
learn how much of them is product, and of which shape. The projections are fitted over frozen towers for the same
reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTextModel

from models.sketch.training.autoencoder import half
from models.sketch.training.farm import ATTRIBUTES, CELL
from models.sketch.training.networks import MAX_TOKENS, PATCH, SIDE
from models.sketch.training.shelf import Shelf, as_tensor

NAMES = tuple(ATTRIBUTES)
FORM = ("shape", "material")
WEIGHTS = {"shape": 1.0, "colour": 1.0, "setting": 1.0, "time": 1.0, "material": 0.3}
ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Of the channels; never the true one."""
SCRAMBLED = 0.65
FINE = PATCH // CELL
"""Cells along a patch's side whose coverage it learns."""
PADS = 3
"""End tokens supervised after each caption: pipelines pad with them, and the image model attends to all."""


class Reader(nn.Module):
    """The text encoder with its training-time heads."""

    def __init__(self, text: CLIPTextModel) -> None:
        super().__init__()
        self.text = text
        width = text.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})

    def loss(self, shelf: Shelf, batch: int) -> torch.Tensor:
        """Names every attribute at the first end token and at some of the padding behind it."""
        rows = shelf.draw(batch, ready=False)
        ids = shelf["captions"][rows, torch.randint(shelf["captions"].shape[1], (batch,), device=rows.device)].long()
        with half(rows.device):
            states = self.text(input_ids=ids).last_hidden_state
        end = (ids == self.text.config.eos_token_id).int().argmax(1)
        share = torch.rand(batch, PADS, device=rows.device)
        later = end[:, None] + (share * (MAX_TOKENS - end[:, None])).long()
        places = torch.cat([end[:, None], later.clamp(max=MAX_TOKENS - 1)], dim=1)
        seen = states.float().gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
        wanted = shelf["attributes"][rows].long()
        total = torch.zeros((), device=rows.device)
        for k, name in enumerate(NAMES):
            logits = self.heads[name](seen).flatten(0, 1)
            total = total + F.cross_entropy(logits, wanted[:, k].repeat_interleave(PADS + 1))
        return total


class Watcher(nn.Module):
    """A vision tower with its training-time heads. `layer` is where patches learn how much of them is product."""

    def __init__(self, vision: Any, width: int, layer: int = 2) -> None:
        super().__init__()
        self.vision, self.layer = vision, layer
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})
        self.cover = nn.Linear(width, FINE**2)
        self.patches = nn.Linear(width, len(ATTRIBUTES["shape"]) + 1)
        self.tints = nn.Linear(width, len(ATTRIBUTES["colour"]))
        self.orders: torch.Tensor
        self.register_buffer("orders", torch.stack([torch.eye(3)[list(o)] for o in ORDERS]))

    def loss(self, shelf: Shelf, batch: int) -> torch.Tensor:
        rows = shelf.draw(batch, ready=False)
        pixels, cover = squeezed(shelf["pixels"][rows]), shelf["cover"][rows].float()[:, None] / 255
        cover = F.interpolate(cover, size=(SIDE // CELL, SIDE // CELL), mode="bilinear")
        device = rows.device
        form = torch.arange(batch, device=device) < round(SCRAMBLED * batch)
        pixels = torch.where(form[:, None, None, None], scrambled(pixels, self.orders), lit(pixels))
        mirror = (torch.rand(batch, device=device) < 0.5)[:, None, None, None]
        pixels, cover = torch.where(mirror, pixels.flip(-1), pixels), torch.where(mirror, cover.flip(-1), cover)
        with half(device):
            seen = self.vision(pixel_values=pixels, output_hidden_states=True)
        return self._judged(seen, cover, shelf["attributes"][rows].long(), round(SCRAMBLED * batch))

    def _judged(self, seen: Any, cover: torch.Tensor, wanted: torch.Tensor, forms: int) -> torch.Tensor:
        """The first `forms` rows are scrambled and teach form; the others teach colours and places."""
        pooled = seen.pooler_output.float()
        total = torch.zeros((), device=pooled.device)
        for k, name in enumerate(NAMES):
            rows = slice(0, forms) if name in FORM else slice(forms, None)
            total = total + WEIGHTS[name] * F.cross_entropy(self.heads[name](pooled[rows]), wanted[rows, k])
        tiles = F.unfold(cover, FINE, stride=FINE).transpose(1, 2)
        cells = self.cover(seen.hidden_states[self.layer][:, 1:].float())
        total = total + 2 * F.binary_cross_entropy_with_logits(cells, tiles)
        share = tiles.mean(-1)
        last = seen.last_hidden_state[:, 1:].float()
        shape, colour = wanted[:, NAMES.index("shape"), None], wanted[:, NAMES.index("colour"), None]
        kind = torch.where(share > 0.35, shape, torch.full_like(shape, -1))
        kind = torch.where(share < 0.08, torch.full_like(shape, len(ATTRIBUTES["shape"])), kind)[:forms]
        tint = torch.where(share > 0.7, colour, torch.full_like(colour, -1))[forms:]
        total = total + 2 * F.cross_entropy(self.patches(last[:forms]).flatten(0, 1), kind.flatten(), ignore_index=-1)
        # A mean over no patch would be no number.
        logits = self.tints(last[forms:]).flatten(0, 1)
        tints = F.cross_entropy(logits, tint.flatten(), ignore_index=-1, reduction="sum")
        return total + tints / (tint >= 0).sum().clamp(min=1)

    @torch.no_grad()
    def accuracy(self, pixels: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
        """Share of rightly named attributes in true colours."""
        pooled = self.vision(pixel_values=pixels).pooler_output.float()
        return {n: float((self.heads[n](pooled).argmax(1) == wanted[:, k]).float().mean()) for k, n in enumerate(NAMES)}


def squeezed(pictures: torch.Tensor) -> torch.Tensor:
    """What the image processor makes of n x height x width x 3 bytes."""
    pixels = as_tensor(pictures)
    if pixels.shape[-2:] == (SIDE, SIDE):
        return pixels
    return F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)


def scrambled(pixels: torch.Tensor, orders: torch.Tensor) -> torch.Tensor:
    """Each picture in colours of its own: channels exchanged, mixed at random, or grey. Only form is left."""
    count, device = len(pixels), pixels.device
    kind = torch.rand(count, 1, 1, device=device)
    exchanged = orders[(torch.rand(count, device=device) * len(ORDERS)).long()]
    mixed = torch.randn(count, 3, 3, device=device)
    mixed = 1.2 * mixed / mixed.abs().sum(2, keepdim=True)
    grey = -torch.log(torch.rand(count, 1, 3, device=device).clamp(min=1e-6))
    grey = (grey / grey.sum(2, keepdim=True)).expand(-1, 3, -1)
    matrices = torch.where(kind < 0.4, exchanged, torch.where(kind < 0.75, mixed, grey))
    return torch.einsum("bij,bjhw->bihw", matrices, pixels).clamp(-1, 1)


def lit(pixels: torch.Tensor) -> torch.Tensor:
    """A little brighter, darker or paler: references come from other cameras."""
    gain = 1 + 0.08 * torch.randn(len(pixels), 1, 1, 1, device=pixels.device)
    offset = 0.05 * torch.randn(len(pixels), 1, 1, 1, device=pixels.device)
    return (pixels * gain + offset).clamp(-1, 1)


# --- CLIP's projections ---------------------------------------------------------------------------------------------


@torch.no_grad()
def picture_features(clip: CLIPModel, shelves: Mapping[str, Shelf], most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features of stills, and the token ids of each one's ten captions, its own first."""
    features, ids = [], []
    for shelf in shelves.values():
        count = min(shelf.count, most // len(shelves))
        for start in range(0, count, 256):
            part = slice(start, min(start + 256, count))
            features.append(clip.vision_model(pixel_values=squeezed(shelf["pixels"][part])).pooler_output.float())
            ids.append(shelf["choices"][part])
    return torch.cat(features), torch.cat(ids)


@torch.no_grad()
def text_features(clip: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Pooled features of n x 10 captions."""
    flat = ids.flatten(0, 1)
    found = [clip.text_model(input_ids=part.long()).pooler_output.float() for part in torch.split(flat, 4096)]
    return torch.cat(found).view(*ids.shape[:2], -1)


def fit(clip: CLIPModel, pictures: torch.Tensor, texts: torch.Tensor, steps: int, batch: int = 512) -> float:
    """Train projections and temperature to choose among the ten, and among the batch's; gives the last share right."""
    device = pictures.device
    parameters = [clip.visual_projection.weight, clip.text_projection.weight, clip.logit_scale]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-3)
    right = torch.zeros((), device=device)
    last = min(50, steps)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 20) * (1 - 0.98 * step / steps)
        rows = torch.randint(len(pictures), (batch,), device=device)
        image = F.normalize(clip.visual_projection(pictures[rows]), dim=-1)
        text = F.normalize(clip.text_projection(texts[rows]), dim=-1)
        scale = clip.logit_scale.clamp(max=4.6).exp()
        near = scale * torch.einsum("bd,bkd->bk", image, text)
        ten = F.cross_entropy(near, torch.zeros(batch, dtype=torch.long, device=device))
        wide = F.cross_entropy(scale * image @ text[:, 0].T, torch.arange(batch, device=device))
        optimiser.zero_grad()
        (ten + 0.2 * wide).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step >= steps - last:
            right += (near.argmax(1) == 0).float().mean()
    clip.requires_grad_(False)
    return float(right) / last
