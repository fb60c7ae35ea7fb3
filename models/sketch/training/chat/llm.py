"""The sketch LLM: a stock `LlavaForConditionalGeneration` that plays every agent.

`python -m models.sketch.training.chat.llm --minutes 80` trains on what `models.sketch.training.dialogues.dialogues`
wrote, and resumes where it stopped. The vision tower is that of the family's CLIP, frozen, and ships with the chat
model: it knows the pictures of that tower alone. Loss on the answers, most of all on scores, which are few and decide;
on the questions a fifth of it, which teaches copying at no extra cost. Exported twice: whole as `llm` for transformers,
and its language part as `llm_text`, a plain `LlamaForCausalLM` that vLLM serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import (
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from models.sketch.training.chat import data, loop
from models.sketch.training.chat.loop import EXPORTS
from models.sketch.training.chat.tokenizer import IMAGE_TOKENS, build, processor, read
from models.sketch.training.pipelines import complete
from models.sketch.training.release import WEIGHTS
from models.sketch.training.towers import squeezed

CHUNK = 200

Features = NDArray[np.float16]


def tower() -> CLIPVisionModel:
    """The packaged CLIP's vision tower in float32, in evaluation mode."""
    with complete(WEIGHTS, "clip") as folder:
        found = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32).eval()
    found.config.name_or_path = ""  # or the exported model would name a folder of this machine
    return found


def features(aspect: str, count: int, folder: Path) -> Features:
    """Features of the first `count` training pictures of one bucket: n x IMAGE_TOKENS x width, mapped from disk."""
    path = folder / f"features-{aspect.replace(':', 'x')}-{count}.npy"
    if not path.exists():
        np.save(path, _computed(aspect, count))
    array: Features = np.load(path, mmap_mode="r")
    return array


@torch.no_grad()
def _computed(aspect: str, count: int) -> Features:
    eyes, pixels = tower(), data.pictures("train", aspect)[:count]
    found = []
    for start in range(0, len(pixels), CHUNK):
        seen = squeezed(torch.from_numpy(np.array(pixels[start : start + CHUNK])))
        found.append(eyes(pixel_values=seen, output_hidden_states=True).hidden_states[-1].half().numpy())
    return np.concatenate(found)


BATCH_TOKENS = 1536
PICTURES = 32
PICTURE_SHARE = 0.15
"""Of the steps."""
SEEN = 12_000
"""Pictures of all buckets that are looked at."""
QUESTION_WEIGHT = 0.2
SCORE_WEIGHT = 4.0
SCORE_TOKENS = 4
"""The digits of a score, the bracket and the end."""
MAX_TOKENS = 640
"""Longer dialogues are left out; the rotary positions reach further."""
CONTEXT = 8192


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
    eyes = tower()
    config = LlavaConfig(
        vision_config=eyes.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # Eager attention: the fused one's backward pass is slow at these sizes.
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.model.vision_tower.load_state_dict(eyes.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


# --- dialogues as token ids -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequence:
    """One dialogue: ids, where the answer begins, and its picture (bucket, index) if it has one."""

    ids: list[int]
    answer: int
    score: bool
    """Whether the answer ends on a score."""
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
        found.append(Sequence([*question, *three, end], len(question), "_score" in row["answer"], picture))
    return [one for one in found if len(one.ids) <= MAX_TOKENS]


class Batches:
    """Text batches of similar lengths, and picture batches."""

    def __init__(
        self,
        texts: list[Sequence],
        looks: list[Sequence],
        seen: dict[str, Features],
        pad: int,
        rng: np.random.Generator,
    ) -> None:
        self.texts = sorted(texts, key=lambda one: len(one.ids))
        self.looks = looks
        self.pad, self.rng = pad, rng
        self.seen = seen

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
            if one.score:
                weight[row, length - SCORE_TOKENS : length] = SCORE_WEIGHT
        inputs = {"input_ids": ids, "attention_mask": (ids != self.pad).long()}
        if chosen[0].picture is not None:
            inputs["features"] = torch.stack([self._features(one) for one in chosen])
        return inputs, weight

    def _features(self, one: Sequence) -> torch.Tensor:
        aspect, index = one.picture or ("", 0)
        return torch.from_numpy(np.array(self.seen[aspect][index])).float()


def predict(model: LlavaForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits; pictures come as features of the frozen tower, which `LlavaForConditionalGeneration` would compute."""
    ids = inputs["input_ids"]
    embedded = model.get_input_embeddings()(ids)
    if "features" in inputs:
        told = model.model.multi_modal_projector(inputs["features"])
        places = (ids == model.config.image_token_id)[..., None].expand_as(embedded)
        embedded = embedded.masked_scatter(places, told.to(embedded.dtype))
    states = model.model.language_model(
        inputs_embeds=embedded, attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(states)
    return logits


def loss(
    model: LlavaForConditionalGeneration, inputs: dict[str, torch.Tensor], weight: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Weighted cross entropy of the next token, and what it is on answers alone."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = predict(model, inputs)[:, :-1]
    target, weight = inputs["input_ids"][:, 1:], weight[:, 1:]
    keep = weight > 0
    logits, target, weights = logits[keep].float(), target[keep], weight[keep]
    each = F.cross_entropy(logits, target, reduction="none")
    answers = weights >= 1
    with torch.no_grad():
        right = (logits.argmax(-1) == target).float()
        metrics = {"answer_loss": float(each[answers].mean()), "answer_accuracy": float(right[answers].mean())}
        scores = weights == SCORE_WEIGHT
        if bool(scores.any()):
            metrics["score_accuracy"] = float(right[scores].mean())
    return (each * weights).sum() / weights.sum(), metrics


# --- weights --------------------------------------------------------------------------------------------------------


def export(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model, tokenizer and processor; `release` halves the file."""
    model.save_pretrained(folder, safe_serialization=True)
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


def main() -> None:
    args = loop.arguments("llm", steps=30000, minutes=80)
    rows = read(args.out / "text.jsonl")
    looks = [row for row in read(args.out / "vision.jsonl") if int(row["index"]) < SEEN * data.SHARES[row["aspect"]]]
    tokenizer = load_tokenizer(args.out / "tokenizer", [*rows, *looks])
    model = network(tokenizer)
    run = loop.Run(model, args, lr=2e-3, decay=0.998)
    if not args.export:
        rng = np.random.default_rng(args.seed + run.step)
        seen = {aspect: features(aspect, round(SEEN * share), args.out) for aspect, share in data.SHARES.items()}
        texts = encode(tokenizer, rows)
        batches = Batches(texts, encode(tokenizer, looks), seen, int(tokenizer.pad_token_id), rng)

        def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
            look = rng.random() < PICTURE_SHARE
            value, metrics = loss(model, *batches.tensors(batches.look() if look else batches.text()))
            return value, {f"seen_{key}": one for key, one in metrics.items()} if look else metrics

        run.train(step)
    trained = run.averaged()
    export(trained, tokenizer, EXPORTS / "llm")
    export_text(trained, tokenizer, EXPORTS / "llm_text")


if __name__ == "__main__":
    main()
