"""Stage 2: the vision tower of the family's CLIP (stock, 64 patches), which learns to tell a picture's attributes.

`python -m models.sketch.training.clip`. Shapes are learnt from scrambled colours only: in true colours a network
first learns which shapes never come with a colour and a setting, and so excludes exactly the held-out combinations.
Patches also learn how much of them is product, and of which shape: from a picture's one label alone a network without
convolutions had shapes at chance after 1,150 steps. Knows no captions; the heads are dropped afterwards.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)
from transformers import CLIPTextConfig as TextConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.sketch.training import data, loop
from models.sketch.training.loop import EXPORTS, as_tensor, squash
from models.sketch.training.release import choice_accuracy
from models.sketch.training.tokenizer import MAX_TOKENS, load_tokenizer, token_ids
from models.sketch.training.world import COLOURS as COLOURS_clip
from models.sketch.training.world import SETTINGS as SETTINGS_clip
from models.sketch.training.world import SHAPES as SHAPES_clip
from models.sketch.training.world import SceneSpec as SceneSpec_clip
from models.sketch.training.world import caption, sample_spec
from models.sketch.training.world.spec import COLOURS, MATERIALS, SETTINGS, SHAPES, SceneSpec, Split, is_held_out

WIDTH = 128
EMBEDDING = 128


def text_config(tokenizer: CLIPTokenizer) -> TextConfig:
    """Also the image model's text encoder."""
    return TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=EMBEDDING,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


BATCH = 96
PATCH = 8
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "setting": SETTINGS, "material": MATERIALS}
FORM = ("shape", "material")
COVER_LAYER = 2


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=PATCH,
        projection_dim=EMBEDDING,
    )


class Tower(nn.Module):
    """The vision tower with its training-time heads."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = CLIPVisionModel(vision_config())
        # The fused attention's backward pass is slow for so few patches.
        self.vision.set_attn_implementation("eager")
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values)) for name, values in ATTRIBUTES.items()})
        self.cover = nn.Linear(WIDTH, (PATCH // data.CELL) ** 2)
        self.patches = nn.Linear(WIDTH, len(SHAPES) + 1)

    def forward(self, pixels: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Logits by attribute; of the cells of each patch being product; of what each patch is, background last."""
        seen = self.vision(pixel_values=pixels, output_hidden_states=True)
        named = {name: head(seen.pooler_output) for name, head in self.heads.items()}
        return named, self.cover(seen.hidden_states[COVER_LAYER][:, 1:]), self.patches(seen.last_hidden_state[:, 1:])


def truth(specs: list[SceneSpec]) -> dict[str, torch.Tensor]:
    return {n: torch.tensor([values.index(getattr(s, n)) for s in specs]) for n, values in ATTRIBUTES.items()}


class Batches:
    """Pictures of all buckets squashed to 64 x 64, their products' coverage on 16 x 16 cells, and their scenes."""

    def __init__(self, split: Split, rng: np.random.Generator) -> None:
        self.rng = rng
        self.specs = {a: data.specs(split, a) for a in data.SHARES}
        self.pictures = {a: data.pictures(split, a) for a in data.SHARES}
        self.masks = {a: data.masks(split, a) for a in data.SHARES}

    def next(self, size: int) -> tuple[torch.Tensor, torch.Tensor, list[SceneSpec]]:
        pixels, covers, shown = [], [], []
        for aspect, share in data.SHARES.items():
            chosen = np.sort(self.rng.integers(len(self.specs[aspect]), size=round(size * share)))
            pixels.append(squash(as_tensor(self.pictures[aspect][chosen])))
            cover = torch.from_numpy(self.masks[aspect][chosen]).float()[:, None] / 255
            covers.append(F.interpolate(cover, size=(16, 16), mode="bilinear"))
            shown += [self.specs[aspect][i] for i in chosen]
        return torch.cat(pixels), torch.cat(covers), shown


