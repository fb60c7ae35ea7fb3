"""The image model's text encoder (stock `CLIPTextModel`), trained to name a caption's attributes, then frozen.

`python -m models.sketch.training.text`. A few CPU minutes. Trained along with the image model,
it gave all its room to the setting, which rules most pixels: after 2,200 steps the states of "red" and "blue" captions
differed ten times less than those of two settings, and products had no colour of their own.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from models.sketch.training import data
from models.sketch.training.clip import text_config
from models.sketch.training.loop import EXPORTS
from models.sketch.training.tokenizer import load_tokenizer, token_ids
from models.sketch.training.world import COLOURS, MATERIALS, SETTINGS, SHAPES, caption, sample_spec
from models.sketch.training.world.spec import LIGHTS

ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "setting": SETTINGS, "material": MATERIALS, "light": LIGHTS}
PADS = 4
"""End tokens supervised after each caption: pipelines pad with them, and the image model attends to all."""


def warm_up(text: CLIPTextModel, tokenizer: CLIPTokenizer, steps: int = 400, batch: int = 48) -> float:
    """Train in place; returns the last steps' share of rightly named shapes."""
    rng = np.random.default_rng(3)
    width = text.config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})
    parameters = [*text.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.99))
    right = 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 30) * (1 - 0.9 * step / steps)
        specs = [sample_spec(rng) for _ in range(batch)]
        ids = token_ids(tokenizer, [caption(s, rng, named=1.0) for s in specs])
        ids = F.pad(ids, (0, PADS), value=int(tokenizer.pad_token_id))[:, : text.config.max_position_embeddings]
        states = text(input_ids=ids).last_hidden_state[:, -PADS:]
        loss = torch.zeros(())
        for name, values in ATTRIBUTES.items():
            truth = torch.tensor([values.index(getattr(s, name)) for s in specs])
            logits = heads[name](states)
            loss = loss + F.cross_entropy(logits.flatten(0, 1), truth.repeat_interleave(PADS))
            if name == "shape" and step >= steps - 20:
                right += float((logits[:, 0].argmax(-1) == truth).float().mean()) / 20
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return right


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.training.text")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(data.CACHE / "tokenizer")
    text = CLIPTextModel(text_config(tokenizer))
    print("shapes named rightly:", warm_up(text, tokenizer, args.steps), flush=True)
    text.eval().save_pretrained(EXPORTS / "image/text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(EXPORTS / "image/tokenizer")


if __name__ == "__main__":
    main()
