"""What the models of a profile can draw, and what becomes of a brief that asks for something else.

A family declares its domain in its description (`models.spec.Domain`); without one it is open and nothing is refused.
Pure functions on facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.interfaces import Plain
from models.spec import Domain
from pipelines.facts import BriefFacts, Fact, PlaceFact, Source
from pipelines.reading.brief_rules import product_named
from pipelines.reading.language import NAMES
from pipelines.reading.vocabulary import AUDIENCES, CALL_VERBS, COLOURS, MATERIALS, TIMES, word_set

_MODEL = Source(origin="model")
_WORDY = word_set(
    """
    a an the and or but if then than so of in on at by for from to with without into onto over under about as is are
    be was were it its this that these those my our your their we you they i he she me us them who which what when where
    how not no yes do does can will would could should have has had may might must please just very really too also
    ad ads advert advertisement advertising advertise commercial spot video videos clip film movie promo campaign teaser
    trailer reel short quick second seconds minute minutes sec long make makes create creates creating produce film
    shoot show shows showing shown write tell promote promoting sell selling need want like love give generate
    description concept idea brief prompt story text test testing test1 test2 hello hi world example sample something
    anything nice cool great best new good better beautiful amazing awesome fantastic modern fresh bold calm warm quiet
    playful elegant bright cosy cozy energetic minimal dreamy funny serious simple honest strong big small little
    product products thing things item items brand brands company business shop store client clients customer customers
    service services mood style tone look feel light colours colors bright pictures picture image images photo scene
    scenes music voice logo slogan title first last next one two three four five six ten all every everyone everybody
    day days today tomorrow week month year time now soon always never more most much many few some any other another
    here there up down out off call action buy get try go come see look watch people person man woman friends family
    instagram tiktok youtube facebook social media vertical horizontal viral high quality 4k hd cinematic professional
    launch launching our us sale deal offer generic whatever lorem ipsum foo bar baz abc xyz qwerty use using used
    keep kept start end begin ending with words word say says called named
    """
)
"""Words of a brief that name no product."""


class OutOfDomain(Plain):
    """Something that a brief asks for and the models cannot draw."""

    what: str
    """`product`, `colour`, `place`, `language`."""
    asked: str
    """In the brief's words."""
    instead: str
    """What is drawn instead when asked to go on."""
    possible: tuple[str, ...]

    @property
    def missing(self) -> str:
        return f"{self.what} {self.asked!r} (can be drawn: {', '.join(self.possible)})"


class Drawable(Plain):
    """A brief's facts as the models can draw them."""

    facts: BriefFacts
    missing: tuple[OutOfDomain, ...] = ()
    notes: tuple[str, ...] = ()
    """What was chosen because the brief leaves it open."""

    @property
    def warnings(self) -> tuple[str, ...]:
        told = (f"{one.what} {one.asked!r} cannot be drawn: {one.instead!r} is shown instead" for one in self.missing)
        return (*told, *self.notes)


def drawable(facts: BriefFacts, text: str, domain: Domain | None) -> Drawable:
    """`facts` of the brief `text` within `domain`, and what of them lies outside."""
    if domain is None:
        return Drawable(facts=facts)
    missing: list[OutOfDomain] = []
    notes: list[str] = []
    if facts.language not in domain.languages:
        names = tuple(NAMES.get(code, code) for code in domain.languages)
        asked = NAMES.get(facts.language, facts.language)
        missing.append(OutOfDomain(what="language", asked=asked, instead=names[0], possible=names))
        facts = facts.model_copy(update={"language": domain.languages[0]})
    facts = _product(facts, text, domain, missing, notes)
    places = [_place(one, domain, missing, [*facts.places]) for one in facts.places]
    facts = facts.model_copy(update={"places": tuple(places)})
    return Drawable(facts=facts, missing=tuple(missing), notes=tuple(notes))


def refusal(found: Drawable, model: str) -> str:
    """Why a brief is refused: what is missing, what can be drawn instead, and how to go on."""
    wanted = "; ".join(one.missing for one in found.missing)
    return (
        f"image model {model!r} cannot draw what the brief asks for: {wanted}; change the brief, choose a profile with "
        "other models (`--profile`, or ADMINT_PROFILE of the server), or go on with the nearest thing: `--anyway`, "
        "over HTTP `accept_out_of_domain: true`"
    )


