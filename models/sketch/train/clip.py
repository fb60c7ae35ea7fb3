"""Stage 3: image-text alignment (stock `CLIPModel`, own tokenizer) of two towers that are trained already.

`python -m models.sketch.train.clip`. Vision tower of `clip_vision`, text tower of `text`, both frozen: only the two
linear projections are fitted, so that neither tower can learn which combinations never occur. Trained together,
the towers chose the right caption of ten in 51 % of held-out scenes, for exactly that reason. The vision tower is also
the IP-Adapter's image encoder.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.sketch.train import data
from models.sketch.train.clip_config import EMBEDDING, text_config
from models.sketch.train.clip_vision import Batches, Tower, vision_config
from models.sketch.train.paths import EXPORTS
from models.sketch.train.probe import choice_accuracy
from models.sketch.train.words import load_tokenizer, token_ids
from models.sketch.world import COLOURS, SETTINGS, SHAPES, SceneSpec, caption, sample_spec
from models.sketch.world.spec import is_held_out

PICTURES = 12000
WORDINGS = 12
"""Captions per combination."""
BATCH = 256
MEAN = (0.5, 0.5, 0.5)
COMBINATIONS = [(s, c, p) for s in SHAPES for c in COLOURS for p in SETTINGS if not is_held_out(s, c, p)]


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
    example: dict[tuple[str, str, str], SceneSpec] = {}
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
        rows = torch.randint(len(pictures), (BATCH,), generator=generator)
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.train.clip")
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
    main()
