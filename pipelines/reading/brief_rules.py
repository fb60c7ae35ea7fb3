"""What rules find in a brief: product, brand, claims, places, times, offer and the like, each with its characters.

English only, but for names in quotes, numbers and the language itself. Pure functions on text. A rule that is not sure
finds nothing: then the brief reader asks the chat model (`pipelines.agents.brief_reader`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from pipelines.brief import Brief
from pipelines.facts import (
    MAX_PLACES,
    BriefFacts,
    Fact,
    FactEdits,
    PlaceFact,
    ProductFacts,
    Source,
    by_owner,
)
from pipelines.reading.language import language_of
from pipelines.reading.message_rules import (
    Span,
    as_offer,
    audience_of,
    avoided_by,
    call_of,
    claims_of,
    fact_at,
    offer_of,
    overlaps,
    spans,
    within,
)
from pipelines.reading.sanity import unknown_words
from pipelines.reading.vocabulary import (
    CLAIM_VERBS,
    COLOURS,
    FINISHES,
    MATERIALS,
    ON_PLACES,
    OTHER_PRODUCTS,
    PLACE_NOUNS,
    PLACE_PREPOSITIONS,
    TIMES,
    word_set,
)

_DETERMINER = r"(?:the|an?|our|my|your|their|this|these|some|its|his|her)"
_STOP = word_set(
    """
    in on at by for from to with that which who whose called named branded and or but is are was it its so where when
    while as into onto of until because if then than after before showing set filmed shot featuring during against among
    near inside under without no not only just now costs please ad ads advert advertisement commercial spot video film
    campaign plus via per we you they i here there every each all available through over around, made
    them how what why filled packed full designed built perfect him us people everyone
    """
)
_ADVERT = (
    r"(?:ads?|adverts?|advertisements?|commercials?|spots?|videos?|clips?|films?|promos?|campaigns?|trailers?|reels?|"
    r"teasers?|stor(?:y|ies))"
)
_SELLING = (
    r"(?:sell(?:s|ing)?|promot(?:e|es|ing)|advertis(?:e|es|ing)|introduc(?:e|es|ing)|launch(?:es|ing)?|present(?:s|ing)?|"
    r"market(?:ing)?|showcas(?:e|es|ing)|offer(?:s|ing)?|featur(?:e|es|ing)|make|makes|produce|design|meet|show off|"
    r"show|showing)"
)
_PRODUCT = (
    rf"\b{_ADVERT}\s+(?:that\s+)?(?:for|about|of|on|featuring|promoting|selling|advertising|introducing|showing|to "
    r"(?:sell|promote|launch))\s+",
    rf"\b(?:we|i|they)\s+(?:also\s+)?(?:are\s+|'re\s+|want to\s+|would like to\s+)?{_SELLING}\s+",
    rf"(?:^|[.!?]\s+)(?:please\s+)?(?:help (?:us|me) )?{_SELLING}\s+(?={_DETERMINER}\b|[\w-]+\s+[\w-]+)",
    rf"\b{_ADVERT}\b[^.!?]{{0,90}}?\bfor\s+(?:the|an?|our)\s+",
    r"\b(?:our|my)\s+",
)
"""What stands before the product, best first."""
_LEADING = word_set(
    """
    the a an our my your their this these some new brand-new brandnew latest own very first second next great best
    lovely favourite favorite finest all-new newest signature famous pair set line range collection of cool nice amazing
    awesome fantastic
    """
)
_COLOURED_FOOD = word_set("jar oil tea juice cheese tart marmalade sorbet")
"""Behind them a colour is none: `cream jar`, `orange juice`."""
_GENERIC = word_set(
    """
    product products thing things item items brand company business shop description concept idea story ad video
    something anything everything service customers clients client people website page channel mission vision prompt
    text test campaign season mood style message
    """
)
"""Words that stand where a product could and name none."""
_WORD = r"[\w’'&%-]+"


def read_brief(brief: Brief) -> BriefFacts:
    """The facts that rules find in `brief`."""
    text = brief.prompt
    language = language_of(text)
    avoid = tuple(avoided_by(text))
    offer = offer_of(text, [start for start, _, _ in _placed_phrases(text, [])])
    call = call_of(text)
    places = tuple(_places(text, spans(avoid) + spans((call,) if call else ())))[:MAX_PLACES]
    taken = spans(one.place for one in places) + spans(avoid)
    product = _product(text, brief.brand_name)
    brand = _brand(text, brief.brand_name, product)
    claims = tuple(claims_of(text, taken + spans((offer.text,) if offer else ()) + spans((call,) if call else ())))
    return BriefFacts(
        product=product,
        brand=brand,
        claims=claims[:2],
        audience=audience_of(text),
        places=tuple(one for one in places if not within(one.place, product.name)),
        offer=offer,
        call_to_action=call,
        avoid=avoid,
        language=language,
    )


def edited(facts: BriefFacts, edits: FactEdits) -> BriefFacts:
    """`facts` with the owner's corrections on top."""
    changes: dict[str, object] = {}
    for name in ("brand", "audience", "call_to_action"):
        if (value := getattr(edits, name)) is not None:
            changes[name] = by_owner(value)
    for name in ("claims", "avoid"):
        if (values := getattr(edits, name)) is not None:
            changes[name] = tuple(by_owner(value) for value in values)
    if edits.offer is not None:
        changes["offer"] = as_offer(edits.offer)
    if edits.places is not None:
        changes["places"] = tuple(
            PlaceFact(place=by_owner(_placed(one.place)), time=by_owner(_timed(one.time)) if one.time else None)
            for one in edits.places
        )
    if edits.product is not None or edits.colour is not None or edits.material is not None:
        changes["product"] = _edited_product(facts.product, edits)
    return facts.model_copy(update=changes)


