"""Text sanity: whether what a model wrote can be shown to anyone. Repetition, debris, non-words, broken sentences.

Two grades. `Broken` text is never shown: the agent is asked again and fails by name when it cannot do better.
`Odd` text (one word that no list has) is asked about again and then believed: brands and new things have such words.
"""

from __future__ import annotations

import lzma
import re
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any

from pipelines.reading.language import language_of

MAX_UNKNOWN_SHARE = 0.34
"""Of the words of a text; above, they are not words."""
_DEBRIS = re.compile(
    r"[\[\]{}<>|\\^`~]|[\"'“”]\s*[:,]\s*[\"'“”]|[:;,]\s*[:;,.]|\.\.\.\.|,\s*$|:\s*$|(?:^|\s)[:;,.]|\(\s*\)|</?\w+>|```|"
    r"\b(?:null|undefined|NaN|lorem ipsum|as an ai|language model)\b|I(?:'m| am) sorry,? (?:but )?I",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd\ud800-\udfff]")
_ENDINGS = (
    ("'s", ""), ("’s", ""), ("s'", "s"), ("ies", "y"), ("es", ""), ("s", ""), ("ied", "y"), ("ed", ""), ("ed", "e"),
    ("ing", ""), ("ing", "e"), ("ly", ""), ("ily", "y"), ("er", ""), ("er", "e"), ("ier", "y"), ("est", ""),
    ("est", "e"), ("iest", "y"), ("ness", ""), ("less", ""), ("ful", ""), ("y", ""), ("able", ""), ("proof", ""),
    ("free", ""), ("like", ""), ("ish", ""), ("ment", ""), ("n't", ""), ("n’t", ""),
)  # fmt: skip
_BEGINNINGS = (
    "un",
    "re",
    "non",
    "over",
    "under",
    "out",
    "mid",
    "back",
    "sun",
    "water",
    "hand",
    "pre",
    "ultra",
    "super",
)


class Broken(ValueError):
    """A text that is not shown to anyone; the message is told to the model."""


class Odd(ValueError):
    """A text that is probably wrong, and is believed when the model insists."""


def check_text(value: Any, known: str, limits: Any = None, place: str = "") -> None:
    """Check every string of `value`, a model's answer as JSON. Raises Broken or Odd, naming the field.

    `known`: the question, whose words are all words. `limits`: the answer's JSON schema, for texts cut at their limit.
    """
    odd: Odd | None = None
    for where, text, limit in _texts(value, limits, limits or {}, place):
        try:
            _check(text, known, limit)
        except Broken as error:
            raise Broken(f"{where}: {error}") from None
        except Odd as error:
            odd = odd or Odd(f"{where}: {error}")
    if odd is not None:
        raise odd


def unknown_words(text: str, known: str = "") -> list[str]:
    """Words of `text` that are neither in the English list nor in `known`; names within a sentence count as well."""
    said = set(_words(known))
    return [word for word in _words(text) if word not in said and not _is_word(word)]


def repeats(text: str) -> str | None:
    """What a text says again and again: a word three times running, three words three times, letters in a loop."""
    words = _words(text)
    for size, times in ((1, 3), (2, 3), (3, 2)):
        runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        for index, run in enumerate(runs):
            following = [runs[index + step * size] for step in range(times) if index + step * size < len(runs)]
            if len(following) == times and set(following) == {run}:
                return " ".join(run)
    grams = Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))
    if grams and (most := grams.most_common(1)[0])[1] >= 3:
        return " ".join(most[0])
    if found := re.search(r"([^\W\d_]{2,6})\1{2,}", text.lower()):
        return found[1]
    return None


def _check(text: str, known: str, limit: int | None) -> None:
    if found := _CONTROL.search(text):
        raise Broken(f"holds the control character U+{ord(found[0]):04X}; write plain text")
    if text in known:
        return
    if not re.search(r"\w", text):
        raise Broken(f"says nothing ({text[:20]!r})")
    if (run := repeats(text)) is not None:
        raise Broken(f"says {run[:40]!r} again and again")
    if (debris := _DEBRIS.search(text)) and debris[0] not in known:
        raise Broken(f"holds {debris[0][:20]!r}, which is no part of a sentence ({text[:60]!r})")
    if limit is not None and len(text) >= limit and re.search(r"[\w,]$", text):
        raise Broken(f"is cut off at {limit} characters; be shorter")
    if language_of(text) != "en" or language_of(known) != "en":
        return  # no list of words of another language
    words = _words(text)
    unknown = unknown_words(text, known)
    if unknown and (len(unknown) > MAX_UNKNOWN_SHARE * len(words) or any(len(word) > 15 for word in unknown)):
        raise Broken(f"{unknown[0][:30]!r} is no word ({text[:60]!r})")
    if unknown:
        raise Odd(f"{unknown[0][:30]!r} is no word that is known; use a common one")


def _texts(value: Any, schema: Any, root: Any, place: str) -> list[tuple[str, str, int | None]]:
    """Every string in `value` that the schema leaves free, with its field and its longest length."""
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rsplit("/", 1)[-1])
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, str):
        fixed = "enum" in schema or "const" in schema or "anyOf" in schema
        return [] if fixed else [(place or "the answer", value, schema.get("maxLength"))]
    if isinstance(value, dict):
        parts = [(key, one, schema.get("properties", {}).get(key)) for key, one in value.items()]
    elif isinstance(value, list | tuple):
        first = schema.get("prefixItems", [])
        parts = [(str(i), one, first[i] if i < len(first) else schema.get("items")) for i, one in enumerate(value)]
    else:
        return []
    return [found for key, one, part in parts for found in _texts(one, part, root, f"{place}.{key}".strip("."))]


def _words(text: str) -> list[str]:
    """Lower-case words, hyphens apart; numbers and single letters are none."""
    return re.findall(r"[^\W\d_]{2,}(?:[’'][^\W\d_]+)?", text.lower())


@cache
def _list() -> frozenset[str]:
    packed = files("pipelines.reading").joinpath("words_en.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode().splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


@cache
def _is_word(word: str, depth: int = 0) -> bool:
    words = _list()
    if word in words:
        return True
    if depth < 2:
        for ending, instead in _ENDINGS:
            stem = word.removesuffix(ending) + instead
            if word.endswith(ending) and len(stem) > 2 and (_is_word(stem, depth + 1) or _doubled(stem)):
                return True
        for begin in _BEGINNINGS:
            if word.startswith(begin) and len(word) > len(begin) + 2 and _is_word(word[len(begin) :], depth + 1):
                return True
    return any(len(word[:cut]) > 3 and word[:cut] in words and word[cut:] in words for cut in range(4, len(word) - 3))


def _doubled(stem: str) -> bool:
    """`stopp` of `stopped`."""
    return len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in _list()
