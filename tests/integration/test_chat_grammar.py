"""What constrained decoding guarantees, measured with random logits: whatever the model says, the answer conforms.

The tokenizer is the untrained sketch LLM's: real, byte-level, so that every byte could be chosen.
"""

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from models.errors import InvalidRequest
from models.llm import grammar
from models.llm.grammar import Grammars, Sampler
from models.sketch.build import build

MAX_TOKENS = 3000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    build("llm", folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return Grammars(tokenizer, len(tokenizer) + 7, [tokenizer.eos_token_id])


def answer(tokenizer, grammars, schema, seed, temperature=1.0):
    """One answer of a model whose logits are noise, seven padded columns wider than its tokenizer."""
    width = len(tokenizer) + 7
    noise = torch.Generator().manual_seed(seed)
    special = [i for i in tokenizer.added_tokens_decoder if i != tokenizer.eos_token_id]
    sampler = Sampler(seed, temperature, 1.0, special, grammars.mask(schema))
    tokens: list[int] = []
    while not tokens or tokens[-1] != tokenizer.eos_token_id:
        logits = 3 * torch.randn(1, width, generator=noise)
        tokens.append(int(sampler(torch.zeros(1, 0), logits).argmax()))
        assert len(tokens) < MAX_TOKENS
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def conforms(value, schema):
    """The keywords that agents use, by the letter of JSON Schema."""
    if "anyOf" in schema:
        return any(conforms(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
    if kind in ("integer", "number"):
        number = int if kind == "integer" else (int, float)
        good = isinstance(value, number) and not isinstance(value, bool)
        return good and schema["minimum"] <= value <= schema["maximum"]
    if kind == "array":
        right = schema["minItems"] <= len(value) <= schema["maxItems"]
        return isinstance(value, list) and right and all(conforms(each, schema["items"]) for each in value)
    required, known = set(schema["required"]), set(schema["properties"])
    inside = isinstance(value, dict) and required <= set(value) <= known
    return inside and all(conforms(each, schema["properties"][name]) for name, each in value.items())


def between(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)


words = st.text("abcdefgh_ é—-", min_size=1, max_size=8)
leaves = st.one_of(
    between(0, 30).map(lambda b: {"type": "string", "minLength": b[0], "maxLength": b[1]}),
    between(-120, 120).map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[1]}),
    between(0, 10).map(lambda b: {"type": "number", "minimum": b[0], "maximum": b[1]}),
    st.lists(words, min_size=1, max_size=4, unique=True).map(lambda names: {"enum": names}),
    st.just({"type": "boolean"}),
)
values = st.recursive(
    st.one_of(leaves, leaves.map(lambda leaf: {"anyOf": [leaf, {"type": "null"}]})),
    lambda inner: st.tuples(inner, between(0, 3)).map(
        lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1][0], "maxItems": pair[1][1]}
    ),
    max_leaves=3,
)


@st.composite
def objects(draw):
    properties = draw(st.dictionaries(st.text("abcdef_", min_size=1, max_size=10), values, min_size=1, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), min_size=1, unique=True))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=objects(), seed=st.integers(0, 2**31))
def test_every_answer_of_a_random_model_conforms_to_its_schema(tokenizer, grammars, schema, seed):
    text = answer(tokenizer, grammars, schema, seed)
    assert conforms(json.loads(text), schema), (schema, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 150, "maxLength": 150},
        {"type": "string", "pattern": '^[^"\\\\]{150,150}$'},
    ],
)
def test_long_strings_keep_their_length_and_hold_no_control_character_or_broken_utf8(tokenizer, grammars, schema):
    for seed in range(12):
        text = json.loads(answer(tokenizer, grammars, schema, seed))
        assert len(text) == 150
        assert min(text) >= " "
        assert "\ufffd" not in text


def test_keys_come_in_the_declared_order_on_one_line_as_json_dumps_writes_them(tokenizer, grammars):
    names = ("z", "a", "m")
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0, "maximum": 9} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
    text = answer(tokenizer, grammars, schema, 3)
    assert tuple(json.loads(text)) == names
    assert text == json.dumps(json.loads(text))


def test_greedy_and_random_answers_both_end_with_the_stop_token(tokenizer, grammars):
    schema = {"enum": ["static", "push_in"]}
    assert json.loads(answer(tokenizer, grammars, schema, 1, temperature=0.0)) in schema["enum"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {"enum": ["a"]}, "maxItems": 2, "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "^[a-z]*$", "maxLength": 5}, "pattern"),
        ({"type": "object", "properties": {"a": {"type": "nonsense"}}}, "compiled"),
    ],
)
def test_a_schema_that_cannot_be_guaranteed_is_refused_with_the_reason(grammars, schema, words):
    with pytest.raises(InvalidRequest, match=words):
        grammars.mask({"anyOf": [schema, {"type": "null"}]})


def fields(count, schema, **more):
    names = [f"field{number}" for number in range(count)]
    return {"type": "object", "properties": dict(zip(names, map(schema, range(count)), strict=True)), **more}


def nested(depth):
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (fields(1500, lambda _: {"type": "string"}), "at most"),
        (nested(900), "nested deeper|parts: at most"),
        (nested(40), "nested deeper"),
        ({"enum": [f"value {number}" for number in range(1001)]}, "1001 values"),
        ({"type": "string", "description": "x" * 40_000}, "characters"),
        (fields(40, lambda number: {"type": "string", "maxLength": 1000 + number}), "different lengths"),
        (fields(30, lambda number: {"type": "string", "pattern": f"^[a-z]{{1,{3000 + number}}}$"}), "more than 2 s"),
    ],
)
def test_a_schema_that_would_take_too_long_is_refused_and_others_are_compiled_after_it(grammars, schema, words):
    with pytest.raises(InvalidRequest, match=words):
        grammars.mask(schema)
    assert grammars.mask({"type": "boolean"})


def test_a_large_schema_that_compiles_in_time_is_taken(tokenizer, grammars):
    schema = fields(70, lambda _: {"type": "boolean"}, additionalProperties=False)
    assert all(value in (True, False) for value in json.loads(answer(tokenizer, grammars, schema, 1)).values())


def test_only_so_many_compiled_schemas_are_kept(tokenizer, monkeypatch):
    monkeypatch.setattr(grammar, "KEPT_BYTES", 0)
    grammars = Grammars(tokenizer, len(tokenizer) + 7, [tokenizer.eos_token_id])
    for number in range(3):
        assert answer(tokenizer, grammars, {"const": number}, 1) == str(number)
    assert len(grammars._compiled) == 1
