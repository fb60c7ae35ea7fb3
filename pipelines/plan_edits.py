"""An owner's edits applied to the plan of an ad: its story, its product and its scenes. Pure functions.

An edit changes what it names and nothing else, so that the steps of what it does not name keep their keys. It holds
until another edit says otherwise, also when an agent writes the text anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from pipelines.agents.direction_words import TIMES
from pipelines.agents.prompting import story_lines
from pipelines.direction import Changes, DirectionEdit, ProductChanges
from pipelines.facts import BriefFacts, PlaceFact, Source, by_owner
from pipelines.reading.brief_rules import product_named
from pipelines.reading.vocabulary import COLOURS, MATERIALS, word_set
from pipelines.screenplay import Beat, Entity, SceneDraft, Story, StoryResult

_TIME = re.compile("|".join(f"(?:{pattern})" for pattern, _ in TIMES), re.IGNORECASE)
PLAN_FIELDS = frozenset({"setting", "time", "action", "camera", "look", "text", "add", "remove", "order"})
"""Changes that are made here; mood and length are asked of a writer."""


def edited_story(story: Story, entities: tuple[Entity, ...], edits: Iterable[DirectionEdit]) -> Story:
    """The story with the edits applied, in their order. `entities[0]` is the product as it was."""
    for edit in edits:
        changes = edit.changes
        if changes.order is not None and len(changes.order) == len(story.beats):
            story = _reordered_story(story, changes.order)
        if changes.text is not None:
            story = _called(story, changes.text)
        if changes.product is not None and entities:
            before, entities = entities[0], edited_entities(entities, (edit,))
            story = _renamed_story(story, _renaming(before, changes.product))
        beats = [
            _edited_beat(beat, changes, number == len(story.beats), story.call_to_action)
            if _touches(edit, number)
            else beat
            for number, beat in enumerate(story.beats, start=1)
        ]
        story = story.model_copy(update={"beats": tuple(beats)})
    return story


def edited_result(result: StoryResult, edits: Sequence[DirectionEdit]) -> StoryResult:
    """A story stage's result with the edits that came later. The drafts of its rounds stay as they were written."""
    if not edits:
        return result
    story = edited_story(result.story, result.entities, edits)
    entities = edited_entities(result.entities, edits)
    facts = edited_facts(result.facts, result.entities, story, edits)
    return result.model_copy(update={"story": story, "entities": entities, "facts": facts, "text": story_lines(story)})


def edited_facts(
    facts: BriefFacts, entities: tuple[Entity, ...], story: Story, edits: Sequence[DirectionEdit]
) -> BriefFacts:
    """The facts with what the owner changed: product, call to action, and the place of every beat of the edited story.

    `entities` are those before the edits.
    """
    named = {name for edit in edits for name in edit.changes.named}
    changes: dict[str, object] = {}
    if "product" in named and entities:
        owner = Source(origin="owner")
        changes["product"] = product_named(edited_entities(entities, edits)[0].name, owner)
    if "text" in named:
        changes["call_to_action"] = by_owner(story.call_to_action)
    if named & {"setting", "time", "order"}:
        changes["places"] = tuple(place_fact(beat.setting) for beat in story.beats)
    return facts.model_copy(update=changes)


def place_fact(setting: str) -> PlaceFact:
    time = _time_of(setting)
    return PlaceFact(place=by_owner(without_time(setting) or setting), time=by_owner(time) if time else None)


def edited_drafts(
    drafts: tuple[SceneDraft, ...], entities: tuple[Entity, ...], edits: Iterable[DirectionEdit]
) -> tuple[SceneDraft, ...]:
    """The scenes with the edits applied, in their order. `entities[0]` is the product as it was."""
    for edit in edits:
        changes = edit.changes
        if changes.order is not None and len(changes.order) == len(drafts):
            drafts = tuple(drafts[number - 1] for number in changes.order)
        if changes.product is not None and entities:
            before, entities = entities[0], edited_entities(entities, (edit,))
            rename = _renaming(before, changes.product)
            drafts = tuple(draft.model_copy(update={"action": rename(draft.action)}) for draft in drafts)
        drafts = tuple(
            _edited_draft(draft, changes) if _touches(edit, number) else draft
            for number, draft in enumerate(drafts, start=1)
        )
    return drafts


def overlay(edits: Iterable[DirectionEdit], count: int) -> tuple[DirectionEdit, ...]:
    """What edits of the story say of scenes that are written from it later: camera, light and things, by scene.

    A new order takes them along. What a beat says itself (place, time, event) comes with the beat.
    """
    kept: dict[int, list[Changes]] = {number: [] for number in range(1, count + 1)}
    for edit in edits:
        if (order := edit.changes.order) is not None and len(order) == count:
            kept = {number: kept[old] for number, old in enumerate(order, start=1)}
        own = edit.changes.model_copy(
            update={"order": None, "product": None, "mood": None, "length": None, "text": None, "again": False}
        )
        for number in edit.scenes or kept:
            if own.named and number in kept:
                kept[number].append(own)
    return tuple(
        DirectionEdit(intent="change", stage="story", scenes=(number,), changes=changes)
        for number, several in kept.items()
        for changes in several
    )


