"""Stage 2: image-text alignment (stock `CLIPModel`, own tokenizer).

`python -m models.sketch.train.clip`. Its vision tower is the IP-Adapter's image encoder. Half of the batches share a
setting or a shape, so that telling products apart is the only way to win. Small heads that name the attributes from
each tower and the shape in each patch speed that up and are dropped afterwards: without the patches, colours and
settings were right after 1,150 steps and shapes at chance.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.sketch.train import data, loop
from models.sketch.train.clip_config import EMBEDDING, WIDTH, text_config
from models.sketch.train.paths import WEIGHTS, squash
from models.sketch.train.probe import choice_accuracy
from models.sketch.train.text import warm_up
from models.sketch.train.words import load_tokenizer, token_ids
from models.sketch.world import COLOURS, MATERIALS, SETTINGS, SHAPES, SceneSpec, caption, product_mask

BATCH = 64
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "setting": SETTINGS, "material": MATERIALS}
WEIGHT = {"shape": 3.0}
MEAN = (0.5, 0.5, 0.5)


def network(tokenizer: CLIPTokenizer) -> CLIPModel:
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        projection_dim=EMBEDDING,
    )
    config = CLIPConfig(
        text_config=text_config(tokenizer).to_dict(), vision_config=vision.to_dict(), projection_dim=EMBEDDING
    )
    return CLIPModel(config)


def processor() -> CLIPImageProcessorPil:
    """Squashes any aspect to 64 x 64, so that nothing is cropped away."""
    size = {"height": 64, "width": 64}
    return CLIPImageProcessorPil(size=size, do_center_crop=False, resample=2, image_mean=MEAN, image_std=MEAN)


class Towers(nn.Module):
    """CLIP with its training-time attribute heads."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.heads = nn.ModuleDict({name: nn.Linear(EMBEDDING, len(values)) for name, values in ATTRIBUTES.items()})
        self.patches = nn.Linear(WIDTH, len(SHAPES) + 1)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both embeddings, and what each patch is: a shape, or background."""
        seen = self.clip.vision_model(pixel_values=pixels)
        image = self.clip.visual_projection(seen.pooler_output)
        text = self.clip.text_projection(self.clip.text_model(input_ids=ids).pooler_output)
        return image, text, self.patches(seen.last_hidden_state[:, 1:])

    def loss(
        self, image: torch.Tensor, text: torch.Tensor, patches: torch.Tensor, specs: list[SceneSpec]
    ) -> tuple[torch.Tensor, float]:
        scale = self.clip.logit_scale.clamp(max=4.0).exp()
        logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        logits = logits.masked_fill(_same(specs), -1e4)
        target = torch.arange(len(specs))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        named = torch.zeros(())
        for name, values in ATTRIBUTES.items():
            truth = torch.tensor([values.index(getattr(s, name)) for s in specs])
            named = named + WEIGHT.get(name, 1.0) * F.cross_entropy(self.heads[name](image), truth)
            if name != "material":
                named = named + 0.2 * F.cross_entropy(self.heads[name](text), truth)
        dense = F.cross_entropy(patches.flatten(0, 1), patch_shapes(specs).flatten(), ignore_index=-1)
        return contrast + 0.5 * named + 2 * dense, float(
            (self.heads["shape"](image).argmax(1) == _shapes(specs)).float().mean()
        )


def _shapes(specs: list[SceneSpec]) -> torch.Tensor:
    return torch.tensor([SHAPES.index(s.shape) for s in specs])


def patch_shapes(specs: list[SceneSpec]) -> torch.Tensor:
    """For each 8 x 8 patch its shape's index, the number of shapes for background, or -1 at a rim."""
    masks = torch.from_numpy(np.stack([cv2.resize(product_mask(s), (64, 64)) for s in specs]))
    cover = F.avg_pool2d(masks[:, None], 8).flatten(1)
    rim = torch.full(cover.shape, -1)
    shaped = torch.where(cover > 0.35, _shapes(specs)[:, None], rim)
    return torch.where(cover < 0.08, torch.tensor(len(SHAPES)), shaped)


def _same(specs: list[SceneSpec]) -> torch.Tensor:
    """Pairs that are no negatives, since their captions could be swapped."""
    keys = [(s.shape, s.colour, s.setting) for s in specs]
    same = torch.tensor([[a == b for b in keys] for a in keys])
    return same & ~torch.eye(len(keys), dtype=torch.bool)


class Batches:
    """Training batches, half of them alike in setting or shape."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.specs = {a: data.specs("train", a) for a in data.SHARES}
        self.pixels = {a: data.pictures("train", a) for a in data.SHARES}

    def _indices(self, specs: list[SceneSpec]) -> list[int]:
        key = str(self.rng.choice(["", "", "setting", "shape"]))
        wanted = str(self.rng.choice(ATTRIBUTES[key])) if key else None
        chosen: list[int] = []
        while len(chosen) < self.size:
            index = int(self.rng.integers(len(specs)))
            if wanted is None or getattr(specs[index], key) == wanted:
                chosen.append(index)
        return chosen

    def next(self) -> tuple[torch.Tensor, list[SceneSpec], list[str]]:
        aspect = data.bucket(self.rng)
        chosen = self._indices(self.specs[aspect])
        specs = [self.specs[aspect][i] for i in chosen]
        raw = np.stack([self.pixels[aspect][i] for i in chosen])
        pixels = torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 127.5 - 1
        return squash(pixels), specs, [caption(s, self.rng) for s in specs]


def export(towers: Towers, tokenizer: CLIPTokenizer) -> None:
    """The whole model, and its vision tower as the IP-Adapter's image encoder."""
    clip = towers.clip
    clip.save_pretrained(WEIGHTS / "clip", safe_serialization=True)
    tokenizer.save_pretrained(WEIGHTS / "clip")
    processor().save_pretrained(WEIGHTS / "clip")
    encoder = CLIPVisionModelWithProjection(clip.config.vision_config)
    encoder.vision_model.load_state_dict(clip.vision_model.state_dict())
    encoder.visual_projection.load_state_dict(clip.visual_projection.state_dict())
    encoder.save_pretrained(WEIGHTS / "ip_adapter/image_encoder", safe_serialization=True)
    processor().save_pretrained(WEIGHTS / "ip_adapter/image_encoder")


def main() -> None:
    args = loop.arguments("clip", steps=4000, minutes=15)
    tokenizer = load_tokenizer(args.out.parent / "tokenizer")
    towers = Towers(network(tokenizer)).to(args.device)
    run = loop.Run(towers, args, lr=1e-3, decay=0.99)
    held_out = data.specs("heldout", "1:1")[:100]
    if run.step == 0 and not args.export:
        warm_up(towers.clip.text_model, tokenizer, steps=250)
    batches = Batches(np.random.default_rng(args.seed + run.step), args.batch or BATCH)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        pixels, specs, texts = batches.next()
        image, text, patches = towers(pixels, token_ids(tokenizer, texts))
        loss, accuracy = towers.loss(image, text, patches, specs)
        return loss, {"shape": accuracy}

    def check() -> dict[str, float]:
        return {"choice_of_10": choice_accuracy(run.averaged().clip, tokenizer, held_out)}

    if not args.export:
        run.train(step, check=check)
    export(run.averaged(), tokenizer)


if __name__ == "__main__":
    main()