def prompt_warnings(prompt: str, model: str, domain: Domain | None) -> tuple[str, ...]:
    """What is to be known of a single picture of `prompt`, which is drawn as well as it can be and never refused."""
    if domain is None or kind_of(prompt, domain.products) is not None:
        return ()
    possible = ", ".join(domain.products)
    return (f"model {model!r} draws {possible} and nothing else, and the prompt {prompt[:60]!r} names none of them",)


def kind_of(phrase: str, words: Mapping[str, tuple[str, ...]]) -> str | None:
    """The entry of `words` that `phrase` is a word for: by its last words first, else by any in it."""
    lower = re.sub(r"[^\w\s-]", "", phrase.lower())
    best: tuple[int, int, str] | None = None
    for kind, names in words.items():
        for name in names:
            found = [match.end() for match in re.finditer(rf"\b{re.escape(name)}(?:s|es)?\b", lower)]
            if found and (best is None or (max(found), len(name)) > best[:2]):
                best = (max(found), len(name), kind)
    return best[2] if best else None


def ends_on(phrase: str, words: Mapping[str, tuple[str, ...]]) -> str | None:
    """The entry of `words` that `phrase` ends on: `water bottle` is a bottle, `bottle opener` is none."""
    lower = re.sub(r"[^\w\s-]", "", phrase.lower()).strip()
    names = [(name, kind) for kind, several in words.items() for name in several]
    for name, kind in sorted(names, key=lambda one: -len(one[0])):
        if re.search(rf"(?:^|\s){re.escape(name)}(?:s|es)?$", lower):
            return kind
    return None


def _product(facts: BriefFacts, text: str, domain: Domain, missing: list[OutOfDomain], notes: list[str]) -> BriefFacts:
    product, default = facts.product, domain.default_product
    possible = tuple(domain.products)
    if product.name is None:
        if (strange := _strange_words(facts, text, domain)) is not None:
            missing.append(OutOfDomain(what="product", asked=strange, instead=default, possible=possible))
        else:
            notes.append(f"the brief names no product: a {default} is shown; name what the ad is for")
        return facts.model_copy(update={"product": product_named(default, _MODEL)})
    name = product.name.value
    if ends_on(name, domain.products) is None:
        missing.append(OutOfDomain(what="product", asked=name, instead=default, possible=possible))
        colour = product.colour.value if product.colour and product.colour.value in _all(domain.colours) else None
        product = product_named(f"{colour} {default}" if colour else default, _MODEL)
        return facts.model_copy(update={"product": product})
    if product.colour is not None and product.colour.value not in _all(domain.colours):
        asked = product.colour.value
        nearest = domain.nearest_colours.get(asked, next(iter(domain.colours)))
        missing.append(OutOfDomain(what="colour", asked=asked, instead=nearest, possible=tuple(domain.colours)))
        name = re.sub(rf"\b{re.escape(asked)}\b", nearest, name, flags=re.IGNORECASE)
        return facts.model_copy(update={"product": product_named(name, _MODEL)})
    return facts


def _place(place: PlaceFact, domain: Domain, missing: list[OutOfDomain], others: list[PlaceFact]) -> PlaceFact:
    if kind_of(place.place.value, domain.settings) is not None:
        return place
    taken = {kind_of(one.place.value, domain.settings) for one in others}
    kind = next((one for one in domain.settings if one not in taken), next(iter(domain.settings)))
    instead = domain.settings_as_said[kind]
    missing.append(OutOfDomain(what="place", asked=place.place.value, instead=instead, possible=tuple(domain.settings)))
    return place.model_copy(update={"place": Fact(value=instead, source=_MODEL)})


def _strange_words(facts: BriefFacts, text: str, domain: Domain) -> str | None:
    """What a brief without a known product may be about, in its own words; None: it says nothing of a product."""
    for fact in (facts.brand, facts.audience, facts.call_to_action, *facts.avoid, *(one.place for one in facts.places)):
        if fact is not None:
            text = text.replace(fact.value, " ")
    if facts.offer is not None:
        text = text.replace(facts.offer.text.value, " ")
    known = _WORDY | COLOURS | MATERIALS | AUDIENCES | set(CALL_VERBS) | set(TIMES)
    known |= {word for name in _all(domain.settings) for word in name.split()}
    left = [word for word in re.findall(r"[^\W\d_][\w’'-]*", text) if word.lower() not in known and len(word) > 2]
    return " ".join(left[:4]) if left else None


def _all(words: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {name for names in words.values() for name in names} | set(words)
