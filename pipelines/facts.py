"""Facts of a brief: what it says of brand, product, places, offer and so on, each with the words that say it.

Read once, before any agent writes (`pipelines.reading.brief_rules`, `pipelines.agents.brief_reader`). What the brief
does not say is None or empty, never invented. The owner's corrections (`FactEdits`) are applied on top.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.interfaces import Plain

Origin = Literal["prompt", "brand_name", "title", "reference", "owner", "model"]
MAX_PLACES = 6


class Source(Plain):
    """What says a fact."""

    origin: Origin
    """`prompt`, `brand_name`, `title`: the brief's field. `reference`: a picture of it. `owner`: a correction.
    `model`: the nearest thing that the models can draw, in place of one that they cannot."""
    start: int | None = None
    end: int | None = None
    """Of `prompt`: the characters `prompt[start:end]`."""
    reference_index: int | None = None


class Fact(Plain):
    value: str
    source: Source


class ProductFacts(Plain):
    """The one product of the ad."""

    name: Fact | None = None
    """The whole phrase, colour and material included: `teal steel water bottle`."""
    noun: Fact | None = None
    """What it is: `water bottle`."""
    colour: Fact | None = None
    material: Fact | None = None
    attributes: tuple[Fact, ...] = ()
    """Its other adjectives."""


class PlaceFact(Plain):
    place: Fact
    """With its preposition: `on the beach`."""
    time: Fact | None = None
    """Time of day, with its preposition: `in the evening`."""

    @property
    def setting(self) -> str:
        """Setting of the beats that play there."""
        return self.place.value if self.time is None else f"{self.place.value} {self.time.value}"


class OfferFact(Plain):
    """What is offered, in the brief's very words."""

    text: Fact
    price: Fact | None = None
    percentage: Fact | None = None


class BriefFacts(Plain):
    """Everything that an ad must get right."""

    product: ProductFacts = ProductFacts()
    brand: Fact | None = None
    claims: tuple[Fact, ...] = ()
    """What the product does, `keeps drinks cold all day`."""
    audience: Fact | None = None
    places: tuple[PlaceFact, ...] = ()
    """In the order in which the ad goes through them."""
    offer: OfferFact | None = None
    call_to_action: Fact | None = None
    avoid: tuple[Fact, ...] = ()
    """What must not be shown or said: `people`."""
    language: str = "en"
    """Of the brief, ISO 639-1."""

    def setting(self, index: int, count: int) -> str | None:
        """Setting of beat `index` (from 0) of `count`: the places in their order, spread evenly; None: left open."""
        if not self.places:
            return None
        return self.places[index * len(self.places) // count].setting


Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class PlaceEdit(Plain):
    place: Words
    time: Words | None = None


class FactEdits(Plain):
    """Corrections of the owner. What is None stays as it was read; an empty list takes the facts away."""

    brand: Words | None = None
    product: Words | None = None
    """The whole phrase; colour and material are read from it again."""
    colour: Words | None = None
    material: Words | None = None
    claims: Annotated[tuple[Words, ...], Field(max_length=5)] | None = None
    audience: Words | None = None
    places: Annotated[tuple[PlaceEdit, ...], Field(max_length=MAX_PLACES)] | None = None
    offer: Words | None = None
    call_to_action: Words | None = None
    avoid: Annotated[tuple[Words, ...], Field(max_length=10)] | None = None

    @property
    def given(self) -> bool:
        """Whether anything is corrected."""
        return any(getattr(self, name) is not None for name in type(self).model_fields)


def by_owner(value: str) -> Fact:
    return Fact(value=value, source=Source(origin="owner"))