# --- product --------------------------------------------------------------------------------------------------------


def product_named(phrase: str, source: Source) -> ProductFacts:
    """The facts of a product by its whole name, `teal steel water bottle`."""
    words = phrase.split()
    lower = [word.lower().strip(",") for word in words]
    colour = next((word for word, after in pairwise(lower) if word in COLOURS and after not in _COLOURED_FOOD), None)
    joined = " ".join(lower[:-1])
    material = next((two for two in FINISHES if two in joined), None)
    material = material or next((word for word in lower[:-1] if word in MATERIALS), None)
    spent = {colour, *(material or "").split()}
    rest = [word for word, low in zip(words, lower, strict=True) if low not in spent]

    def fact(value: str | None) -> Fact | None:
        return None if value is None else Fact(value=value, source=source)

    noun = " ".join(rest[-2:]) if len(rest) > 1 else " ".join(rest)
    return ProductFacts(
        name=fact(" ".join(words).replace(" ,", ",")),
        noun=fact(noun),
        colour=fact(colour),
        material=fact(material),
        attributes=tuple(Fact(value=word, source=source) for word in rest[:-2]),
    )


def _product(text: str, brand: str | None) -> ProductFacts:
    for pattern in _PRODUCT:
        for found in re.finditer(pattern, text, re.IGNORECASE):
            if phrase := _noun_phrase(text, found.end(), brand):
                return phrase
    named = re.match(rf"(?:{_DETERMINER}\s+)?", text, re.IGNORECASE)
    start = named.end() if named else 0
    return (
        _noun_phrase(text, start, brand, sure=start > 0)
        or _before_advert(text, brand)
        or _something_sold(text, brand)
        or ProductFacts()
    )


def _something_sold(text: str, brand: str | None) -> ProductFacts | None:
    """A thing that is usually sold, behind an article or an adjective: `… with a blue bottle`."""
    looks = "|".join(sorted(COLOURS | MATERIALS))
    sold = "|".join(sorted(OTHER_PRODUCTS))
    found = re.search(
        rf"\b(?:{_DETERMINER}\s+|(?=(?:{looks})\b))(?P<phrase>(?:[\w-]+\s+){{0,3}}?(?:{sold})s?)\b", text, re.IGNORECASE
    )
    return _noun_phrase(text, found.start("phrase"), brand) if found else None