def edited_entities(entities: tuple[Entity, ...], edits: Iterable[DirectionEdit]) -> tuple[Entity, ...]:
    """The entities with the product as its owner wants it; in pictures, prompts and texts alike."""
    for edit in edits:
        changes = edit.changes.product
        if changes is None or not entities:
            continue
        entities = (_renamed_product(entities[0], changes), *entities[1:])
    return entities


def _touches(edit: DirectionEdit, number: int) -> bool:
    return bool(edit.changes.named & PLAN_FIELDS) and (not edit.scenes or number in edit.scenes)


# --- place and time ---


def with_setting(setting: str, place: str | None, time: str | None) -> str:
    """A setting with another place or another time of day; the one that is not given stays."""
    old_time = _TIME.search(setting)
    if place is not None and _TIME.search(place) is None and old_time:
        kept = old_time[0].strip()
        setting = f"{place} {kept}"
    elif place is not None:
        setting = place
    if time is not None:
        setting = f"{without_time(setting)} {time}"
    return " ".join(setting.split())


def without_time(setting: str) -> str:
    return " ".join(_TIME.sub(" ", setting).split()).strip(" ,")


def _moved_text(text: str, before: str, after: str) -> str:
    """`text` where it says the old place or time of day itself."""
    for old, new in ((without_time(before), without_time(after)), (_time_of(before), _time_of(after))):
        if old and new and old.lower() != new.lower():
            text = re.sub(rf"\b{re.escape(old)}\b", new, text, flags=re.IGNORECASE)
    return text


def _time_of(setting: str) -> str:
    found = _TIME.search(setting)
    return found[0].strip() if found else ""


def _edited_beat(beat: Beat, changes: Changes, last: bool, call: str) -> Beat:
    setting = with_setting(beat.setting, changes.setting, changes.time)
    event = _moved_text(beat.event, beat.setting, setting)
    if changes.action is not None:
        tail = f": {call}" if last and call and call.lower() in event.lower() else ""
        event = f"{changes.action}{tail}"
    return beat.model_copy(update={"setting": setting, "event": event})


def _edited_draft(draft: SceneDraft, changes: Changes) -> SceneDraft:
    setting = with_setting(draft.setting, changes.setting, changes.time)
    action = _moved_text(draft.action, draft.setting, setting)
    if changes.action is not None:
        _, colon, call = action.partition(": ")
        action = f"{changes.action}{colon}{call}"
    extras = draft.extras
    if changes.remove is not None:
        extras = tuple(thing for thing in extras if changes.remove.lower() not in thing.lower())
    if changes.add is not None and changes.add not in extras:
        extras = (*extras, changes.add)
    return draft.model_copy(
        update={
            "setting": setting,
            "action": action,
            "camera": changes.camera or draft.camera,
            "look": changes.look or draft.look,
            "extras": extras,
        }
    )


# --- order and call to action ---


def _reordered_story(story: Story, order: tuple[int, ...]) -> Story:
    """The beats' places and events in another order; purposes stay, and the call to action stays last."""
    call = story.call_to_action
    events = [_without_call(beat.event, call) for beat in story.beats]
    had_call = events[-1] != story.beats[-1].event
    beats = []
    for position, number in enumerate(order):
        event = events[number - 1]
        if had_call and position == len(order) - 1:
            event = f"{event}: {call}"
        setting = story.beats[number - 1].setting
        beats.append(story.beats[position].model_copy(update={"setting": setting, "event": event}))
    return story.model_copy(update={"beats": tuple(beats)})


def _without_call(event: str, call: str) -> str:
    return (
        re.sub(rf"\s*[:.,;]?\s*['\"]?{re.escape(call)}['\"]?\.?\s*$", "", event, flags=re.IGNORECASE) if call else event
    )


def _called(story: Story, call: str) -> Story:
    last = story.beats[-1]
    event = f"{_without_call(last.event, story.call_to_action)}: {call}"
    return story.model_copy(
        update={"call_to_action": call, "beats": (*story.beats[:-1], last.model_copy(update={"event": event}))}
    )


# --- the product ---

Rename = Callable[[str], str]
_DETERMINERS = word_set("the a an this that our your its his her their my every each one")
_OUTSIDE = word_set(
    """in on at by of with and or but to from for near under over into is are was as while when where that which around
    behind before after beside"""
)
"""Words that no adjective of the product stands before."""


