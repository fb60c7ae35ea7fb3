"""What an ad must say and must not, as rules find it in a brief: claims, audience, offer, call, things to avoid.

English only, but for numbers. Pure functions on text; each answer holds the characters that say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pipelines.facts import Fact, OfferFact, Source, by_owner
from pipelines.reading.vocabulary import AUDIENCES, CALL_VERBS, CLAIM_VERBS

Span = tuple[int, int]
"""First and last character of something that was found."""


def fact_at(text: str, start: int, end: int) -> Fact:
    """The fact that `text[start:end]` says, without the blanks and punctuation around it."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip(" \t\n,;:-–\"“”'‘("))
    end -= len(piece) - len(piece.rstrip(" \t\n,;:.!?-–\"“”'’)"))
    return Fact(value=" ".join(text[start:end].split()), source=Source(origin="prompt", start=start, end=end))


_CLAIM = re.compile(
    rf"(?:(?:\b[Ii]t|\b[Tt]hey|\bthat|\bwhich)\s+|(?:^|[.!]\s+)(?:[Tt]he\s+)?)(?P<verb>{'|'.join(sorted(CLAIM_VERBS))})\b"
    rf"(?P<rest>[^.;:!?\n,]*(?:,(?!\s)[^.;:!?\n,]*)*)",
    re.IGNORECASE,
)
_SUBJECT_CLAIM = re.compile(
    rf"(?:^|[.!]\s+)(?:the|our|an?)\s+(?:[\w’'-]+\s+){{1,5}}?(?P<verb>{'|'.join(sorted(CLAIM_VERBS))})\b(?P<rest>[^.;:!?\n,]*)",
    re.IGNORECASE,
)


_PLURAL_CLAIM = re.compile(
    r"\b(?:they|which|that)\s+(?P<verb>are|have|keep|hold|make|save|look|fit|feel|work|need|fold|come|last|give|bring|stay|"
    r"turn|let|protect|never|always|can|will|run|grip|support|cushion|carry|shine|glow|stand|survive|dry|breathe)\b"
    r"(?P<rest>[^.;:!?\n,]*)",
    re.IGNORECASE,
)


def claims_of(text: str, taken: list[Span]) -> Iterator[Fact]:
    seen: list[Span] = []
    for pattern in (_CLAIM, _SUBJECT_CLAIM, _PLURAL_CLAIM):
        for found in pattern.finditer(text):
            start, end = found.start("verb"), found.end()
            for other in taken:  # a place or an offer in it ends the claim
                if start < other[0] < end:
                    end = other[0]
            fact = fact_at(text, start, end)
            words = fact.value.split()
            if re.search(r"\b(?:mood|style|tone|look|music|ad|video|film|spot|light)\s+$", text[:start], re.IGNORECASE):
                continue
            if re.match(r"(?:is|are|can be)\s+(?:set|called|named|for|an?\s+ad|available|on sale)\b", fact.value, re.I):
                continue
            if words and words[-1].lower() in ("in", "on", "at", "for", "and", "only", "just", "from", "to", "with"):
                fact = fact_at(text, start, fact.source.start + fact.value.rfind(" ") if fact.source.start else end)
                words = fact.value.split()
            if fact.value.lower().startswith("can of "):
                continue  # a thing and no promise
            if not 2 <= len(words) <= 14 or overlaps((start, end), taken) or overlaps((start, end), seen):
                continue
            seen.append((start, end))
            yield fact


def audience_of(text: str) -> Fact | None:
    for found in re.finditer(
        r"\b(?:for|to|aimed at|targeting|loved by)\s+((?:[\w’'-]+\s+){0,3}?[\w’'-]+)"
        r"(?=[.,;:!?]|\s+(?:who|in|on|at|filmed|with|and)\b|$)",
        text,
        re.IGNORECASE,
    ):
        if found[1].split()[-1].lower() in AUDIENCES:
            return fact_at(text, *found.span(1))
    return None


_PRICE = r"(?:[$€£]\s?\d[\d.,]*\d|[$€£]\s?\d|\d[\d.,]*\s?(?:€|\$|£|euros?\b|dollars?\b|pounds?\b|USD\b|EUR\b|GBP\b))"
_PERCENT = r"\d+(?:[.,]\d+)?\s?(?:%|percent\b|per cent\b)"
_FREE = (
    r"(?:buy one,? get one(?: free)?|two for (?:the price of )?one|half price|free (?:shipping|delivery|trial|refills?|"
    r"returns|gift|sample|samples)|money[- ]back guarantee)"
)
_OFFER = re.compile(
    rf"(?:\b(?:now\s+)?(?:(?:only|just|save|get|up to|from|at|for)\s+){{0,3}})?(?:{_PERCENT}(?!\s+(?:cotton|wool|"
    rf"recycled|natural|organic|leather|steel|more|less|of\s+people|pure|vegan|waterproof))|{_PRICE}|{_FREE})"
    rf"[^.;:!?\n,]*?(?=[;:!?\n]|[.](?:\s|$)|,\s|\s+[-–—]\s|\s+and\s+(?:it|we|show|the)\b|\s+(?:at|on)\s+[\w-]+[.][a-z]|$)",
    re.IGNORECASE,
)


