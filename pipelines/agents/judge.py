"""The judge of facts: what of a brief's facts a draft breaks, each as a sentence that says what to change.

No opinion and no model: a draft that breaks a fact which matters to the recipe is not approved, whatever its score.
Pure functions on words. What it cannot tell (humour, beauty) it leaves to the critics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from pipelines.agents.facts import calls_to_action, head_noun, keeps_event, says
from pipelines.brief import Brief
from pipelines.facts import BriefFacts, Fact
from pipelines.reading.language import NAMES, language_of
from pipelines.reading.sanity import unknown_words
from pipelines.reading.vocabulary import CALL_VERBS, COLOURS, MATERIALS, OTHER_PRODUCTS, PEOPLE, word_set
from pipelines.recipe import FactName
from pipelines.screenplay import Beat, BrokenFact, Critique, Entity, Premise, SceneDraft, Story

WORDS_AT_ONCE, WORDS_PER_SECOND = 8, 4.5
"""What one shot can show: so many words of an event, and so many more for every second that it lasts."""
SAME_EVENT = 0.75
"""Share of the words of two events from which on they are one event told twice."""

_SAME_COLOUR = (
    {"red", "crimson", "scarlet"}, {"teal", "turquoise", "cyan"}, {"purple", "violet", "lilac"}, {"grey", "gray"},
    {"yellow", "golden", "gold"}, {"blue", "navy"}, {"green", "emerald"}, {"white", "ivory", "cream"},
)  # fmt: skip
_SAME_MATERIAL = (
    {"steel", "stainless", "metal", "metallic", "brushed", "aluminium", "aluminum", "titanium"},
    {"wooden", "wood", "bamboo"}, {"matte", "matt"}, {"glossy", "shiny", "polished"},
    {"leather", "suede"}, {"ceramic", "porcelain"}, {"cotton", "linen", "wool", "canvas", "denim"},
    {"glass"}, {"plastic", "silicone", "rubber"}, {"paper", "cardboard"}, {"stone", "marble", "concrete"},
)  # fmt: skip
_FINISH = {"matte", "matt", "glossy", "shiny", "polished"}
_SCENERY = (
    {"beach", "shore", "seaside", "seashore", "sea", "ocean", "coast"}, {"forest", "woods", "jungle", "rainforest"},
    {"desert", "dunes"}, {"snow", "mountain", "mountains", "glacier", "summit", "mountaintop"},
    {"city", "street", "streets", "skyline", "downtown"}, {"kitchen"}, {"bathroom"}, {"bedroom"}, {"office"}, {"gym"},
    {"studio"}, {"park", "garden", "meadow"}, {"cafe", "café", "restaurant", "bar"}, {"lake", "river"}, {"stadium"},
    {"airport"}, {"library"}, {"classroom", "school"}, {"market"}, {"train", "subway"}, {"farm", "barn", "vineyard"},
    {"moon", "space", "mars"}, {"supermarket", "store", "mall"}, {"hospital", "clinic"}, {"rooftop", "balcony"},
)  # fmt: skip
"""Sceneries that exclude each other, each by its words."""
_HOURS = (
    {"morning", "dawn", "sunrise", "daybreak"}, {"noon", "midday", "afternoon", "lunchtime"},
    {"evening", "sunset", "dusk", "twilight"}, {"night", "midnight", "nightfall"},
)  # fmt: skip
_PREPOSITIONS = r"(?:in|on|at|by|to|into|onto|through|across|near|over|under|along|inside)"
_MONEY = (
    r"(?:[$€£]\s?\d[\d.,]*\d|[$€£]\s?\d|\d[\d.,]*\s?(?:€|\$|£|euros?\b|dollars?\b|pounds?\b)|"
    r"\d+(?:[.,]\d+)?\s?(?:%|percent\b))"
)
_HEADS = word_set("now then here there today tonight finally suddenly inside outside somewhere slowly the a an it")
"""Words that head a sentence before a comma, and are no name."""
_AMBIGUOUS = word_set("can watch pan glass pot ring box bag pen")
"""Words for things that mean something else without an article or an adjective before them."""


def judge_story(
    story: Story,
    premise: Premise,
    brief: Brief,
    seconds: Sequence[float],
    wish: str | None = None,
    previous: Story | None = None,
) -> tuple[BrokenFact, ...]:
    """The facts that `story` breaks, the gravest first; `seconds` of each beat, `wish` what its owner wants changed."""
    facts, product = premise.facts, premise.entities[0]
    last = len(story.beats)
    told = [*_whole_story(story, premise, brief)]
    for number, (beat, length) in enumerate(zip(story.beats, seconds, strict=True), start=1):
        where = f" in beat {number}"
        told += _in_text(beat.event, product, premise, brief, where)
        told += _setting(beat, facts.setting(number - 1, last), number)
        told += _scenery(beat.event, beat.setting, where)
        told += _length(beat.event, length, where)
    told += _repeated(story, product)
    told += _wish(story, wish, previous)
    return tuple(dict.fromkeys(told))


def judge_scene(
    draft: SceneDraft, beat: Beat, premise: Premise, brief: Brief, seconds: float, call_to_action: str | None
) -> tuple[BrokenFact, ...]:
    """The facts that a scene breaks, against its own beat; `call_to_action` only for the last scene."""
    product = premise.entities[0]
    told = list(_in_text(draft.action, product, premise, brief, ""))
    if draft.setting.lower() != beat.setting.lower():
        told.append(_broken("place", f"Set the scene {beat.setting}."))
    told += _scenery(draft.action, beat.setting, "")
    if not keeps_event(draft, beat, product):
        told.append(_broken("event", f"Keep the beat's event: {_main(beat.event)}."))
    if product.handle not in draft.entities:
        told.append(_broken("product", f"Show the {product.name}: list its handle {product.handle!r}."))
    told += _length(draft.action, seconds, "")
    told += _avoided(f"{draft.setting} {draft.action}", premise.facts, "")
    told += _language(draft.action, premise.facts)
    if call_to_action is not None:
        told += _closing(draft.action, call_to_action, premise, "the scene")
    return tuple(dict.fromkeys(told))


def changed_plan(plain: str, richer: str, product: Entity) -> str | None:
    """What an enhancer changed of the plan in `plain`: a reason to ask again; None: everything is still there."""
    before, after = _words(plain), _words(richer)
    for kind, words in (("colour", COLOURS), ("material", MATERIALS)):
        if lost := sorted((before & words) - after):
            return f"the {kind} {lost[0]!r} of the prompt is gone: keep it"
    if not _names(richer, product):
        return f"the {head_noun(product.name)} of the prompt is gone: keep it"
    if stray := next(_wrong_looks(richer, product, plain), None):
        return f"{stray!r} is another look than the prompt's: keep the product as it is"
    if other := next(_other_products(richer, product, plain, everywhere=True), None):
        return f"{other!r} is not in the prompt: leave it out"
    return _moved(before, after)


def _moved(before: set[str], after: set[str]) -> str | None:
    """What of place and time of day differs between the words of two prompts."""
    for scenery in _SCENERY:
        if (before & scenery) and not (after & scenery):
            return f"the place {sorted(before & scenery)[0]!r} of the prompt is gone: keep it"
        if (found := sorted(after & scenery)) and not (before & scenery):
            return f"{found[0]!r} is another place than the prompt's: leave it out"
    for hour in _HOURS:
        if (found := sorted(after & hour)) and not (before & hour) and any(before & other for other in _HOURS):
            return f"{found[0]!r} is another time of day than the prompt's: leave it out"
    return None


def look_of(name: str, look: str) -> str | None:
    """`look` as a description of the product `name`; None when it is that of something else.

    A look that does not say what it shows is led by the name.
    """
    product = Entity(handle="product", role="product", name=name, description=name)
    words = _words(name)
    if not _names(look, product):
        others = {word.rstrip("s") for word in _words(look)} & OTHER_PRODUCTS
        if others or (
            words & COLOURS and _words(look) & COLOURS - set().union(*(_same(w, _SAME_COLOUR) for w in words))
        ):
            return None
        return f"{name}, {look}"[:80]
    said = set(_said_of(look, head_noun(name)))
    for kind, groups in ((COLOURS, _SAME_COLOUR), (MATERIALS - _FINISH, _SAME_MATERIAL)):
        if wanted := words & kind:
            right = set().union(*(_same(word, groups) for word in wanted))
            if said & kind - right:
                return None
            if not said & right:
                first, _, rest = look.partition(" ")
                missing = sorted(wanted)[0]
                look = f"{first} {missing} {rest}" if first.lower() in COLOURS and rest else f"{missing} {look}"
    return look


def coloured(name: str, look: str) -> str:
    """`name` in the colour of `look`, where it has none of its own."""
    colour = next((word for word in re.findall(r"\w+", look.lower()) if word in COLOURS), None)
    return name if colour is None or _words(name) & COLOURS else f"{colour} {name}"


def judged(
    critique: Critique, broken: Sequence[BrokenFact], matters: Sequence[FactName], approve_at: float
) -> Critique:
    """`critique` after the facts had their say: a broken fact that matters forbids approval and caps the score.

    The cap lies 1 under the approval for the first broken fact and 8 lower for each further one.
    """
    against = [one for one in broken if one.fact in matters]
    if not against:
        return critique
    cap = max(approve_at - 1 - 8 * (len(against) - 1), 5.0)
    fixes = dict.fromkeys((*(one.fix for one in against), *critique.priority_fixes))
    return critique.model_copy(
        update={
            "approval_status": "needs_revision",
            "overall_score": min(critique.overall_score, cap),
            "priority_fixes": tuple(fixes),
        }
    )


# --- the whole story -------------------------------------------------------------------------------------------------


def _whole_story(story: Story, premise: Premise, brief: Brief) -> Iterator[BrokenFact]:
    facts, product = premise.facts, premise.entities[0]
    everything = " ".join([story.title, *(beat.event for beat in story.beats), story.call_to_action])
    colour = facts.product.colour
    if colour and not any(_of(word, everything) for word in _same(colour.value, _SAME_COLOUR)):
        yield _broken("colour", f"Say that the {head_noun(product.name)} is {colour.value}.")
    material = facts.product.material
    if material and not any(
        _of(word, everything) for piece in material.value.split() for word in _same(piece, _SAME_MATERIAL)
    ):
        yield _broken("material", f"Say that the {head_noun(product.name)} is {material.value}.")
    if facts.brand and not _of(facts.brand.value, everything):
        yield _broken("brand", f"Name the brand {facts.brand.value!r}.")
    elif facts.brand and not facts.call_to_action and not _of(facts.brand.value, story.call_to_action):
        yield _broken("brand", f"Name the brand {facts.brand.value!r} in the call to action.")
    for claim in facts.claims:
        if not _claimed(claim, everything):
            yield _broken("claim", f"Say that the {head_noun(product.name)} {claim.value}.")
    yield from _closing(story.beats[-1].event, story.call_to_action, premise, f"beat {len(story.beats)}")
    yield from _language(everything, facts)
    settings = " ".join(beat.setting for beat in story.beats)
    yield from _avoided(f"{everything} {settings}", facts, "")
    yield from _in_text(story.title, product, premise, brief, " in the title", named=False)
    yield from _in_text(story.call_to_action, product, premise, brief, " in the call to action", named=False)


def _closing(ending: str, call_to_action: str, premise: Premise, where: str) -> Iterator[BrokenFact]:
    """Call to action and offer, in the last words of the ad."""
    facts, product = premise.facts, premise.entities[0]
    if facts.call_to_action and not _same_words(facts.call_to_action.value, ending):
        yield _broken("call_to_action", f"End {where} with the call to action {facts.call_to_action.value!r}.")
    elif not facts.call_to_action and not calls_to_action(ending):
        yield _broken("call_to_action", f"End {where} with: {call_to_action}.")
    named = facts.brand.value if facts.brand else product.name
    said = _names(call_to_action, product) or (facts.brand is not None and _of(facts.brand.value, call_to_action))
    if not said and not (facts.call_to_action and _same_words(facts.call_to_action.value, call_to_action)):
        yield _broken("call_to_action", f"Name {named} in the call to action.")
    if facts.brand and not _of(facts.brand.value, ending):
        yield _broken("brand", f"Name the brand {facts.brand.value!r} in {where}.")
    if facts.offer and not _offered(facts.offer.text.value, ending):
        yield _broken("offer", f"Say the offer in {where}, exactly: {facts.offer.text.value}.")


def _setting(beat: Beat, wanted: str | None, number: int) -> Iterator[BrokenFact]:
    if wanted is not None and beat.setting.lower() != wanted.lower():
        yield _broken("place", f"Set beat {number} {wanted}.")


def _repeated(story: Story, product: Entity) -> Iterator[BrokenFact]:
    spent = _words(product.name) | {"the", "and", "with", "its", "as", "it"}
    events = [_words(_main(beat.event)) - spent for beat in story.beats]
    for (one, before), (two, after) in combinations(enumerate(events, start=1), 2):
        smaller = min(len(before), len(after))
        if before == after or (smaller > 2 and len(before & after) >= SAME_EVENT * max(len(before), len(after))):
            yield _broken("repetition", f"Change the event of beat {two}: it repeats beat {one}.")


def _wish(story: Story, wish: str | None, previous: Story | None) -> Iterator[BrokenFact]:
    """What a revision ignored of its owner's words, as far as words can tell."""
    if wish is None or previous is None:
        return
    if story == previous:
        yield _broken("feedback", f"Change the draft as asked: {wish[:80]}")
        return
    told = " ".join([story.title, story.call_to_action, *(f"{one.setting} {one.event}" for one in story.beats)])
    before = " ".join(one.event for one in previous.beats)
    now = " ".join(one.event for one in story.beats)
    if re.search(r"\b(?:shorter|fewer words|less text|more concise|brief(?:er)?)\b", wish, re.I) and len(
        now.split()
    ) >= len(before.split()):
        yield _broken("feedback", "Use fewer words than the draft before: its owner asked for a shorter one.")
    for found in re.finditer(r"\b(?:no|without|remove|drop|leave out)\s+(?:the\s+|any\s+)?([\w’'-]+)", wish, re.I):
        if _of(found[1], told):
            yield _broken("feedback", f"Leave out {found[1]!r}, as its owner asked.")
    for found in re.finditer(r"\b(?:say|mention|add|include)\s+[\"“'‘]([^\"”’']+)[\"”’']", wish, re.I):
        if not _of(found[1], told):
            yield _broken("feedback", f"Say {found[1]!r}, as its owner asked.")
    for words in (*_HOURS, *_SCENERY):
        asked = sorted(word for word in words if _of(word, wish))
        if asked and not re.search(r"\b(?:no|not|instead of|without)\b", wish, re.I) and not _words(told) & words:
            yield _broken("feedback", f"Bring in {asked[0]!r}, as its owner asked.")


