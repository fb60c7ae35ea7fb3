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
    """Of `prompt`: the first character of the words, counted from 0."""
    end: int | None = None
    """Of `prompt`: the characters `prompt[start:end]`."""
    reference_index: int | None = None
    """Of `reference`: which picture, counted from 0."""


class Fact(Plain):
    """Something that the brief says, and what says it."""

    value: str
    """The words."""
    source: Source
    """Where they stand."""


class ProductFacts(Plain):
    """The one product of the ad."""

    name: Fact | None = None
    """The whole phrase, colour and material included: `teal steel water bottle`."""
    noun: Fact | None = None
    """What it is: `water bottle`."""
    colour: Fact | None = None
    """Its colour: `teal`."""
    material: Fact | None = None
    """What it is made of: `steel`."""
    attributes: tuple[Fact, ...] = ()
    """Its other adjectives."""


class PlaceFact(Plain):
    """A place of the ad that the brief names."""

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
    """The whole offer."""
    price: Fact | None = None
    """The price in it, with its currency."""
    percentage: Fact | None = None
    """The percentage in it: `20%`."""


class BriefFacts(Plain):
    """Everything that an ad must get right."""

    product: ProductFacts = ProductFacts()
    """What is advertised."""
    brand: Fact | None = None
    """Whose it is."""
    claims: tuple[Fact, ...] = ()
    """What the product does, `keeps drinks cold all day`."""
    audience: Fact | None = None
    """Whom the ad is for."""
    places: tuple[PlaceFact, ...] = ()
    """In the order in which the ad goes through them."""
    offer: OfferFact | None = None
    """What is offered."""
    call_to_action: Fact | None = None
    """What whoever sees the ad is asked to do."""
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
    """A place of the ad, as its owner corrects it."""

    place: Words
    """With its preposition: `on the beach`."""
    time: Words | None = None
    """Time of day, with its preposition: `in the evening`; null: any."""


class FactEdits(Plain):
    """Corrections of the owner. What is None stays as it was read; an empty list takes the facts away."""

    brand: Words | None = None
    """Whose product it is."""
    product: Words | None = None
    """The whole phrase; colour and material are read from it again."""
    colour: Words | None = None
    """Its colour."""
    material: Words | None = None
    """What it is made of."""
    claims: Annotated[tuple[Words, ...], Field(max_length=5)] | None = None
    """What the product does, at most five."""
    audience: Words | None = None
    """Whom the ad is for."""
    places: Annotated[tuple[PlaceEdit, ...], Field(max_length=MAX_PLACES)] | None = None
    """Where it plays, in the order in which the ad goes through them; at most six."""
    offer: Words | None = None
    """What is offered."""
    call_to_action: Words | None = None
    """What whoever sees the ad is asked to do."""
    avoid: Annotated[tuple[Words, ...], Field(max_length=10)] | None = None
    """What must not be shown or said, at most ten."""

    @property
    def given(self) -> bool:
        """Whether anything is corrected."""
        return any(getattr(self, name) is not None for name in type(self).model_fields)


def by_owner(value: str) -> Fact:
    return Fact(value=value, source=Source(origin="owner"))
