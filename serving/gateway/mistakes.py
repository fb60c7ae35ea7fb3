"""What is wrong with a request, in the words of who sent it: pydantic's errors as fields, sentences and remedies.

A place is named as it stands in the body, never by the name of a validator; a value is quoted only where it is short;
an unknown field is told the known one that is nearest. However many mistakes a body has, the first few are told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

SHOWN = 20
"""Of a body with more mistakes than this, the first ones are named."""
SHOWN_LETTERS = 80
"""Of a value, or of a name that the caller chose."""
SHOWN_FIELDS = 30
"""Of the known fields, beside an unknown one."""
REMEDIES: Mapping[str, str] = {"seed": "leave it out for a random one"}
"""By the field's name: what else can be done."""
_BEGINNING = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value|Data|Bytes|Set|URL) should ")
_IN_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "is_instance_of": "must be a file of a multipart form",
    "none_required": "must be left out",
}
_OTHER_SHAPES = frozenset(
    {kind for kind, text in _IN_WORDS.items() if text.startswith("must be")} | {"literal_error", "enum"}
)
"""Of a value of another shape: where one shape of several goes further, the others have nothing to say."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong. `param` is where, as the caller wrote it."""

    param: str
    message: str


@dataclass(frozen=True)
class _Found:
    """An error of pydantic at its place in the body."""

    place: tuple[str | int, ...]
    kind: str
    text: str
    value: Any


def mistakes(
    errors: Iterable[Mapping[str, Any]],
    body: Any = None,
    model: type[BaseModel] | None = None,
    show_values: bool = True,
) -> list[Mistake]:
    """What `errors` say of `body`, which was to be a `model`; at least one, at most SHOWN.

    Without a model they are of parameters: their places are taken as they are, without the words for where they stood.
    """
    found = [_found(each, body, model is not None) for each in _first(errors)]
    told = [*_unknown(found, model), *_others(found, model, show_values)]
    return told[:SHOWN]


def _first(errors: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """More than are told: several may become one."""
    for number, each in enumerate(errors):
        if number == 10 * SHOWN:
            return
        yield each


def _found(error: Mapping[str, Any], body: Any, in_body: bool) -> _Found:
    kind, given = str(error["type"]), tuple(error["loc"])
    place = _in_body(given, body, kind) if in_body else given[1:] or given
    return _Found(place, kind, str(error["msg"]), error.get("input"))


def _in_body(loc: Sequence[str | int], body: Any, kind: str) -> tuple[str | int, ...]:
    """`loc` without the names of validators and variants, which are no keys of the body."""
    place: list[str | int] = []
    here = body
    for number, part in enumerate(loc):
        is_last = number == len(loc) - 1
        if isinstance(here, dict) and (part in here or (is_last and kind in ("missing", "extra_forbidden"))):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        place.append(part)
    return tuple(place)


def _unknown(found: Sequence[_Found], model: type[BaseModel] | None) -> Iterator[Mistake]:
    """One sentence for all unknown fields of one object."""
    objects: dict[tuple[str | int, ...], list[str]] = {}
    for each in found:
        if each.kind == "extra_forbidden" and each.place:
            objects.setdefault(each.place[:-1], []).append(str(each.place[-1]))
    for place, names in objects.items():
        several, shown = len(names) > 1, ", ".join(repr(name[:SHOWN_LETTERS]) for name in names[:5])
        text = f"unknown field{'s' * several} {shown}{' and more' if len(names) > 5 else ''}"
        known = _known_fields(model, place)
        near = [match for name in names[:5] for match in difflib.get_close_matches(name[:SHOWN_LETTERS], known, 1)]
        if near:
            text += f": did you mean {' and '.join(repr(each) for each in dict.fromkeys(near))}?"
        elif known:
            more = ", …" if len(known) > SHOWN_FIELDS else ""
            text += f": known here are {', '.join(known[:SHOWN_FIELDS])}{more}"
        yield Mistake(_name((*place, names[0])), text)


def _others(found: Sequence[_Found], model: type[BaseModel] | None, show_values: bool) -> Iterator[Mistake]:
    places: dict[tuple[str | int, ...], list[_Found]] = {}
    for each in found:
        if each.kind != "extra_forbidden":
            places.setdefault(each.place, []).append(each)
    for place, here in places.items():
        deeper = any(other[: len(place)] == place and other != place for other in places)
        telling = [each for each in here if each.kind not in _OTHER_SHAPES]
        if deeper and not telling:
            continue
        texts = [_in_words(each, model) for each in telling or _worth_saying(here)]
        last = str(next((part for part in reversed(place) if isinstance(part, str)), ""))
        remedy = f": {REMEDIES[last]}" if last in REMEDIES else ""
        yield Mistake(_name(place), f"{_joined(texts)}{_got(here[0]) if show_values else ''}{remedy}")


def _worth_saying(found: Sequence[_Found]) -> Sequence[_Found]:
    """A file is only asked for where nothing else would do."""
    return [each for each in found if each.kind != "is_instance_of"] or found


def _joined(texts: Sequence[str]) -> str:
    """`must be a whole number or a list`."""
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(text.removeprefix("must be ") for text in others)])


