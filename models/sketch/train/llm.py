"""The sketch LLM: a stock `LlavaForConditionalGeneration` that plays every agent.

`python -m models.sketch.train.llm --minutes 80` trains on the dialogues that `benchmarks.sketch_dialogues`
wrote, and resumes where it stopped. The vision tower is that of `llm_vision`, frozen: pictures join as soon
as it is there. Loss on the answers; on the questions a fifth of it, which teaches copying at no extra cost.
`--export` writes the folder for transformers, `--export-text FOLDER` its language part as a plain
`LlamaForCausalLM` for vLLM.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from models.sketch.train import data, loop
from models.sketch.train.llm_tokenizer import IMAGE_TOKENS, build, processor, read
from models.sketch.train.llm_vision import CHECKPOINT, tower_config
from models.sketch.train.paths import WEIGHTS, squash

BATCH_TOKENS = 1536
PICTURES = 64
PICTURE_SHARE = 0.3
"""Of the steps, once the vision tower is there."""
QUESTION_WEIGHT = 0.2
MAX_TOKENS = 640
"""Longer dialogues are left out; the rotary positions reach further."""
CONTEXT = 2048


def network(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=tower_config(),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.requires_grad_(False)
    return model


def open_eyes(model: LlavaForConditionalGeneration) -> bool:
    """Take over the trained vision tower, frozen and in evaluation mode; False while there is none."""
    path = CHECKPOINT.with_name("tower.pt")
    if not path.exists():
        return False
    model.model.vision_tower.load_state_dict(torch.load(path, weights_only=True)["tower"])
    return True


# --- dialogues as token ids -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequence:
    """One dialogue: ids, where the answer begins, and its picture (bucket, index) if it has one."""

    ids: list[int]
    answer: int
    picture: tuple[str, int] | None = None


def encode(tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, str]]) -> list[Sequence]:
    """Dialogues as the chat template writes them."""
    system, user, assistant, image, end = (
        int(tokenizer.convert_tokens_to_ids(mark))
        for mark in ("<|system|>", "<|user|>", "<|assistant|>", "<image>", "<|end|>")
    )
    columns = [tokenizer([row[key] for row in rows])["input_ids"] for key in ("system", "user", "answer")]
    found = []
    for row, one, two, three in zip(rows, *columns, strict=True):
        seen = [image] * IMAGE_TOKENS if "aspect" in row else []
        question = [system, *one, user, *seen, *two, assistant]
        picture = (row["aspect"], int(row["index"])) if seen else None
        found.append(Sequence([*question, *three, end], len(question), picture))
    return [one for one in found if len(one.ids) <= MAX_TOKENS]


class Batches:
    """Text batches of similar lengths, and picture batches."""

    def __init__(self, texts: list[Sequence], looks: list[Sequence], pad: int, rng: np.random.Generator) -> None:
        self.texts = sorted(texts, key=lambda one: len(one.ids))
        self.looks = looks
        self.pad, self.rng = pad, rng
        self.pixels = {aspect: data.pictures("train", aspect) for aspect in data.SHARES}

    def text(self) -> list[Sequence]:
        """Neighbours in length, as many as fit, around a place drawn at random."""
        middle = int(self.rng.integers(len(self.texts)))
        count = max(1, BATCH_TOKENS // len(self.texts[middle].ids))
        near = self.texts[max(0, middle - 20 * count) : middle + 20 * count]
        chosen = self.rng.choice(len(near), size=min(count, len(near)), replace=False)
        return [near[int(index)] for index in chosen]

    def look(self) -> list[Sequence]:
        return [self.looks[int(index)] for index in self.rng.integers(len(self.looks), size=PICTURES)]

    def tensors(self, chosen: list[Sequence]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Model inputs, and the loss weight of predicting each token."""
        width = max(len(one.ids) for one in chosen)
        ids = torch.full((len(chosen), width), self.pad)
        weight = torch.zeros(len(chosen), width)
        for row, one in enumerate(chosen):
            length = len(one.ids)
            ids[row, :length] = torch.tensor(one.ids)
            weight[row, :length] = QUESTION_WEIGHT if one.picture is None else 0.0
            weight[row, one.answer : length] = 1.0
        inputs = {"input_ids": ids, "attention_mask": (ids != self.pad).long()}
        if chosen[0].picture is not None:
            inputs["pixel_values"] = torch.cat([self._pixels(one) for one in chosen])
        return inputs, weight

    def _pixels(self, one: Sequence) -> torch.Tensor:
        aspect, index = one.picture or ("", 0)
        raw = torch.from_numpy(np.array(self.pixels[aspect][index]))
        return squash(raw.permute(2, 0, 1)[None].float() / 127.5 - 1)


def loss(
    model: LlavaForConditionalGeneration, inputs: dict[str, torch.Tensor], weight: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Weighted cross entropy of the next token, and what it is on answers alone."""
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    target, weight = inputs["input_ids"][:, 1:], weight[:, 1:]
    keep = weight > 0
    each = F.cross_entropy(logits[keep], target[keep], reduction="none")
    weights = weight[keep]
    answers = weights == 1
    with torch.no_grad():
        right = (logits[keep][answers].argmax(-1) == target[keep][answers]).float().mean()
        metrics = {"answer_loss": float(each[answers].mean()), "answer_accuracy": float(right)}
    return (each * weights).sum() / weights.sum(), metrics


# --- weights --------------------------------------------------------------------------------------------------------


def export(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model, tokenizer and processor, stored as float16 to halve the file; loaded as float32."""
    model.half().save_pretrained(folder, safe_serialization=True)
    processor(tokenizer).save_pretrained(folder)


def export_text(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The language part alone."""
    text = LlamaForCausalLM(model.config.text_config)
    text.model.load_state_dict(model.model.language_model.state_dict())
    text.tie_weights()
    text.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def load_tokenizer(folder: Path, rows: list[dict[str, str]]) -> PreTrainedTokenizerFast:
    """Built from the dialogues once; the checkpoint depends on it."""
    if not (folder / "tokenizer_config.json").exists():
        build(rows).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _text_folder() -> Path | None:
    """`--export-text FOLDER` is this stage's own option; the others are shared."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--export-text", type=Path)
    known, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    folder: Path | None = known.export_text
    return folder


def main() -> None:
    text_folder = _text_folder()
    args = loop.arguments("llm", steps=30000, minutes=80)
    rows = read(args.out / "text.jsonl")
    looks = read(args.out / "vision.jsonl")
    tokenizer = load_tokenizer(args.out / "tokenizer", [*rows, *looks])
    model = network(tokenizer)
    seeing = open_eyes(model)
    run = loop.Run(model, args, lr=2e-3, decay=0.998)
    if text_folder is not None:
        export_text(run.averaged(), tokenizer, text_folder)
        return
    if not args.export:
        rng = np.random.default_rng(args.seed + run.step)
        batches = Batches(encode(tokenizer, rows), encode(tokenizer, looks), int(tokenizer.pad_token_id), rng)

        def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
            model.model.vision_tower.eval()
            look = seeing and rng.random() < PICTURE_SHARE
            inputs, weight = batches.tensors(batches.look() if look else batches.text())
            return loss(model, inputs, weight)

        run.train(step)
    export(run.averaged(), tokenizer, WEIGHTS / "llm")


if __name__ == "__main__":
    main()