# --- one text --------------------------------------------------------------------------------------------------------


def _in_text(
    text: str, product: Entity, premise: Premise, brief: Brief, where: str, named: bool = True
) -> Iterator[BrokenFact]:
    """What one text says wrong of the product; `named`: it must name it."""
    known = " ".join([brief.prompt, brief.title or "", *(f"{one.name} {one.description}" for one in premise.entities)])
    if named and not _names(text, product):
        yield _broken("product", f"Name the {product.name}{where}.")
    look = f"{product.name} {product.description}"
    for stray in _wrong_looks(text, product, look):
        yield _broken("colour", f"The {head_noun(product.name)} is not {stray}{where}: it is the {product.name}.")
    for other in _other_products(text, product, known):
        yield _broken("other_product", f"Take out the {other}{where}: the ad sells the {product.name}.")
    for name in _new_names(text, product, f"{known} {premise.facts.brand.value if premise.facts.brand else ''}"):
        yield _broken("other_product", f"Take out the name {name!r}{where}: the product is the {product.name}.")
    for number in re.findall(_MONEY, text):
        if _number(number) not in {_number(one) for one in re.findall(_MONEY, _offers(premise.facts, known))}:
            yield _broken("offer", f"Take out {number!r}{where}: the brief says no such number.")


def _wrong_looks(text: str, product: Entity, look: str) -> Iterator[str]:
    """Colours and materials said of the product that are not those of `look`."""
    own = _words(look)
    for kind, groups in ((COLOURS, _SAME_COLOUR), (MATERIALS, _SAME_MATERIAL)):
        right = set().union(*(_same(word, groups) for word in own & kind)) if own & kind else set()
        if not right and kind is MATERIALS:
            right = set(_FINISH)
        if right and kind is MATERIALS and not right & _FINISH:
            right |= _FINISH  # a steel bottle may shine
        for word in _said_of(text, head_noun(product.name)):
            if word in kind and word not in right and (right or kind is COLOURS):
                yield word