def _before_advert(text: str, brand: str | None) -> ProductFacts | None:
    """`a steel bottle ad`."""
    found = re.search(rf"\b(?:an?|the|our)\s+((?:{_WORD}\s+){{1,4}}){_ADVERT}\b", text, re.IGNORECASE)
    return _noun_phrase(text, found.start(1), brand) if found else None


def _noun_phrase(text: str, start: int, brand: str | None, sure: bool = True) -> ProductFacts | None:
    """The product whose name begins at `start`; None for words that name none.

    `sure` False: only a phrase that ends on a thing that is sold, because nothing before it says that it is one.
    """
    words = _trimmed(_run_of_words(text, start), text, brand)
    if not words or (len(words) == 1 and words[0][0].lower() in _GENERIC):
        return None
    if not re.search("[a-zA-Z]{2}", words[-1][0]) or re.match(rf"\s*{_ADVERT}\b", text[words[-1][2] :], re.IGNORECASE):
        return None
    if not sure and words[-1][0].lower() not in OTHER_PRODUCTS:
        return None
    phrase = " ".join(word for word, _, _ in words)
    if re.fullmatch(r"[A-Z][\w’'&-]*", phrase) and phrase.lower() not in OTHER_PRODUCTS:
        return None  # one name, which says not what it is
    source = Source(origin="prompt", start=words[0][1], end=words[-1][2])
    named = product_named(phrase, source)
    after = _COLOUR_BEHIND.match(text[words[-1][2] :])
    if after and named.colour is None:
        look = (after["look"] or after["alone"]).lower()
        return product_named(f"{' '.join(look.split())} {phrase}", source)
    return named


_LOOK = rf"(?P<look>(?:(?:{'|'.join(sorted(MATERIALS))})\s+)?(?:{'|'.join(sorted(COLOURS))}))\b"
_COLOUR_BEHIND = re.compile(
    rf"(?:,?\s+in\s+{_LOOK}|(?:,\s+|\s*[(–—]\s*){_LOOK.replace('look', 'alone')}(?=\s*(?:[,.;:!?)–—]|$)))",
    re.IGNORECASE,
)
"""`a mug in white`, `a mug, matte white, for …`, `a mug (white)`."""
_Words = list[tuple[str, int, int]]
"""Words with their first and last character."""


def _run_of_words(text: str, start: int) -> _Words:
    """The words from `start` on up to the first that begins something else than a noun phrase."""
    words: _Words = []
    position = start
    while len(words) < 7 and (found := re.compile(rf"\s*({_WORD})").match(text, position)):
        word = found[1].lower()
        if word in _STOP and not (word == "of" and words and words[-1][0].lower() in _LEADING):
            break
        if words and word in CLAIM_VERBS and not (word == "can" and _ends_here(text, found.end())):
            break
        words.append((found[1], found.start(1), found.end(1)))
        position = found.end()
        if re.match(r"\s*[.;:!?(—–\n\"“”]", text[position:]) or re.match(r",\s", text[position:]):
            if text[position : position + 1] == "," and _adjective(found[1]) and len(words) < 4:
                position += 1
                continue
            break
    return words


def _trimmed(words: _Words, text: str, brand: str | None) -> _Words:
    """Without articles, praise and brand at the head, and without adverbs at the end."""
    while words and (words[0][0].lower() in _LEADING or (brand and words[0][0].lower() in brand.lower().split())):
        words.pop(0)
    while (
        len(words) > 1
        and re.fullmatch(r"[A-Z][a-z’'&]+", words[0][0])
        and (_mid_sentence(text, words[0][1]) or unknown_words(words[0][0]))
    ):
        words.pop(0)  # a brand before the noun: `the Nordal mug`
    if words and re.fullmatch(r"[A-Z][a-z’'&]+", words[0][0]):  # the head of a sentence
        words[0] = (words[0][0].lower(), *words[0][1:])
    while words and words[-1][0].lower() in {"today", "now", "online", "again", "together", "soon"}:
        words.pop()
    return words


def _ends_here(text: str, position: int) -> bool:
    """Whether a noun phrase may end at `position`: nothing follows, or a word that begins something else."""
    following = re.match(rf"\s*({_WORD})", text[position:])
    return following is None or following[1].lower() in _STOP or following[1].lower() in CLAIM_VERBS


