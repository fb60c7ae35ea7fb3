"""The brief reader: fills what the rules left open of a brief's facts, choosing among the brief's own phrases.

Its schema offers nothing else, so that it can leave a fact open and cannot invent one. The look of the product is the
one thing that it words itself; a look that contradicts the facts is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from pipelines.agents.conversation import Answer, Phrase, Question, schema_of
from pipelines.agents.prompting import brief_lines
from pipelines.brief import Brief
from pipelines.facts import BriefFacts, Fact, PlaceFact
from pipelines.reading.brief_rules import product_named
from pipelines.reading.message_rules import fact_at
from pipelines.reading.vocabulary import word_set
from pipelines.steps import Json

SYSTEM = (
    "You read the brief of a video ad. Name the product that it sells, in the brief's own words, and "
    "describe its look in one noun phrase of at most 15 words, adding nothing that the brief contradicts. "
    "List the places that the brief names, in their order, none when it names none. Answer in JSON."
)
MAX_PHRASES = 60
"""Offered for one fact; a longer list is of no use to a small model."""
_EDGES = word_set("a an the and or of in on at by for from to with is are it its our we that which as")


class ReadBrief(Answer):
    """The product as the brief has it, and what else it says. None, or nothing, where the brief says nothing."""

    name: Phrase | None
    description: Phrase
    places: Annotated[tuple[Phrase, ...], Field(max_length=6)] = ()
    claims: Annotated[tuple[Phrase, ...], Field(max_length=2)] = ()
    audience: Phrase | None = None

    def text(self) -> str:
        where = f" Places: {', '.join(self.places)}." if self.places else ""
        return f"The product is {self.name or 'not named'}: {self.description}.{where}"


def product_question(brief: Brief, facts: BriefFacts, seed: int) -> Question:
    """Question for what `facts`, found by rules, leave open of the brief, and for the look of its product."""
    return Question(
        agent="director",
        system=SYSTEM,
        user=brief_lines(brief, facts.brand.value if facts.brand else None),
        json_schema=_schema(brief, facts),
        seed=seed,
    )


def completed(facts: BriefFacts, answer: ReadBrief, brief: Brief) -> BriefFacts:
    """`facts` with what the reader found in the brief; what is not in it is not taken."""
    text, changes = brief.prompt, dict[str, object]()
    if facts.product.name is None and answer.name is not None and (found := _quoted(text, answer.name)) is not None:
        changes["product"] = product_named(found.value, found.source)
    if not facts.places:
        places = [_quoted(text, place) for place in answer.places]
        changes["places"] = tuple(PlaceFact(place=place) for place in places if place is not None)
    if not facts.claims:
        claims = [_quoted(text, claim) for claim in answer.claims]
        changes["claims"] = tuple(claim for claim in claims if claim is not None)
    if facts.audience is None and answer.audience is not None:
        changes["audience"] = _quoted(text, answer.audience)
    return facts.model_copy(update=changes)


def _schema(brief: Brief, facts: BriefFacts) -> Json:
    schema = schema_of(ReadBrief)
    properties: dict[str, Any] = schema["properties"]
    left = _left_open(brief.prompt, facts)
    name = facts.product.name
    properties["name"] = {"const": name.value} if name else _one_of(_noun_phrases(left))
    settings = [one.setting for one in facts.places]
    properties["places"] = _all_of(settings) if settings else _some_of(_placed(left), 3)
    clauses = _clauses(left)
    for field, offered in (("claims", _some_of(clauses, 2)), ("audience", _one_of(clauses))):
        if getattr(facts, field) or not clauses or name is None:
            del properties[field]
        else:
            properties[field] = offered
    schema["required"] = list(properties)
    return schema


def _one_of(phrases: Sequence[str]) -> Json:
    if not phrases:
        return {"type": "null"}
    return {"anyOf": [{"type": "string", "enum": list(phrases)}, {"type": "null"}]}


def _some_of(phrases: Sequence[str], most: int) -> Json:
    if not phrases:
        return {"type": "array", "items": {"type": "string", "maxLength": 80}, "maxItems": 0}
    return {"type": "array", "items": {"type": "string", "enum": list(phrases)}, "maxItems": most}


def _all_of(values: Sequence[str]) -> Json:
    """Exactly these, in their order."""
    return {
        "type": "array",
        "prefixItems": [{"const": value} for value in values],
        "items": {"type": "string", "enum": list(dict.fromkeys(values))},
        "minItems": len(values),
        "maxItems": len(values),
    }


def _left_open(text: str, facts: BriefFacts) -> list[str]:
    """The pieces of the brief that say no fact yet."""
    found = [facts.product.name, facts.brand, facts.audience, facts.call_to_action, *facts.claims, *facts.avoid]
    for one in facts.places:
        found += [one.place, one.time]
    if facts.offer is not None:
        found.append(facts.offer.text)
    characters = list(text)
    for fact in found:
        if fact is not None and fact.source.start is not None:
            characters[fact.source.start : fact.source.end] = "\n" * ((fact.source.end or 0) - fact.source.start)
    return [
        piece.strip(" -–\"'“”") for piece in re.split(r"[\n.;:!?,()]+|\s[-–—]\s", "".join(characters)) if piece.strip()
    ]


def _clauses(pieces: Sequence[str]) -> list[str]:
    """Whole pieces of two to ten words that say more than what kind of text it is."""
    dull = re.compile(r"^(?:an?\s+)?(?:\w+\s+){0,3}(?:ads?|videos?|spots?|commercials?|film)\b", re.IGNORECASE)
    found = [
        " ".join(piece.split()) for piece in pieces if 3 <= len(piece.split()) <= 10 and not dull.match(piece.strip())
    ]
    return [one for one in dict.fromkeys(found) if len(one) <= 80][:12]


def _noun_phrases(pieces: Sequence[str]) -> list[str]:
    """Runs of up to four words without an empty word at either edge, longest first within a piece."""
    found: list[str] = []
    for piece in pieces:
        words = piece.split()
        for size in (4, 3, 2, 1):
            for start in range(len(words) - size + 1):
                run = words[start : start + size]
                if run[0].lower() not in _EDGES and run[-1].lower() not in _EDGES and len(" ".join(run)) <= 80:
                    found.append(" ".join(run))
    return list(dict.fromkeys(found))[:MAX_PHRASES]


def _placed(pieces: Sequence[str]) -> list[str]:
    """Runs that begin with a preposition of place."""
    found: list[str] = []
    for piece in pieces:
        for match in re.finditer(
            r"\b(?:in|on|at|by|near|inside|under|before|among|behind|through|over)\s", piece, re.I
        ):
            words = piece[match.start() :].split()
            found += [" ".join(words[:size]) for size in (2, 3, 4, 5) if size <= len(words)]
    return [one for one in dict.fromkeys(found) if len(one) <= 80][:MAX_PHRASES]


def _quoted(text: str, phrase: str) -> Fact | None:
    """`phrase` where the brief says it; None when it does not."""
    found = re.search(r"\s+".join(re.escape(word) for word in phrase.split()), text, re.IGNORECASE)
    return fact_at(text, *found.span()) if found else None
