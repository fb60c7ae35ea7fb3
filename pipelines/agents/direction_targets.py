"""Which scenes a sentence names: by number, list, range, rank, place, or all of them; and a new order of scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.agents.direction_words import NUMBERS, ORDINALS
from pipelines.reading.vocabulary import word_set

_THING = r"(?:scenes?|shots?|clips?|frames?|key\s?frames?|images?|pictures?|panels?|beats?)"
_NUMBER = rf"(?:\d{{1,3}}|{'|'.join(NUMBERS)})"
_JOIN = r"(?:\s*(?:,|;|and|&|\+|or)\s*)+(?:the\s+)?"
_RANK = (
    rf"(?:{'|'.join(ORDINALS)}|last|final|closing|ending|opening|starting|penultimate|second[- ]to[- "
    rf"]last|\d{{1,2}}(?:st|nd|rd|th))"
)
_LISTED = re.compile(
    rf"\b{_THING}\s*(?:no\.?|number|nr\.?|#)?\s*({_NUMBER}(?:(?:\s*(?:,|and|&|\+|to|-|–|through|"
    rf"until)\s*)+(?:{_THING}\s*"
    rf"(?:no\.?|number|nr\.?|#)?\s*)?{_NUMBER}\b)*)(?!\s*(?:seconds?|secs?|s|%|times|x)\b)",
    re.IGNORECASE,
)
_HASH = re.compile(r"#\s*(\d{1,3})\b")
_ONWARDS = re.compile(
    rf"\bfrom\s+{_THING}\s*({_NUMBER})\s+on(?:wards?)?\b|\b{_THING}\s*({_NUMBER})\s+(?:and\s+)?on(?:wards?)\b|"
    rf"\b(?:everything\s+)?(?:after|from)\s+{_THING}\s*({_NUMBER})\s+on(?:wards?)?\b",
    re.IGNORECASE,
)
_FIRST_FEW = re.compile(rf"\b(?:the\s+)?(first|last)\s+({_NUMBER})\s+{_THING}\b", re.IGNORECASE)
_RANKED = re.compile(
    rf"\b(?:the\s+|in\s+the\s+)?({_RANK}(?:{_JOIN}{_RANK})*)\s+(?:{_THING}|ones?)\b(?!\s*(?:seconds?|secs?)\b)",
    re.IGNORECASE,
)
_MIDDLE = re.compile(rf"\b(?:the\s+)?middle\s+(?:{_THING}|ones?|of the (?:ad|video|story|film))\b", re.IGNORECASE)
_ALL = re.compile(
    rf"\b(?:in\s+|for\s+|on\s+)?(?:all|every|each|both)\s+(?:of\s+)?(?:(?:the|them|these|"
    rf"those)\b\s*)?(?:\w+\s+)?{_THING}\b|\ball of (?:them|it)\b|"
    r"\b(?:everything|everywhere|throughout|all over|overall|(?:in |of |for )?the (?:whole|entire|complete) "
    r"(?:ad|advert|video|story|film|spot|clip|thing|storyboard|commercial))\b|\b(?:whole|entire) (?:ad|"
    r"video|story|film|storyboard)\b|"
    r"\ball scenes\b",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"\b(?:except(?: for)?|but not|apart from|other than|besides|but(?= (?:scene|the (?:first|last)))|"
    r"without changing)\b",
    re.IGNORECASE,
)
_ENDING = re.compile(
    r"\b(?:(?:the\s+)?(?:end(?:s|ing)?|finish(?:es)?|close|closes|finale|conclusion|conclude)(?:\s+(?:it|"
    r"the\s+(?:ad|video|story|film|spot)|of\s+the\s+"
    r"(?:ad|video|story|film)|everything))?|at the (?:very )?end)\b(?!\s+(?:result|product|user))",
    re.IGNORECASE,
)
_BEGINNING = re.compile(
    r"\b(?:(?:the\s+)?(?:start(?:s|ing)?|begin(?:s|ning)?|open(?:s|ing)?)(?:\s+(?:it|the\s+(?:ad|video|"
    r"story|film|spot)|of\s+the\s+"
    r"(?:ad|video|story|film)))?|at the (?:start|beginning))\b",
    re.IGNORECASE,
)
_PLACED = (
    re.compile(rf"\b(?:the\s+)?(\w+(?:\s\w+)?)\s+{_THING}\b", re.IGNORECASE),
    re.compile(
        rf"\bthe\s+(?:{_THING}|one|part)\s+(?:that\s+(?:is|plays|happens)\s+|which\s+is\s+|set\s+)?((?:in|on|"
        rf"at|by|near)\s+(?:the\s+|a\s+|an\s+)?\w+(?:\s\w+)?)\b",
        re.IGNORECASE,
    ),
)
_EMPTY = word_set(
    """the a an in on at by near of to and or is are be was for with scene shot first last this that other new
    next same one
    two three make set put change move every each all whole light day time red blue"""
)
"""Words that tell no place from another."""


@dataclass(frozen=True)
class Mention:
    """Scenes that a text names, and where."""

    start: int
    end: int
    scenes: tuple[int, ...]
    by_edge: bool = False
    """Named as the begin or the end of the ad, which may also be a verb of the wish."""


def mentions(text: str, count: int, settings: Sequence[str] = ()) -> tuple[Mention, ...]:
    """Where `text` names scenes, in order, none overlapping; numbers beyond `count` are kept as they are.

    `settings` are the places of the scenes: `the beach scene` names the one that plays there.
    """
    found: list[Mention] = []
    for match, scenes in _numbered(text, count):
        _note(found, match, scenes)
    placed = _PLACED[:1] if found else _PLACED
    for match in (match for pattern in placed for match in pattern.finditer(text)):
        described = re.search(r"\ban?\s+$", text[: match.start()]) or re.match(r"an?\b", match[0], re.IGNORECASE)
        _note(found, match, () if described else _playing(match[1], settings))
    for pattern, number in ((_ENDING, count), (_BEGINNING, 1)):
        for match in pattern.finditer(text):
            _note(found, match, (number,), True)
    return _without_exceptions(text, sorted(found, key=lambda one: one.start))


def _numbered(text: str, count: int) -> Iterator[tuple[re.Match[str], Sequence[int]]]:
    """Where scenes are named by number, rank or all together; the more exact wording first."""
    whole = tuple(range(1, count + 1))
    for match in _ONWARDS.finditer(text):
        yield match, range(_value(next(group for group in match.groups() if group)), count + 1)
    for match in _FIRST_FEW.finditer(text):
        few = _value(match[2])
        yield match, () if few < 2 else whole[:few] if match[1].lower() == "first" else whole[-few:]
    for match in _LISTED.finditer(text):
        yield match, _numbers(match[1])
    for match in _RANKED.finditer(text):
        yield match, [_rank(rank.lower(), count) for rank in re.findall(_RANK, match[1], re.IGNORECASE)]
    for match in _HASH.finditer(text):
        yield match, (int(match[1]),)
    for match in _MIDDLE.finditer(text):
        yield match, whole[(count - 1) // 2 : count // 2 + 1]
    for match in _ALL.finditer(text):
        yield match, whole


def _note(found: list[Mention], match: re.Match[str], scenes: Sequence[int], by_edge: bool = False) -> None:
    """Add a mention, unless another one says some of its words already."""
    start, end = match.span()
    if scenes and not any(start < one.end and one.start < end for one in found):
        found.append(Mention(start, end, tuple(sorted(set(scenes))), by_edge))


def _without_exceptions(text: str, found: list[Mention]) -> tuple[Mention, ...]:
    """`all scenes except scene 2` as one mention of the others."""
    left: list[Mention] = []
    for mention in found:
        between = text[left[-1].end : mention.start] if left else ""
        if left and _EXCEPT.search(between) and len(left[-1].scenes) > 1:
            before = left.pop()
            rest = tuple(one for one in before.scenes if one not in mention.scenes)
            left.append(Mention(before.start, before.end, rest))
        else:
            left.append(mention)
    return tuple(left)


def _numbers(listed: str) -> list[int]:
    found: list[int] = []
    for low, high in re.findall(
        rf"({_NUMBER})\s*(?:to|-|–|through|until)\s*(?:{_THING}\s*)?({_NUMBER})", listed, re.IGNORECASE
    ):
        found.extend(range(_value(low), _value(high) + 1))
    found.extend(_value(number) for number in re.findall(rf"\b{_NUMBER}\b", listed, re.IGNORECASE))
    return found


def _value(number: str) -> int:
    return int(number) if number.isdigit() else NUMBERS.index(number.lower()) + 1


def _rank(rank: str, count: int) -> int:
    if rank in ("last", "final", "closing", "ending"):
        return count
    if rank in ("opening", "starting"):
        return 1
    if rank in ("penultimate", "second to last", "second-to-last"):
        return count - 1
    return int(rank[:-2]) if rank[0].isdigit() else ORDINALS.index(rank) + 1


def _playing(place: str, settings: Sequence[str]) -> list[int]:
    wanted = set(re.findall(r"[a-z]{3,}", place.lower())) - _EMPTY
    return [
        number
        for number, setting in enumerate(settings, start=1)
        if wanted & (set(re.findall(r"[a-z]{3,}", setting.lower())) - _EMPTY)
    ]


_ONE = rf"(?:the\s+)?(?:{_THING}\s*(?:no\.?|number|#)?\s*)?({_NUMBER}|{_RANK})(?:\s+{_THING})?"
_SWAP = re.compile(
    rf"\b(?:swap|exchange|switch|trade|flip|interchange)\s+(?:the\s+(?:order|"
    rf"positions?)\s+of\s+)?(?:{_THING}\s+)?{_ONE}\s*(?:and|with|for|&|,)\s*{_ONE}\b",
    re.IGNORECASE,
)
_SWAP_PLACES = re.compile(r"\b(?:places|settings?|locations?|backgrounds?) of\b", re.IGNORECASE)
_MOVE = re.compile(
    rf"\b(?:put|move|show|place|shift|bring|have|let|make|play|run)\s+{_ONE}(?:\s+(?:to|at|come))*\s+(?:the\s+)?"
    rf"(first|last|start|beginning|front|end|very end|(?:before|after|behind|in front of)\s+{_ONE})\b",
    re.IGNORECASE,
)
_COME = re.compile(
    rf"\b{_ONE}\s+(?:(?:should|must|has to|needs to|could|may)\s+)?(?:comes?|be|is|goes|go|plays?|runs?)\s+"
    rf"(first|last|(?:before|after|behind)\s+{_ONE})\b",
    re.IGNORECASE,
)
_MOVE_PLACE = re.compile(
    r"\b(?:put|move|show|place|bring|have|let)\s+(?:the\s+)?(\w+)(?:\s+(?:scene|shot|part|"
    r"clip))?\s+(?:to\s+the\s+)?(first|last|start|beginning|end|"
    r"(?:before|after)\s+(?:the\s+)?(\w+)(?:\s+(?:scene|shot|part))?)\s*$|"
    r"\b(?:the\s+)?(\w+)(?:\s+(?:scene|shot|part))?\s+(?:should|must|has to|needs to)\s+(?:come|be|"
    r"go)\s+(first|last|(?:before|after)\s+(?:the\s+)?(\w+))",
    re.IGNORECASE,
)
_REVERSE = re.compile(
    r"\b(?:reverse|invert|turn around|flip)\s+(?:the\s+)?(?:whole\s+)?(?:order|sequence|scenes)\b|\bin reverse order\b",
    re.IGNORECASE,
)
_AS_LISTED = re.compile(rf"\border\b\D{{0,20}}((?:{_NUMBER}\s*(?:,|-|then|and|\s)\s*)+{_NUMBER})\s*$", re.IGNORECASE)


def new_order(text: str, count: int, settings: Sequence[str] = ()) -> tuple[int, ...] | None:
    """The order of scenes that `text` asks for, by their old numbers; None when it asks for none.

    A number beyond `count` stands in the answer, for the caller to refuse.
    """
    order = list(range(1, count + 1))
    if _REVERSE.search(text):
        return tuple(reversed(order))
    if match := _AS_LISTED.search(text):
        listed = [_value(number) for number in re.findall(rf"\b{_NUMBER}\b", match[1], re.IGNORECASE)]
        return tuple(listed) if sorted(listed) == order else None
    if (match := _SWAP.search(text)) and not _SWAP_PLACES.search(text):
        one, other = _position(match[1], count), _position(match[2], count)
        if max(one, other) > count:
            return (max(one, other),)
        order[one - 1], order[other - 1] = other, one
        return tuple(order)
    if match := _MOVE.search(text) or _COME.search(text):
        return _moved(order, _position(match[1], count), match[2], match[3])
    if match := _MOVE_PLACE.search(text):
        what, where, beside = (match[1], match[2], match[3]) if match[1] else (match[4], match[5], match[6])
        moving = _playing(what, settings)
        if len(moving) != 1:
            return None
        anchor = _playing(beside, settings) if beside else []
        if beside and len(anchor) != 1:
            return None
        return _moved(order, moving[0], where, str(anchor[0]) if anchor else None)
    return None


def _position(words: str, count: int) -> int:
    return _rank(words.lower(), count) if re.fullmatch(_RANK, words, re.IGNORECASE) else _value(words)


def _moved(order: list[int], scene: int, where: str, beside: str | None) -> tuple[int, ...]:
    count = len(order)
    anchor = None if beside is None else _position(beside, count)
    if scene > count or (anchor or 0) > count:
        return (max(scene, anchor or 0),)
    rest = [one for one in order if one != scene]
    where = where.lower()
    if anchor is not None and anchor != scene:
        at = rest.index(anchor) + (0 if where.startswith(("before", "in front")) else 1)
    else:
        at = 0 if where in ("first", "start", "beginning", "front") else len(rest)
    return (*rest[:at], scene, *rest[at:])
