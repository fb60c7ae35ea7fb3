"""The family's own tokenizer, built from the caption grammar.

Byte-level, so that any word an agent writes has tokens; frequent words of the world are one token each.
`python -m models.sketch.training.words` builds it anew where it ships, beside the image model that reads it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer

from models.sketch.training.farm import TOKENIZER
from models.sketch.training.networks import MAX_TOKENS
from models.sketch.training.world import caption, sample_spec

VOCABULARY = 1024
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def build_tokenizer() -> CLIPTokenizer:
    """A stock `CLIPTokenizer` whose merges come from 20,000 captions."""
    rng = np.random.default_rng(0)
    texts = [caption(sample_spec(rng), rng, clip=bool(k % 2)) for k in range(20000)]
    stock = CLIPTokenizer()
    backend = stock.backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(alphabet),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    vocab = _renumber(backend.get_vocab(), alphabet)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def _renumber(vocab: dict[str, int], alphabet: list[str]) -> dict[str, int]:
    """Every byte also as the end of a word, so that nothing is unknown; the special tokens last, as in CLIP.

    Text encoders pool at the first end token or, where its id is 2, at the highest id: last satisfies both.
    """
    plain = [token for token in sorted(vocab, key=vocab.__getitem__) if token not in SPECIAL]
    known = set(plain)
    plain += [f"{symbol}</w>" for symbol in sorted(alphabet) if f"{symbol}</w>" not in known]
    return {token: index for index, token in enumerate([*plain, *SPECIAL])}


def load_tokenizer(folder: Path = TOKENIZER) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder)


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Ids padded as the pipelines pad them."""
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    return torch.as_tensor(encoded["input_ids"])


if __name__ == "__main__":
    build_tokenizer().save_pretrained(TOKENIZER)