def _said_of(text: str, noun: str) -> Iterator[str]:
    """The adjectives of `noun` in `text`: before it, or after `is`."""
    lower = text.lower()
    for found in re.finditer(
        rf"((?:[\w-]+,?\s+){{0,4}}){re.escape(noun.lower())}(?:s|es)?\b(?:\s+(?:is|are|turns|looks|becomes|in)\s+(\w+))?",
        lower,
    ):
        before: list[str] = []
        for word in reversed(re.findall(r"[\w-]+", found[1])):
            if word in {"the", "a", "an", "of", "in", "on", "and", "with", "as", "behind", "to", "by", "at", "its"}:
                break
            before.append(word)
        yield from before
        if found[2]:
            yield found[2]


def _other_products(text: str, product: Entity, known: str, everywhere: bool = False) -> Iterator[str]:
    """Things that are sold and that neither the product nor the brief names, where the text shows or offers them."""
    spent = {word.rstrip("s") for word in _words(f"{known} {product.name}")}
    looks = "|".join(sorted(COLOURS | MATERIALS))
    things = "|".join(sorted(OTHER_PRODUCTS, key=len, reverse=True))
    verbs = "|".join(re.escape(verb) for verb in CALL_VERBS)
    clear = "|".join(sorted(OTHER_PRODUCTS - _AMBIGUOUS, key=len, reverse=True))
    patterns = [
        rf"(?:^|[.:!;]\s+|\b(?:{verbs})\s+)(?:(?:the|your|an?|our|this|new)\s+)+(?:[\w-]+\s+){{0,3}}?({clear})s?\b",
        rf"(?:^|[.:!;]\s+|\b(?:{verbs})\s+)(?:(?:the|your|an?|our|this|new)\s+)+({things})\b(?!\s+\w+s\s+the\b)",
        rf"\b(?:{looks})\s+({things})s?\b",
    ]
    if everywhere:
        patterns.append(rf"\b(?:an?|the|two|three)\s+(?:[\w-]+\s+){{0,2}}?({clear})s?\b")
    for pattern in patterns:
        for found in re.finditer(pattern, text, re.IGNORECASE):
            if found[1].lower().rstrip("s") not in spent:
                yield found[1].lower()