def _mid_sentence(text: str, position: int) -> bool:
    return re.search(r"[\w,;]\s+$", text[:position]) is not None


def _adjective(word: str) -> bool:
    return word.lower() in COLOURS or word.lower() in MATERIALS


def _edited_product(product: ProductFacts, edits: FactEdits) -> ProductFacts:
    source = Source(origin="owner")
    name = edits.product or (product.name.value if product.name else "product")
    read = product_named(name, source)
    for wanted, old in ((edits.colour, read.colour), (edits.material, read.material)):
        if wanted is not None:
            name = name.replace(old.value, wanted) if old else f"{wanted} {name}"
    return product_named(name, source)


# --- brand ----------------------------------------------------------------------------------------------------------

_NAME = r"[A-Z0-9][\w’'&.+-]*(?:\s+(?:[A-Z0-9][\w’'&+-]*|&|of|and(?=\s+[A-Z]))){0,3}"
_BRANDED = (
    rf"\b(?:called|named|branded|under the name|brand name is|brand is|brand:|by the brand)\s+[\"“'‘«]?({_NAME})",
    rf"[\"“‘«]({_NAME})[\"”’»]",
    rf"\b(?:Introducing|Meet|Discover|This is)\s+({_NAME})(?=[,:])",
    rf"\b(?:by|from)\s+({_NAME})",
)
_NOT_BRANDS = word_set(
    """
    the a an it we i show make create no use our in on at for ad introducing
    meet discover promote sell launch instagram tiktok youtube
    """
)


def _brand(text: str, given: str | None, product: ProductFacts) -> Fact | None:
    if given and given.strip():
        return Fact(value=" ".join(given.split()), source=Source(origin="brand_name"))
    for pattern in _BRANDED:
        for found in re.finditer(pattern, text):
            start, end = found.span(1)
            name = re.split(r"(?<=\w)\.(?:\s|$)", found[1])[0]
            fact = fact_at(text, start, min(end, start + len(name)))
            if fact.value.split()[0].lower() not in _NOT_BRANDS and not re.fullmatch(r"\d+", fact.value):
                return fact
    if product.name is not None and product.name.source.start is not None:
        before = text[: product.name.source.start]
        named = re.search(rf"(?:^|[.!?]\s+|\b(?:[Tt]he|[Aa]n?|[Oo]ur|new|for)\s+)({_NAME})\s+$", before)
        if (
            named
            and named[1].split()[0].lower() not in _NOT_BRANDS
            and sum(letter.isupper() for letter in named[1].split()[0]) == 1
        ):
            return fact_at(text, *named.span(1))
    first = re.match(rf"({_NAME})(?:\s*[:–—]|\s+is\s+(?:an?|the|our)\b|,\s+(?:an?|the)\b)", text)
    if first and first[1].split()[0].lower() not in _NOT_BRANDS:
        return fact_at(text, *first.span(1))
    return None


# --- places ---------------------------------------------------------------------------------------------------------

_TIME = rf"(?:(?:early|late)\s+)?(?:{'|'.join(TIMES)})"
_TIMED = re.compile(rf"(?:\b(?:at|in|by|before|after|during)\s+(?:the\s+|an?\s+)?{_TIME}s?\b)", re.IGNORECASE)
_PREPOSITION = "|".join(re.escape(word) for word in PLACE_PREPOSITIONS)
_PLACED = re.compile(
    rf"\b(?P<prep>{_PREPOSITION})\s+(?P<noun>(?:(?:the|an?|our|my|your|their|its)\s+)?(?:[\w’'-]+\s+){{0,4}}?[\w’'-]+)\b",
    re.IGNORECASE,
)
_LISTED = re.compile(
    r"(?:\b(?:from|to|then|and|finally|first|setting:?|settings:?|places:?|locations?:?|scenes?:?|through)|[,;>→:])\s*"
    r"(?P<noun>(?:(?:the|an?)\s+)?(?:[\w’'-]+\s+){0,2}?[\w’'-]+)\b",
    re.IGNORECASE,
)


