"""JSON schemas as masks over next tokens, with xgrammar, and seeded sampling under them: any model answers validly.

What xgrammar 0.2 enforces was measured with random logits (tests/integration/test_chat_grammar.py): types, enum, const,
required, additionalProperties: false, anyOf, $ref, minLength and maxLength, bounds of numbers, multipleOf, minItems and
maxItems, prefixItems, pattern. It ignores `uniqueItems`, and lengths beside a `pattern`: such schemas are refused here
rather than answered wrongly. Inside a string of bounded length it lets through raw control characters, which are no
JSON, and byte sequences that are no UTF-8 (surrogates, overlong forms), which decode to more characters than it
counted: both are masked here. Keys come in the declared order, on one line, as `json.dumps` separates them. A string
without `maxLength` has no end that a weak model would reach: give one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
import xgrammar

from models.errors import InvalidRequest
from models.llm.schema_bounds import Trial, check_size, is_small


class SpecialTokens:
    """The special tokens of one transformers tokenizer, which the text of a message must not be read as."""

    def __init__(self, tokenizer: Any) -> None:
        tokens = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ids = frozenset(tokens.values())
        self._written = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))

    def spelled_out(self, text: str) -> str:
        """`text` with a space between the letters of each special token in it."""
        return self._written.sub(lambda match: " ".join(match.group()), text)


NEVER = re.compile(rb"[\x00-\x1f\xc0\xc1\xf5-\xff]|\xe0[\x80-\x9f]|\xed[\xa0-\xbf]|\xf0[\x80-\x8f]|\xf4[\x90-\xbf]")
"""Bytes and pairs of bytes that occur in no compact JSON: control characters, and what RFC 3629 excludes from UTF-8."""
NARROW_LEADS = {0xE0: (0x80, 0x9F), 0xED: (0xA0, 0xBF), 0xF0: (0x80, 0x8F), 0xF4: (0x90, 0xBF)}
"""Lead bytes after which some continuation bytes are forbidden, for tokens that end between the two."""


KEPT_BYTES = 256 * 1024 * 1024
"""Of compiled schemas. Those of the agents have 1 to 5 MB."""

KEPT_REFUSALS = 100


class Grammars:
    """Compiles schemas for one tokenizer and keeps those that were used last, by schema hash."""

    def __init__(self, tokenizer: Any, vocabulary_size: int, stop_token_ids: list[int]) -> None:
        """`vocabulary_size` is the width of the model's logits, which may exceed the tokenizer's own count."""
        self._tokens = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocabulary_size, stop_token_ids=stop_token_ids
        )
        # Its own cache breaks on patterns that repeat over 128 times ("per_rule_fsm_hashes", 0.2.8); ours suffices.
        self._compiler = xgrammar.GrammarCompiler(self._tokens, max_threads=1, cache_enabled=False)
        self._compiled: OrderedDict[str, xgrammar.CompiledGrammar] = OrderedDict()
        self._refused: OrderedDict[str, str] = OrderedDict()
        self._trial = Trial(self._tokens)
        self._bytes = _TokenBytes(self._tokens.decoded_vocab)

    def mask(self, schema: dict[str, Any]) -> GrammarMask:
        """A fresh mask for one answer. Raises InvalidRequest for a schema that cannot be guaranteed."""
        text = json.dumps(schema)
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in self._compiled:
            self._compiled[key] = self._compile(schema, text)
            while len(self._compiled) > 1 and self._held() > KEPT_BYTES:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return GrammarMask(self._compiled[key], self._bytes)

    def _compile(self, schema: dict[str, Any], text: str) -> xgrammar.CompiledGrammar:
        check_schema(schema)
        if text in self._refused:
            raise InvalidRequest(self._refused[text])
        if not is_small(schema):
            self._try(text)
        try:
            return self._compiler.compile_json_schema(text, any_whitespace=False)
        except (RuntimeError, ValueError) as error:
            raise InvalidRequest(f"the JSON schema cannot be compiled: {error}") from error

    def _try(self, text: str) -> None:
        """Raises InvalidRequest, the next time at once, for a schema that does not compile in time."""
        try:
            self._trial.check(text)
        except InvalidRequest as error:
            self._refused[text] = str(error)
            if len(self._refused) > KEPT_REFUSALS:
                self._refused.popitem(last=False)
            raise

    def _held(self) -> int:
        return sum(each.memory_size_bytes for each in self._compiled.values())


def check_schema(schema: dict[str, Any]) -> None:
    """Raises InvalidRequest for a schema that is too large, or of which xgrammar would silently ignore a part."""
    check_size(schema)
    for problem in _unenforceable(schema):
        raise InvalidRequest(f"the JSON schema cannot be guaranteed: {problem}")


def never_in_json(tokenizer: Any) -> list[int]:
    """Ids of tokens that no compact JSON holds though xgrammar lets them through, for engines that run it themselves.

    Pairs of tokens that are no UTF-8 together are not among them: such an answer parses, and may be a few characters
    longer than `maxLength` says.
    """
    return _TokenBytes(xgrammar.TokenizerInfo.from_huggingface(tokenizer).decoded_vocab).never.tolist()


class _TokenBytes:
    """Tokens that must not be chosen because of their bytes, whatever the grammar says."""

    def __init__(self, vocabulary: list[bytes]) -> None:
        self.last = [raw[-1] if raw else 0 for raw in vocabulary]
        self.never = torch.tensor(
            [index for index, raw in enumerate(vocabulary) if NEVER.search(raw)], dtype=torch.long
        )
        self.never_after = {
            lead: torch.tensor(
                [i for i, raw in enumerate(vocabulary) if raw and low <= raw[0] <= high], dtype=torch.long
            )
            for lead, (low, high) in NARROW_LEADS.items()
        }


class GrammarMask:
    """Follows one answer token by token and says which tokens may come next."""

    def __init__(self, grammar: xgrammar.CompiledGrammar, token_bytes: _TokenBytes) -> None:
        self._matcher = xgrammar.GrammarMatcher(grammar)
        self._bits = xgrammar.allocate_token_bitmask(1, grammar.tokenizer_info.vocab_size)
        self._bytes = token_bytes
        self._last_byte = 0

    def apply(self, logits: torch.Tensor) -> None:
        """Set the logits, shape (1, vocabulary), float32 on the CPU, of all forbidden tokens to minus infinity."""
        self._matcher.fill_next_token_bitmask(self._bits)
        xgrammar.apply_token_bitmask_inplace(logits, self._bits)
        logits[:, self._bytes.never] = float("-inf")
        if self._last_byte in self._bytes.never_after:
            logits[:, self._bytes.never_after[self._last_byte]] = float("-inf")

    def accept(self, token: int) -> None:
        """Move on by the chosen token. Raises AssertionError for one that `apply` did not allow."""
        if not self._matcher.accept_token(token):
            raise AssertionError(f"the grammar refuses token {token}, which its own mask allowed")
        self._last_byte = self._bytes.last[token]


def _unenforceable(schema: Any, place: str = "schema") -> Iterator[str]:
    if isinstance(schema, dict):
        if schema.get("uniqueItems") is True:
            yield f"{place}: 'uniqueItems' is not enforced; drop it and check the answer"
        if isinstance(schema.get("pattern"), str) and {"minLength", "maxLength"} & schema.keys():
            yield f"{place}: lengths beside 'pattern' are not enforced; write them into the pattern as {{m,n}}"
        for key, value in schema.items():
            yield from _unenforceable(value, f"{place}.{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from _unenforceable(value, f"{place}[{index}]")


class Sampler:
    """Draws tokens for one answer; the same seed and logits give the same tokens on every device."""

    def __init__(
        self, seed: int, temperature: float, top_p: float, forbidden: list[int], mask: GrammarMask | None
    ) -> None:
        """`temperature` 0 is greedy. `forbidden` token ids are never chosen. `mask` is None for free text."""
        self._generator = torch.Generator().manual_seed(seed)
        self._temperature = temperature
        self._top_p = top_p
        self._forbidden = forbidden
        self._mask = mask

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits of shape (1, vocabulary) in; zero for the chosen token and minus infinity elsewhere out."""
        logits = scores.detach().to("cpu", torch.float32, copy=True)
        logits[:, self._forbidden] = float("-inf")
        if self._mask is not None:
            self._mask.apply(logits)
        token = self._choose(logits[0])
        if self._mask is not None:
            self._mask.accept(token)
        only = torch.full_like(scores, float("-inf"))
        only[0, token] = 0.0
        return only

    def _choose(self, logits: torch.Tensor) -> int:
        """Nucleus sampling: the likeliest tokens whose mass before them is below top_p (Holtzman et al., 2020)."""
        if self._temperature == 0.0:
            return int(logits.argmax())
        probabilities, tokens = torch.softmax(logits / self._temperature, dim=-1).sort(descending=True, stable=True)
        before = probabilities.cumsum(0) - probabilities
        nucleus = torch.where(before < self._top_p, probabilities, 0.0)
        return int(tokens[torch.multinomial(nucleus, 1, generator=self._generator)])