def _new_names(text: str, product: Entity, known: str) -> Iterator[str]:
    """Capitalised names where a brand or product stands, which nobody gave it."""
    noun = re.escape(head_noun(product.name))
    for found in re.finditer(rf"\b((?:[A-Z][\w’'-]+\s+){{1,3}})(?:[a-z][\w-]*\s+){{0,3}}{noun}", text):
        for name in found[1].split():
            if not _of(name, known) and unknown_words(name, known):
                yield name
    verbs = "|".join(verb.capitalize() for verb in CALL_VERBS)
    for found in re.finditer(
        rf"(?:^|[.:!]\s+)([A-Z][\w’'-]+),\s+the\b|\b(?:This is|called|named|(?:{verbs})(?:\s+your)?)\s+([A-Z][\w’'-]+)",
        text,
    ):
        name = found[1] or found[2]
        if not _of(name, known) and not _of(name, product.name) and name.lower() not in _HEADS:
            yield name


def _scenery(text: str, setting: str, where: str) -> Iterator[BrokenFact]:
    """Another place or time of day than the beat's own."""
    own = _words(setting)
    for scenery in _SCENERY:
        if scenery & own:
            continue
        words = "|".join(sorted(scenery))
        if found := re.search(rf"\b{_PREPOSITIONS}\s+(?:the|an?|its)?\s*(?:\w+\s+)?({words})\b", text, re.IGNORECASE):
            yield _broken("place", f"Stay {setting}{where}: {found[1]!r} is another place.")
    if any(hour & own for hour in _HOURS):
        for hour in _HOURS:
            words = "|".join(sorted(hour))
            found = re.search(
                rf"\b(?:at|in the|in|by|before|into the|until)\s+({words})\b|\b(sunrise|sunset|midnight|dawn|dusk)\b",
                text,
                re.I,
            )
            said = found and (found[1] or found[2]).lower()
            if said and said in hour and not hour & own:
                yield _broken("place", f"Keep the time of day{where}: it plays {setting}, not at {said}.")