def offer_of(text: str, places: Sequence[int]) -> OfferFact | None:
    """What `text` offers; a place that begins within it, at one of the characters `places`, ends it."""
    for found in _OFFER.finditer(text):
        start, end = found.span()
        while more := re.match(r"\s*(?:,|and|plus|with|\+|&)\s+(?:and\s+|with\s+)?", text[end:]):
            further = _OFFER.match(text, end + more.end())
            if further is None:
                break
            end = further.end()  # `only $89.99, free shipping`
        end = min([end, *(place for place in places if start < place < end)])
        whole = fact_at(text, start, end)
        value = re.sub(r"^(?:for|at|from)\s+(?=only|just|now)", "", whole.value, flags=re.IGNORECASE)
        value = re.sub(r"^(?:for|at)\s+", "", value, flags=re.IGNORECASE)
        first = (whole.source.start or 0) + len(whole.value) - len(value)
        return as_offer(value, text, first)
    return None


def as_offer(value: str, text: str | None = None, start: int = 0) -> OfferFact:
    """`value` as an offer: of `text` from `start` on, or else the owner's own words."""

    def fact(found: re.Match[str] | None) -> Fact | None:
        if found is None:
            return None
        return (
            by_owner(found[0])
            if text is None
            else fact_at(value, *found.span()).model_copy(
                update={"source": Source(origin="prompt", start=start + found.start(), end=start + found.end())}
            )
        )

    source = Source(origin="owner") if text is None else Source(origin="prompt", start=start, end=start + len(value))
    return OfferFact(
        text=Fact(value=value, source=source),
        price=fact(re.search(_PRICE, value, re.IGNORECASE)),
        percentage=fact(re.search(_PERCENT, value, re.IGNORECASE)),
    )


_CALLED = (
    r"\b(?:call[- ]to[- ]action|cta)\s*(?:is|should be|:|=)?\s*[\"“'‘]?(?P<call>[^\n.\"”]+)",
    r"\b(?:end|ends|ending|close|closes|finish)\s+(?:it\s+)?(?:on|with|by saying)\s*:?\s*(?:the words\s+)?"
    r"[\"“‘](?P<call>[^\"”’\n]+)",
    r"\b(?:say|saying|says|slogan:?|tell (?:people|them) to)\s+[\"“‘](?P<call>[^\"”’\n]+)",
    r"\btell (?:people|them|viewers|everyone) to\s+(?P<call>[^.!\n]+)",
)


def call_of(text: str) -> Fact | None:
    for pattern in _CALLED:
        if found := re.search(pattern, text, re.IGNORECASE):
            return fact_at(text, *found.span("call"))
    verbs = "|".join(re.escape(verb) for verb in CALL_VERBS if verb not in ("make", "see", "give", "start", "meet"))
    for found in re.finditer(rf"(?<=[.!?])\s+(?P<call>(?:{verbs})\b[^.!?\n]*)", text, re.IGNORECASE):
        if len(found["call"].split()) <= 9 and re.search(
            r"\b(?:today|tonight|now|before|until|by|while|this|at|online|your|yours|one|it|us|in)\b|\.\w", found[0]
        ):
            end = found.end("call")
            if rest := re.match(r"\.[a-z]{2,}(?:/\S*)?", text[end:]):  # an address: `dew.com`
                end += rest.end()
            return fact_at(text, found.start("call"), end)
    return None


_AVOID = re.compile(
    r"(?:^|[.;,:!?(]\s*|\band\s+)(?:please\s+)?(?:no|without(?:\s+any)?|avoid(?:\s+any)?|never\s+(?:show|use|mention)|"
    r"(?:do\s+not|don[’']t)\s+(?:show|use|mention|include|put|say))\s+(?P<what>[^.;,:!?\n)]+)",
    re.IGNORECASE,
)


def avoided_by(text: str) -> Iterator[Fact]:
    for found in _AVOID.finditer(text):
        start = found.start("what")
        for piece in re.finditer(r"(?:(?!\s+(?:and|or)\s+).)+", found["what"]):
            value = re.sub(r"^\s*(?:and|or|no|any)\s+", "", piece[0])
            shift = len(piece[0]) - len(value)
            fact = fact_at(text, start + piece.start() + shift, start + piece.end())
            if 1 <= len(fact.value.split()) <= 5:
                yield fact


def spans(facts: Iterable[Fact]) -> list[Span]:
    """Where the brief says `facts`."""
    return [(one.source.start, one.source.end or 0) for one in facts if one.source.start is not None]


def overlaps(span: Span, others: list[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def within(fact: Fact, other: Fact | None) -> bool:
    if other is None or other.source.start is None or fact.source.start is None:
        return False
    return overlaps((fact.source.start, fact.source.end or 0), [(other.source.start, other.source.end or 0)])