def _places(text: str, taken: list[Span]) -> Iterator[PlaceFact]:
    found = list(_placed_phrases(text, taken))
    if found or re.search(r"\bfrom\b|\bsetting|\bplaces?:|\blocations?:", text, re.IGNORECASE):
        found += list(_listed_phrases(text, taken + [(start, end) for start, end, _ in found]))
    found.sort()
    merged: list[tuple[int, int, str]] = []
    for start, end, phrase in found:
        before = merged[-1] if merged else None
        between = text[before[1] : start] if before else ""
        if before and not between.strip():  # `on the sand by the sea` is one place
            merged[-1] = (before[0], end, f"{before[2]} {phrase}")
        else:
            merged.append((start, end, phrase))
    times = [(m.start(), m.end()) for m in _TIMED.finditer(text)]
    for index, (start, end, phrase) in enumerate(merged):
        following = merged[index + 1][0] if index + 1 < len(merged) else len(text)
        previous = merged[index - 1][1] if index else 0
        yield PlaceFact(
            place=Fact(value=phrase, source=Source(origin="prompt", start=start, end=end)),
            time=_time_of(text, times, previous, start, end, following),
        )


def _time_of(text: str, times: list[Span], previous: int, start: int, end: int, following: int) -> Fact | None:
    """The time of day said of the place at `start:end`: right after it, right before it, or as its adjective."""
    for one in times:
        gap = text[end : one[0]]
        if end <= one[0] and one[1] <= following and not gap.strip(" ,"):
            return fact_at(text, *one)
    for one in times:
        gap = text[one[1] : start]
        if previous <= one[0] and one[1] <= start and not gap.strip(" ,"):
            return fact_at(text, *one)
    return None


def _placed_phrases(text: str, taken: list[Span]) -> Iterator[tuple[int, int, str]]:
    position = 0
    while found := _PLACED.search(text, position):
        end = _place_end(text, found.start("noun"))
        if end is None or overlaps((found.start(), end), taken):
            position = found.start() + len(found["prep"])
            continue
        yield found.start(), end, " ".join(text[found.start() : end].split())
        position = end


def _listed_phrases(text: str, taken: list[Span]) -> Iterator[tuple[int, int, str]]:
    """Places without a preposition, in a list: `from the kitchen to the beach`."""
    position = 0
    while found := _LISTED.search(text, position):
        start = found.start("noun")
        if found[0].lower().startswith("to") and not re.search(r"\bfrom\b", text[: found.start()], re.IGNORECASE):
            position = found.start() + 2  # `kind to the planet`
            continue
        end = _place_end(text, start)
        if end is None or overlaps((start, end), taken):
            position = found.start() + 1
            continue
        yield start, end, _placed(" ".join(text[start:end].split()))
        position = end


def _place_end(text: str, start: int) -> int | None:
    """Where the noun phrase from `start` ends, when it ends on a place; None: it is no place."""
    position, end, count = start, None, 0
    while count < 6 and (found := re.compile(r"[\s]*([\w’'-]+)").match(text, position)):
        word = found[1].lower()
        if word in ("every", "any", "each", "all", "your") or (word in _STOP and word not in ("of", "the", "a", "an")):
            break
        position, count = found.end(), count + 1
        if word in PLACE_NOUNS and word not in TIMES:
            end = position
        elif end is not None and word not in ("background", "by", "of"):
            break
        if re.match(r"\s*[,.;:!?()]", text[position:]):
            break
    return end


def _placed(phrase: str) -> str:
    """With a preposition: `in the kitchen`, `on the beach`."""
    if re.match(rf"(?:{_PREPOSITION})\b", phrase, re.IGNORECASE):
        return phrase
    if not re.match(rf"{_DETERMINER}\b", phrase, re.IGNORECASE):
        phrase = f"the {phrase}"
    return f"{'on' if phrase.split()[-1].lower() in ON_PLACES else 'in'} {phrase}"


def _timed(phrase: str) -> str:
    """With a preposition: `at night`, `in the morning`."""
    if re.match(r"(?:at|in|by|before|after|during)\b", phrase, re.IGNORECASE):
        return phrase
    word = phrase.lower().removeprefix("the ")
    return f"in the {word}" if word in ("morning", "afternoon", "evening", "daylight") else f"at {word}"