def _length(text: str, seconds: float, where: str) -> Iterator[BrokenFact]:
    limit = int(WORDS_AT_ONCE + WORDS_PER_SECOND * seconds)
    count = len(_main(text).split())
    if count > limit:
        yield _broken("length", f"Use at most {limit} words{where}: {seconds:.1f} s cannot show {count}.")


def _avoided(text: str, facts: BriefFacts, where: str) -> Iterator[BrokenFact]:
    for fact in facts.avoid:
        words = [word for word in re.findall(r"[\w-]+", fact.value.lower()) if len(word) > 2]
        if fact.value.lower() in PEOPLE or "people" in words:
            found = sorted(_words(text) & PEOPLE)
        else:
            found = [fact.value] if words and all(_of(word, text) for word in words) else []
        if found:
            yield _broken("avoid", f"Take out {found[0]!r}{where}: the brief wants no {fact.value}.")


def _language(text: str, facts: BriefFacts) -> Iterator[BrokenFact]:
    if len(text.split()) > 4 or re.search(r"[^\x00-\u024f\u2000-\u20ff]", text):
        found = language_of(text)
        if found != facts.language and (found != "en" or len(text.split()) > 8):
            name = NAMES.get(facts.language, facts.language)
            yield _broken("language", f"Write in {name}, the language of the brief, not in {NAMES.get(found, found)}.")


