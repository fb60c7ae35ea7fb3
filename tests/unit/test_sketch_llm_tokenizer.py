"""What the sketch LLM is trained on must be, token for token, what the engine asks it."""

import json
from random import Random

import pytest
from PIL import Image

from models.sketch.training.chat.llm import encode
from models.sketch.training.chat.tokenizer import IMAGE_TOKENS, build, processor
from models.sketch.training.dialogues.dialogues import as_line, text_dialogue, vision_dialogue
from models.sketch.training.world.spec import SceneSpec

SPEC = SceneSpec("bottle", "red", "glossy", "beach", "evening", "static", "1:1", 0.0, 0.6, 0.6, 0.0, 0.0, 1)


@pytest.fixture(scope="module")
def rows():
    rng = Random(3)  # noqa: S311
    texts = [json.loads(as_line(text_dialogue(rng))) for _ in range(200)]
    return [*texts, json.loads(as_line(vision_dialogue(SPEC, rng), aspect="1:1", index=0))]


@pytest.fixture(scope="module")
def tokenizer(rows):
    return build(rows)


def test_training_and_chat_template_agree_on_every_token(rows, tokenizer):
    chat = processor(tokenizer)
    for row in (*rows[:20], rows[-1]):
        seen = [{"type": "image", "image": Image.new("RGB", (160, 96))}] if "aspect" in row else []
        messages = [
            {"role": "system", "content": [{"type": "text", "text": row["system"]}]},
            {"role": "user", "content": [*seen, {"type": "text", "text": row["user"]}]},
        ]
        asked = chat.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        trained = encode(tokenizer, [row])[0]
        assert asked["input_ids"][0].tolist() == trained.ids[: trained.answer]
        if seen:
            assert asked["pixel_values"].shape == (1, 3, 128, 128)
            assert trained.ids.count(tokenizer.convert_tokens_to_ids("<image>")) == IMAGE_TOKENS


def test_answers_come_back_as_they_were_written(rows, tokenizer):
    for row in rows:
        assert tokenizer.decode(tokenizer(row["answer"])["input_ids"]) == row["answer"]


def test_any_name_can_be_spelled(tokenizer):
    name = "Œuvre-9000 ☕ bottle"
    assert tokenizer.decode(tokenizer(name)["input_ids"]) == name


def test_a_system_prompt_costs_one_token(rows, tokenizer):
    assert {len(tokenizer(row["system"])["input_ids"]) for row in rows} == {1}
