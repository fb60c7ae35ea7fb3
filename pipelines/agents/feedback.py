"""The feedback reader: what an owner's chat message asks for, by rules. English only.

Rules and no model, because the answer must come at once, in a process without one, and a wrong guess costs a whole ad.
Whatever it is not sure of becomes a question back: a message that names no scene never redraws all of them.
"""

from __future__ import annotations

import re
from typing import Literal

from models.interfaces import Plain

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_THING = r"(?:scenes?|shots?|clips?|frames?|key\s?frames?|images?|pictures?|panels?)"
_NUMBER = rf"(?:\d{{1,2}}|{'|'.join(_NUMBERS)})"
_LISTED = re.compile(
    rf"\b{_THING}\s*(?:no\.?|number|#)?\s*({_NUMBER}(?:\s*(?:,|and|&|to|-|–|through)+\s*(?:{_THING}\s*)?{_NUMBER})*)\b",
    re.IGNORECASE,
)
_RANGE = re.compile(rf"({_NUMBER})\s*(?:to|-|–|through)\s*({_NUMBER})", re.IGNORECASE)
_ORDINAL = re.compile(
    rf"\b({'|'.join(_ORDINALS)}|last|final|\d{{1,2}}(?:st|nd|rd|th))\s+(?:{_THING}|one)\b", re.IGNORECASE
)
_ALL = re.compile(
    rf"\b(?:all|every|each)\s+(?:of\s+)?(?:the\s+|them\b|{_THING})|"
    r"\b(?:everything|whole (?:storyboard|video|ad|thing))\b",
    re.IGNORECASE,
)
_APPROVAL = re.compile(
    r"\b(?:approved?|looks? (?:good|great|perfect|fine)|perfect|love|like|go ahead|go on|continue|proceed|next|"
    r"ok(?:ay)?|yes|lgtm|ship it|great|good|done)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"\b(?:i|we|it|this|that|them|these|the|to|now|please|thanks?|thank you|very|so|really|all|let's|lets|and|a|job|is|"
    r"are|stage|step|story|references?|images?|pictures?|storyboard|video|clips?|hi|hello|hey)\b|[^\w]",
    re.IGNORECASE,
)
"""Words that wish for nothing."""
_QUESTION = re.compile(
    r"^(?:what|why|how|when|where|who|which|is|are|was|were|does|do|did|has|have|will|should)\b", re.IGNORECASE
)


class Reading(Plain):
    """What a message asks for."""

    intent: Literal["approve", "regenerate", "question", "which_scene"]
    scene_numbers: tuple[int, ...] = ()
    """For `regenerate`: the scenes that are named; empty: the whole stage."""
    unknown_scene: int | None = None
    """For `which_scene`: a scene that is named and does not exist."""


def read_feedback(text: str, scene_count: int | None, focus: int | None) -> Reading:
    """Read `text`, said while a stage waits for its owner.

    `scene_count` None: the stage is made as a whole, so every wish is about all of it. `focus` is the scene that the
    owner has selected on the page, and stands in for one that is not named.
    """
    named, everything = _scenes(text, scene_count or 0), _ALL.search(text) is not None
    if _wishes_nothing(text):
        return Reading(intent="approve" if _APPROVAL.search(text) and "?" not in text else "question")
    if _asks(text):
        return Reading(intent="question")
    if scene_count is None:
        return Reading(intent="regenerate")
    unknown = [number for number in named if not 1 <= number <= scene_count]
    if unknown:
        return Reading(intent="which_scene", unknown_scene=unknown[0])
    if named:
        return Reading(intent="regenerate", scene_numbers=named)
    if everything:
        return Reading(intent="regenerate")
    if focus is not None and 1 <= focus <= scene_count:
        return Reading(intent="regenerate", scene_numbers=(focus,))
    return Reading(intent="which_scene")


def _wishes_nothing(text: str) -> bool:
    """Whether nothing is left of a message without agreement and filler: `good` inside a wish is no approval."""
    return not _FILLER.sub("", _APPROVAL.sub("", text))


def _asks(text: str) -> bool:
    """A question about the work, and not a wish put as one (`can you make scene 2 brighter?`)."""
    return text.rstrip().endswith("?") and _QUESTION.search(text.strip()) is not None


def _scenes(text: str, scene_count: int) -> tuple[int, ...]:
    """The scene numbers that `text` names, each once, in order."""
    found: set[int] = set()
    for listed in _LISTED.findall(text):
        for low, high in _RANGE.findall(listed):
            found.update(range(_value(low), _value(high) + 1))
        found.update(_value(number) for number in re.findall(_NUMBER, listed, re.IGNORECASE))
    for ordinal in _ORDINAL.findall(text):
        found.add(_rank(ordinal.lower(), scene_count))
    return tuple(sorted(found))


def _value(number: str) -> int:
    return int(number) if number.isdigit() else _NUMBERS.index(number.lower()) + 1


def _rank(ordinal: str, scene_count: int) -> int:
    if ordinal in ("last", "final"):
        return scene_count
    return int(ordinal[:-2]) if ordinal[0].isdigit() else _ORDINALS.index(ordinal) + 1
