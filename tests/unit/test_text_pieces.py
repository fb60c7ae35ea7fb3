"""Tokens become text without broken letters, and nothing is shown of a stop string."""

import numpy as np
import pytest

from models.llm.transformers_chat import TextPieces
from models.sketch.build import _chat_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return _chat_tokenizer()


def pieces_of(tokenizer, tokens, stop=()):
    pieces: list[str] = []
    writer = TextPieces(tokenizer, stop, pieces.append)
    for token in tokens:
        if writer.stopped:
            break
        writer.add(token)
    writer.end()
    assert "".join(pieces) == writer.text
    return pieces


@pytest.mark.parametrize("text", ["a bold new bottle", "Käse für 5 €", "𝄞 and 🙂🙂", "", " \n two  spaces \t"])
def test_the_pieces_are_the_text_and_no_letter_is_broken(tokenizer, text):
    pieces = pieces_of(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


def test_words_come_as_soon_as_they_are_whole(tokenizer):
    assert len(pieces_of(tokenizer, tokenizer.encode("a bold new bottle"))) >= 4


def test_random_tokens_come_out_as_the_whole_decodes(tokenizer):
    draw = np.random.default_rng(3)
    for _ in range(50):
        tokens = draw.integers(len(tokenizer), size=60).tolist()
        whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert "".join(pieces_of(tokenizer, tokens)) == whole


@pytest.mark.parametrize("stop", [("bottle",), ("tle", "bottle"), ("xyz", " new"), ("a",)])
def test_nothing_is_written_from_the_first_stop_string_on(tokenizer, stop):
    text = "bold new bottle of water"
    expected = text[: min(place for place in map(text.find, stop) if place >= 0)]
    assert "".join(pieces_of(tokenizer, tokenizer.encode(text), stop)) == expected


def test_what_only_looks_like_a_stop_string_is_written_in_the_end(tokenizer):
    assert "".join(pieces_of(tokenizer, tokenizer.encode("a bottl"), ("bottle",))) == "a bottl"


def test_special_tokens_have_no_text(tokenizer):
    tokens = [*tokenizer.encode("a shoe"), tokenizer.eos_token_id]
    assert "".join(pieces_of(tokenizer, tokens)) == "a shoe"
