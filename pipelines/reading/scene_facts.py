"""What a scene is to show, as facts that a picture can be asked about, each with a decoy. By rule, from its fields.

No model writes them: a fact is an entity, a number, a colour, a place, a relation or an action that the scene's own
fields name, and its decoy is the same sentence with that one word changed. Which decoy is the same for the same words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from pipelines.reading.vocabulary import COLOURS
from pipelines.screenplay import Entity, SceneDraft
from quality.asked import Fact

OTHER_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown")
LOOKS_LIKE: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet", "maroon", "burgundy", "coral", "orange", "pink"),
    "orange": ("amber", "copper", "bronze", "coral", "red", "yellow", "brown"),
    "yellow": ("gold", "golden", "amber", "khaki", "cream", "orange"),
    "green": ("olive", "mint", "emerald", "teal", "turquoise", "khaki"),
    "blue": ("navy", "turquoise", "teal", "cyan", "indigo"),
    "purple": ("violet", "lilac", "lavender", "magenta", "indigo"),
    "pink": ("magenta", "coral", "lilac", "red"),
    "white": ("cream", "ivory", "silver", "beige"),
    "black": ("navy", "gray", "grey"),
    "brown": ("bronze", "copper", "beige", "khaki", "maroon", "orange"),
}
"""Colours that are no decoy for one of these, and the other way round: the model might be right to say yes."""
OTHER_OBJECTS = ("a bicycle", "an umbrella", "a guitar", "a sofa", "a cactus", "a piano", "a ladder", "a tent")
OTHER_PLACES = (
    "in a swimming pool", "on a football field", "in a library", "on a ski slope", "in a car park", "in a cave",
)  # fmt: skip
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
OPPOSITES = {
    "left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of", "above": "below",
    "below": "above", "on top of": "under", "under": "on top of", "inside": "outside", "outside": "inside",
}  # fmt: skip
NOTHING_HAPPENS = "nothing moves and nobody does anything"


def scene_facts(draft: SceneDraft, entities: Sequence[Entity], others: Sequence[SceneDraft] = ()) -> tuple[Fact, ...]:
    """The facts of a scene, which mentions some of `entities`; the actions of `others`, the ad's scenes, are decoys."""
    shown = [entity for entity in entities if entity.handle in draft.entities and entity.role != "style"]
    facts: list[Fact] = []
    for name in dict.fromkeys([*(entity.name for entity in shown), *draft.extras]):
        facts += _of_thing(name)
    if draft.setting:
        place = _other(OTHER_PLACES, draft.setting, draft.setting)
        facts.append(Fact("scene", f"this is {draft.setting}", f"this is {place}"))
    facts += _spatial(draft.action)
    if draft.action:
        actions = [one.action for one in others if one.action not in ("", draft.action)]
        decoy = _other(actions, draft.action, draft.action) if actions else NOTHING_HAPPENS
        facts.append(Fact("action", draft.action, decoy))
    return tuple(facts)


def _of_thing(name: str) -> Iterable[Fact]:
    words = name.split()
    yield Fact("object", f"there is {name}", f"there is {_other(OTHER_OBJECTS, name, name)}")
    number = next((word for word in words if word.lower() in NUMBERS[1:]), None)
    if number is not None:
        place = NUMBERS.index(number.lower())
        wrong = NUMBERS[place + 2] if place + 2 < len(NUMBERS) else NUMBERS[place - 2]
        yield Fact("count", f"there are {name}", f"there are {_swapped(name, number, wrong)}")
    colour = next((word for word in words if word.lower() in COLOURS), None)
    if colour is not None:
        wrong = _other([one for one in OTHER_COLOURS if not _alike(one, colour.lower())], colour, name)
        yield Fact("color", f"this shows {name}", f"this shows {_swapped(name, colour, wrong)}")


def _spatial(action: str) -> Iterable[Fact]:
    found = re.search(rf"\b({'|'.join(sorted(OPPOSITES, key=len, reverse=True))})\b", action)
    if found is not None:
        yield Fact("spatial", action, action[: found.start()] + OPPOSITES[found[1]] + action[found.end() :])


def _alike(one: str, other: str) -> bool:
    return one == other or other in LOOKS_LIKE.get(one, ()) or one in LOOKS_LIKE.get(other, ())


def _swapped(text: str, word: str, by: str) -> str:
    return re.sub(rf"\b{re.escape(word)}\b", by, text, count=1)


def _other(choices: Sequence[str], instead_of: str, of: str) -> str:
    """One of `choices` that shares no word with `instead_of` but small ones; always the same one for `of`."""
    said = set(re.findall(r"\w{4,}", instead_of.lower()))
    free = [choice for choice in choices if not said & set(re.findall(r"\w{4,}", choice.lower()))] or list(choices)
    return free[int.from_bytes(hashlib.sha256(of.encode()).digest()[:4], "big") % len(free)]