def _renaming(product: Entity, changes: ProductChanges) -> Rename:
    """What puts the product's new colour, material or name into a text that says the old one.

    A colour that belongs to something else (a red sky) stays, and so does a bare `the mug`.
    """
    noun, name = _noun(product.name), changes.name
    full = {word.lower() for word in product.name.split()}
    brand = name if name is not None and name[0].isupper() else None
    new_noun = name if name is not None and brand is None else None
    wanted = [(value, family) for value, family in _families(changes) if value is not None]

    def phrase(words: list[str], found: str, ending: str) -> str:
        whole = full <= {word.lower() for word in (*words, found)}
        for value, family in wanted:
            if any(word.lower() in family for word in words) or (whole and not full & family):
                words = _with_adjective(words, value, family)
        if brand is not None and whole and brand.lower() not in " ".join(words).lower():
            at = 1 if words and words[0].lower() in _DETERMINERS else 0
            words = [*words[:at], brand, *words[at:]]
        return " ".join([*words, f"{new_noun or found}{ending}"])

    def rename(text: str) -> str:
        out: list[str] = []
        position = 0
        for match in re.finditer(rf"\b({re.escape(noun)})(s|es)?\b", text, re.IGNORECASE):
            start = _phrase_start(text, position, match.start())
            said = phrase(text[start : match.start()].split(), match[1], match[2] or "")
            begins = text[start].isupper() and (start == 0 or text[:start].rstrip()[-1:] in ".!?:\"'")
            out += [text[position:start], said[0].upper() + said[1:] if begins else said]
            position = match.end()
        text = "".join([*out, text[position:]])
        for value, family in wanted:
            for old in full & family:
                text = re.sub(
                    rf"(\b{re.escape(new_noun or noun)}\s+(?:is|looks|shines|glows|"
                    rf"stays)\s+(?:\w+\s+)?){re.escape(old)}\b",
                    rf"\g<1>{value}",
                    text,
                    flags=re.IGNORECASE,
                )
        return text

    return rename


def _renamed_product(product: Entity, changes: ProductChanges) -> Entity:
    rename, noun = _renaming(product, changes), _noun(product.name)
    described, names_it = product.description, re.search(rf"\b{re.escape(noun)}\b", product.description, re.IGNORECASE)
    old = {word.lower() for word in product.name.split()}
    for value, family in _families(changes):
        if value is None:
            continue
        for word in old & family:  # its colour, wherever the description says it: `bottle, matte blue finish`
            described = re.sub(rf"\b{re.escape(word)}\b", value, described, flags=re.IGNORECASE)
        if not names_it:
            described = " ".join(_with_adjective(described.split(), value, family))
    described = rename(described)
    if changes.name is not None and changes.name[0].islower() and not names_it:
        described = f"{changes.name}, {described}"
    return product.model_copy(update={"name": rename(product.name), "description": described})


def _renamed_story(story: Story, rename: Rename) -> Story:
    beats = tuple(beat.model_copy(update={"event": rename(beat.event)}) for beat in story.beats)
    return story.model_copy(
        update={"title": rename(story.title), "beats": beats, "call_to_action": rename(story.call_to_action)}
    )


def _families(changes: ProductChanges) -> tuple[tuple[str | None, frozenset[str]], ...]:
    return ((changes.material, MATERIALS), (changes.colour, COLOURS))


def _phrase_start(text: str, least: int, at: int) -> int:
    """Where the noun phrase begins whose noun stands at `at`: its adjectives and its determiner."""
    start = at
    for match in reversed(list(re.finditer(r"[\w'-]+\s+", text[least:at]))):
        word = match[0].strip().lower()
        if least + match.end() != start or word in _OUTSIDE:
            break
        start = least + match.start()
        if word in _DETERMINERS:
            break
    return start


def _with_adjective(words: list[str], value: str, family: frozenset[str]) -> list[str]:
    """The words of a noun phrase with `value` in place of an adjective of its family, or after the determiner."""
    for index, word in enumerate(words):
        if word.lower().strip(",") in family:
            before = words[:index]
            while before and before[-1].lower() in ("dark", "light", "deep", "bright", "pale"):
                before.pop()
            return _with_article([*before, value, *words[index + 1 :]])
    at = 1 if words and words[0].lower() in _DETERMINERS else 0
    return _with_article([*words[:at], value, *words[at:]])


def _with_article(words: list[str]) -> list[str]:
    if len(words) > 1 and words[0].lower() in ("a", "an"):
        article = "an" if words[1][0].lower() in "aeiou" else "a"
        return [article.capitalize() if words[0][0].isupper() else article, *words[1:]]
    return words


def _noun(name: str) -> str:
    words = name.split()
    return words[-1].strip(".,;:!?\"'") if words else "product"
