"""The CLIP bar: the right caption among ten that differ in one attribute each. Knows nothing of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer

from models.sketch.train.paths import as_tensor, squash
from models.sketch.train.words import token_ids
from models.sketch.world import COLOURS, SETTINGS, SHAPES, SceneSpec, render
from models.sketch.world.captions import COLOUR_WORDS, SETTING_WORDS, SHAPE_WORDS

VALUES = {"shape": SHAPES, "colour": COLOURS, "setting": SETTINGS}


def plain_caption(spec: SceneSpec) -> str:
    """Names colour, shape and setting, and nothing else."""
    return f"a {COLOUR_WORDS[spec.colour][0]} {SHAPE_WORDS[spec.shape][0]} {SETTING_WORDS[spec.setting][0]}"


def distractors(spec: SceneSpec, rng: np.random.Generator) -> list[SceneSpec]:
    """Nine scenes that differ from this one in one attribute: three in each."""
    out = []
    for name, values in VALUES.items():
        others = [v for v in values if v != getattr(spec, name)]
        chosen: list[dict[str, Any]] = [{name: str(v)} for v in rng.choice(others, 3, replace=False)]
        out += [replace(spec, **change) for change in chosen]
    return out


@torch.no_grad()
def choice_accuracy(clip: CLIPModel, tokenizer: CLIPTokenizer, specs: list[SceneSpec]) -> float:
    """Share of the scenes whose own caption scores highest for their picture."""
    rng = np.random.default_rng(5)
    right = 0
    for spec in specs:
        pixels = squash(as_tensor(np.asarray(render(spec))[None]))
        image = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)[0]
        ids = token_ids(tokenizer, [plain_caption(s) for s in [spec, *distractors(spec, rng)]])
        text = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
        right += int((F.normalize(text, dim=-1) @ image).argmax() == 0)
    return right / len(specs)
