"""Names and values of a form as the object that a JSON body would be.

Understands what OpenAI clients send: `image[]` repeated, `ip_adapter[weight]`, `lora[][name]` column by column; and
JSON text in the value of a field that is not a text. Knows no route.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from serving.gateway.multipart import Pair
from serving.gateway.problems import Problem

MAX_DEPTH = 4
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_Entry = tuple[tuple[str, ...], Any]


def nested(pairs: Sequence[Pair], text_fields: Collection[str]) -> dict[str, Any]:
    """The object. `text_fields` are never read as JSON. Raises Problem 422 for names that contradict each other."""
    groups: dict[str, list[_Entry]] = {}
    for name, value in pairs:
        path = _path(name)
        groups.setdefault(path[0], []).append((path[1:], value))
    return {name: _decoded(_built(name, entries), name not in text_fields) for name, entries in groups.items()}


def _path(name: str) -> tuple[str, ...]:
    match = _NAME.fullmatch(name)
    if match is None or match[2].count("[") >= MAX_DEPTH:
        raise Problem(
            "invalid_request", f"field name {name[:80]!r} cannot be read: use name, name[] or name[key]", name
        )
    return (match[1], *re.findall(r"\[([^\[\]]*)\]", match[2]))


def _built(name: str, entries: Sequence[_Entry]) -> Any:
    heads = {path[0] if path else None for path, _ in entries}
    if heads == {None}:
        values = [value for _, value in entries]
        return values[0] if len(values) == 1 else values
    if None in heads or ("" in heads and len(heads) > 1):
        raise Problem("invalid_request", f"field {name!r} is given both as a value and as a list or object", name)
    if heads == {""}:
        return _listed(name, [(path[1:], value) for path, value in entries])
    return {
        str(head): _built(f"{name}[{head}]", [(path[1:], value) for path, value in entries if path[0] == head])
        for head in dict.fromkeys(path[0] for path, _ in entries)
    }


def _listed(name: str, entries: Sequence[_Entry]) -> list[Any]:
    """Elements of `name[]`; those of `name[][key]` arrive key by key, so every key must be given for every element."""
    if not any(path for path, _ in entries):
        return [value for _, value in entries]
    columns: dict[str, list[Any]] = {}
    for path, value in entries:
        if len(path) != 1 or not path[0]:
            raise Problem("invalid_request", f"field {name}[] is nested too deep: send it as JSON text", name)
        columns.setdefault(path[0], []).append(value)
    if len({len(column) for column in columns.values()}) > 1:
        raise Problem("invalid_request", f"elements of {name}[] have different keys: send it as JSON text", name)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _decoded(value: Any, may_be_json: bool) -> Any:
    if may_be_json and isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # the field's own validation says what it should have been
    return value
