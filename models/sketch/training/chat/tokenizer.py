"""The sketch LLM's own tokenizer and processor, learnt from its dialogues.

Byte-level BPE over words, so that any product name can be spelled and copied. JSON scaffolding (`"], "improvements":
[`) is cut as one piece before the merges, and each agent's system prompt is one token: sequences are three times
shorter, which is what a CPU can train.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from models.sketch.training.networks import PATCH, SIDE
from models.sketch.training.release import image_processor

VOCABULARY = 2560
WORD_COUNT = 50
"""How often a word must occur to be one token with its space."""
IMAGE_TOKENS = (SIDE // PATCH) ** 2 + 1
"""The vision tower's patches and its class token."""
SPECIAL = ("<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SCAFFOLD = re.compile(r'[\[\]{}", ]*"[a-z_]+": [\[{"]*|["\]}]+$')
_LINE_HEAD = re.compile(r"^(?:[A-Z][\w ]*:|Facts: .*|[a-z]+(?:-\d)? =)", re.MULTILINE)
_PARTS = r"\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s"
_WORDS = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s+"


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [json.loads(line) for line in file]


def pieces(rows: list[dict[str, str]]) -> list[str]:
    """Frequent scaffolding of answers and questions, longest first."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(_SCAFFOLD.findall(row["answer"]))
        found.update(head for head in _LINE_HEAD.findall(row["user"]) if len(head) < 70)
    often = [piece for piece, count in found.items() if count >= max(10, len(rows) // 500)]
    return sorted(often, key=lambda piece: (-len(piece), piece))


def build(rows: list[dict[str, str]]) -> PreTrainedTokenizerFast:
    """Tokenizer for these dialogues; every system prompt in them becomes one token."""
    scaffold = "".join(f"{re.escape(piece)}|" for piece in pieces(rows))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _cut(f"{scaffold}{_WORDS}")
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=5,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(rows), trainer)
    tokenizer.pre_tokenizer = _cut(f"{scaffold}{_whole_words(rows, tokenizer)}|{_PARTS}")
    systems = sorted({row["system"] for row in rows})
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in systems])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 (a mark, no password)
        eos_token="<|end|>",  # noqa: S106 (a mark, no password)
        extra_special_tokens=list(SPECIAL[2:]),
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _cut(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _whole_words(rows: list[dict[str, str]], tokenizer: Tokenizer) -> str:
    """A pattern of the spaces with a word that are one token, of words that are one token without it too.

    Every other word is cut without its space, so that a name that nobody has heard is the same tokens at the beginning
    of a JSON string and within a sentence. Cut with it, such names were copied wrong in a quarter of the ads.
    """
    count = Counter(word for row in rows for word in re.findall(r"[A-Za-z]+", f"{row['user']} {row['answer']}"))
    by_initial: dict[str, list[str]] = {}
    vocabulary = tokenizer.get_vocab()
    for token in sorted(vocabulary):
        word = token[1:]
        if token.startswith("Ġ") and word in vocabulary and count[word] >= WORD_COUNT:
            by_initial.setdefault(word[0], []).append(word[1:])
    groups = (f"{initial}(?:{'|'.join(sorted(ends, reverse=True))})" for initial, ends in by_initial.items())
    return rf" (?:{'|'.join(groups)})(?!\p{{L}})"


def _texts(rows: list[dict[str, str]]) -> Iterable[str]:
    """Questions and answers, and their words without the space before: a JSON string begins without one, and what is
    copied there must have a token of its own.
    """
    for row in rows:
        yield row["user"]
        yield row["answer"]
        yield "\n".join(row["user"].split())


def processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The stock processor; every patch and the class token of a picture stand in the prompt."""
    return LlavaProcessor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token="<image>",  # noqa: S106 (a mark, no password)
        chat_template=TEMPLATE,
    )