def _in_words(found: _Found, model: type[BaseModel] | None) -> str:
    if found.kind == "string_pattern_mismatch":
        described = [str(each["description"]) for each in _schemas(model, found.place) if "description" in each]
        hint = f" ({described[0].partition(chr(10))[0]})" if described else ""
        return f"does not have the form that it must have{hint}"
    if found.kind == "value_error":
        return found.text.removeprefix("Value error, ")
    text = _IN_WORDS.get(found.kind, found.text)
    if found.kind in ("too_short", "too_long") and isinstance(found.value, str):
        text = text.partition(", not ")[0].replace("item", "character").replace(" after validation", "")
    return _BEGINNING.sub("must ", text).replace(" after validation", "")


def _got(found: _Found) -> str:
    """What was given, where that is short enough to be recognised; never a part of the body."""
    value = found.value
    if found.kind in ("missing", "value_error"):
        return ""  # nothing, or what the sentence has said itself
    if isinstance(value, str):
        return f" (got {value[:SHOWN_LETTERS]!r})"
    if value is None or isinstance(value, int | float):
        return f" (got {str(value)[:SHOWN_LETTERS]})"
    return " (got an object)" if isinstance(value, dict) else " (got a list)" if isinstance(value, list) else ""


def _name(place: Sequence[str | int]) -> str:
    return ".".join(str(part)[:SHOWN_LETTERS] for part in place) or "body"


# --- the schema of a body ---------------------------------------------------------------------------------------------


@cache
def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema, made once."""
    return model.model_json_schema()


def _known_fields(model: type[BaseModel] | None, place: Sequence[str | int]) -> list[str]:
    """The fields that an object at `place` may have."""
    return list(dict.fromkeys(name for each in _schemas(model, place) for name in each.get("properties", ())))


def _schemas(model: type[BaseModel] | None, place: Sequence[str | int]) -> list[dict[str, Any]]:
    """Every schema that a value at `place` may follow, with those that they are made of."""
    if model is None:
        return []
    whole = json_schema(model)
    definitions = whole.get("$defs", {})
    here = list(_variants(whole, definitions))
    for part in place:
        here = [variant for each in here for below in _below(each, part) for variant in _variants(below, definitions)]
    return here


def _variants(schema: dict[str, Any], definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    if "$ref" in schema:
        yield from _variants(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _variants(each, definitions)


def _below(schema: Mapping[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    if isinstance(part, int):
        if isinstance(schema.get("items"), dict):
            yield schema["items"]
    elif part in schema.get("properties", {}):
        yield schema["properties"][part]
    elif isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]