def scrambled(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each picture in colours of its own: channels exchanged, mixed at random, or grey. Only form is left."""
    matrices = np.empty((len(pixels), 3, 3), np.float32)
    for k in range(len(pixels)):
        kind = rng.random()
        if kind < 0.4:
            matrices[k] = np.eye(3)[list(ORDERS[int(rng.integers(len(ORDERS)))])]
        elif kind < 0.75:
            mixed = rng.normal(size=(3, 3))
            matrices[k] = 1.2 * mixed / np.abs(mixed).sum(1, keepdims=True)
        else:
            matrices[k] = rng.dirichlet((1, 1, 1))[None]
    return torch.einsum("bij,bjhw->bihw", torch.from_numpy(matrices), pixels).clamp(-1, 1)


ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Of the channels; never the true one."""


def augmented(
    pixels: torch.Tensor, cover: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """70 % of the batch scrambled, half mirrored; the third value says which rows are scrambled."""
    form = torch.from_numpy(rng.random(len(pixels)) < 0.7)
    pixels = torch.where(form[:, None, None, None], scrambled(pixels, rng), pixels)
    mirror = torch.from_numpy(rng.random(len(pixels)) < 0.5)[:, None, None, None]
    return torch.where(mirror, pixels.flip(-1), pixels), torch.where(mirror, cover.flip(-1), cover), form


def loss(
    told: tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor],
    wanted: dict[str, torch.Tensor],
    cover: torch.Tensor,
    form: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, float]]:
    named, cells, patches = (told[0], told[1].float(), told[2].float())
    parts = {}
    for name in ATTRIBUTES:
        rows = form if name in FORM else ~form
        parts[name] = F.cross_entropy(named[name].float()[rows], wanted[name][rows])
    side = PATCH // data.CELL
    tiles = F.unfold(cover, side, stride=side).transpose(1, 2)
    parts["cover"] = F.binary_cross_entropy_with_logits(cells, tiles)
    share = tiles.mean(-1)
    ignored = torch.full(share.shape, -1)
    kind = torch.where(share > 0.35, wanted["shape"][:, None], ignored)
    kind = torch.where(share < 0.08, torch.tensor(len(SHAPES)), kind)[form]
    parts["patch"] = F.cross_entropy(patches[form].flatten(0, 1), kind.flatten(), ignore_index=-1)
    weighted = parts["shape"] + parts["colour"] + parts["setting"] + 0.3 * parts["material"]
    return weighted + 2 * parts["cover"] + 2 * parts["patch"], {k: float(v.detach()) for k, v in parts.items()}


@torch.no_grad()
def accuracy(tower: Tower, batches: Batches, count: int = 400) -> dict[str, float]:
    """Share of rightly named attributes in true colours."""
    pixels, _, specs = batches.next(count)
    named, wanted = tower(pixels)[0], truth(specs)
    return {f"heldout_{n}": float((named[n].argmax(1) == wanted[n]).float().mean()) for n in ATTRIBUTES}


def main() -> None:
    args = loop.arguments("clip_vision", steps=20000, minutes=40)
    tower = Tower().to(args.device)
    run = loop.Run(tower, args, lr=1e-3, decay=0.99)
    rng = np.random.default_rng(args.seed + run.step)
    batches = Batches("train", rng)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        pixels, cover, specs = batches.next(args.batch or BATCH)
        pixels, cover, form = augmented(pixels, cover, rng)
        with torch.autocast(args.device.split(":")[0], dtype=torch.bfloat16):
            told = tower(pixels)
        return loss(told, truth(specs), cover, form)

    def check() -> dict[str, float]:
        return accuracy(run.averaged(), Batches("heldout", np.random.default_rng(7)))

    run.train(step, check=check)


if __name__ == "__main__":
    main()


PICTURES = 12000
WORDINGS = 12
"""Captions per combination."""
BATCH_CLIP = 256
MEAN = (0.5, 0.5, 0.5)
COMBINATIONS = [(s, c, p) for s in SHAPES_clip for c in COLOURS_clip for p in SETTINGS_clip if not is_held_out(s, c, p)]