# --- words -----------------------------------------------------------------------------------------------------------


def _broken(fact: FactName, fix: str) -> BrokenFact:
    return BrokenFact(fact=fact, fix=fix)


def _main(event: str) -> str:
    """An event without the call to action behind it."""
    return event.split(": ")[0]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def _of(phrase: str, text: str) -> bool:
    """Whether `text` says `phrase`, as words and in any case."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?:s|es|'s|’s)?(?!\w)", text, re.IGNORECASE) is not None


def _names(text: str, product: Entity) -> bool:
    noun = head_noun(product.name)
    forms = {noun, noun.removesuffix("s"), noun.removesuffix("es")}
    return any(_of(form, text) for form in forms if len(form) > 1)


def _same(word: str, groups: Sequence[set[str]]) -> set[str]:
    return next((group for group in groups if word in group), {word})


def _same_words(phrase: str, text: str) -> bool:
    """Whether `text` holds the words of `phrase` in their order, whatever stands between."""

    def flat(one: str) -> str:
        return " ".join(re.findall(r"[\w$€£%.]*\w[\w$€£%]*", one.lower()))

    return flat(phrase) in flat(text)


def _claimed(claim: Fact, text: str) -> bool:
    """Whether `text` says at least two thirds of the words that carry the claim, and all its numbers."""
    empty = {"the", "and", "for", "with", "its", "all", "you", "your", "that", "this", "are", "has", "was", "can"}
    wanted = [word for word in re.findall(r"[\w’']+", claim.value.lower()) if len(word) > 2 and word not in empty]
    stems = {word[:5] for word in _words(text)}
    said = sum(word[:5] in stems for word in wanted)
    numbers = re.findall(r"\d+", claim.value)
    return 3 * said >= 2 * len(wanted) and all(re.search(rf"\b{number}\b", text) for number in numbers)


def _offered(offer: str, text: str) -> bool:
    if _same_words(offer, text):
        return True
    numbers = [_number(one) for one in re.findall(_MONEY, offer)]
    said = {_number(one) for one in re.findall(_MONEY, text)}
    return bool(numbers) and set(numbers) <= said and says(text, offer)


def _offers(facts: BriefFacts, known: str) -> str:
    given = (facts.offer.text if facts.offer else None, facts.call_to_action)
    return " ".join([known, *(fact.value for fact in given if fact)])


def _number(text: str) -> str:
    return re.sub(r"\s|percent", lambda found: "%" if found[0] == "percent" else "", text.lower()).rstrip(".,")