def network(tokenizer: CLIPTokenizer) -> CLIPModel:
    """CLIP with the trained towers and fresh projections."""
    config = CLIPConfig(
        text_config=text_config(tokenizer).to_dict(),
        vision_config=vision_config().to_dict(),
        projection_dim=EMBEDDING,
    )
    clip = CLIPModel(config)
    tower = Tower()
    state = torch.load(data.CACHE / "clip_vision/checkpoint.pt", weights_only=True)
    tower.load_state_dict(state["ema"])
    clip.vision_model.load_state_dict(tower.vision.state_dict())
    text = CLIPTextModel.from_pretrained(EXPORTS / "image/text_encoder", dtype=torch.float32)
    clip.text_model.load_state_dict(text.state_dict())
    return clip.eval()


def processor() -> CLIPImageProcessorPil:
    """Squashes any aspect to 64 x 64, so that nothing is cropped away."""
    size = {"height": 64, "width": 64}
    return CLIPImageProcessorPil(size=size, do_center_crop=False, resample=2, image_mean=MEAN, image_std=MEAN)


@torch.no_grad()
def picture_features(clip: CLIPModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features of training pictures, and the index of each one's combination."""
    batches = Batches("train", np.random.default_rng(21))
    features, keys = [], []
    for _ in range(PICTURES // 200):
        pixels, _, specs = batches.next(200)
        features.append(clip.vision_model(pixel_values=pixels).pooler_output)
        keys += [COMBINATIONS.index((s.shape, s.colour, s.setting)) for s in specs]
    return torch.cat(features), torch.tensor(keys)


@torch.no_grad()
def caption_features(clip: CLIPModel, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """Pooled features of varied captions of each combination: combinations x WORDINGS x width."""
    rng = np.random.default_rng(22)
    example: dict[tuple[str, str, str], SceneSpec_clip] = {}
    while len(example) < len(COMBINATIONS):
        spec = sample_spec(rng)
        example[spec.shape, spec.colour, spec.setting] = spec
    rows = []
    for combination in COMBINATIONS:
        texts = [caption(example[combination], rng, named=1.0) for _ in range(WORDINGS)]
        rows.append(clip.text_model(input_ids=token_ids(tokenizer, texts, full=True)).pooler_output)
    return torch.stack(rows)


def fit(clip: CLIPModel, pictures: torch.Tensor, keys: torch.Tensor, captions: torch.Tensor, steps: int) -> float:
    """Train the projections and the temperature; returns the mean loss of the last steps."""
    parameters = [clip.visual_projection.weight, clip.text_projection.weight, clip.logit_scale]
    optimiser = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-3)
    generator = torch.Generator().manual_seed(23)
    late = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1 - 0.97 * step / steps)
        rows = torch.randint(len(pictures), (BATCH_CLIP,), generator=generator)
        wording = torch.randint(WORDINGS, (len(COMBINATIONS),), generator=generator)
        texts = captions[torch.arange(len(COMBINATIONS)), wording]
        image = F.normalize(clip.visual_projection(pictures[rows]), dim=-1)
        text = F.normalize(clip.text_projection(texts), dim=-1)
        loss = F.cross_entropy(clip.logit_scale.clamp(max=4.6).exp() * image @ text.T, keys[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        late += [float(loss.detach())] if step >= steps - 50 else []
    return sum(late) / len(late)


def export(clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """The whole model, and its vision tower as the IP-Adapter's image encoder."""
    encoder = CLIPVisionModelWithProjection(clip.config.vision_config)
    encoder.vision_model.load_state_dict(clip.vision_model.state_dict())
    encoder.visual_projection.load_state_dict(clip.visual_projection.state_dict())
    encoder.half().save_pretrained(EXPORTS / "ip_adapter/image_encoder", safe_serialization=True)
    processor().save_pretrained(EXPORTS / "ip_adapter/image_encoder")
    clip.half().save_pretrained(EXPORTS / "clip", safe_serialization=True)
    tokenizer.save_pretrained(EXPORTS / "clip")
    processor().save_pretrained(EXPORTS / "clip")


def main_clip() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.training.clip")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(data.CACHE / "tokenizer")
    clip = network(tokenizer)
    pictures, keys = picture_features(clip)
    print("loss:", fit(clip, pictures, keys, caption_features(clip, tokenizer), args.steps), flush=True)
    print("held-out choice of 10:", choice_accuracy(clip, tokenizer, data.specs("heldout", "1:1")[:200]), flush=True)
    export(clip, tokenizer)


if __name__ == "__main__":
    main_clip()
