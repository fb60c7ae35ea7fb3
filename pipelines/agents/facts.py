"""Facts about a draft that need no opinion: whether it names the product, keeps the place, ends on a call to action.

Computed here and told to the critics, which judge better from facts than from impressions. Pure functions
on words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from pipelines.brief import Brief
from pipelines.screenplay import Beat, Entity, SceneDraft, Story

_CALLS = (
    "buy", "shop", "order", "get", "try", "taste", "visit", "discover", "call", "join", "book", "grab",
    "choose", "download", "start", "subscribe", "find", "claim", "pick", "meet", "see", "explore", "learn",
    "take", "reserve",
)  # fmt: skip
_CALL = re.compile(
    rf"(?:^|[.:;!,\"'“‘]\s*|\b(?:says?|reads?|appears?|words)\W+)(?:{'|'.join(_CALLS)})\b", re.IGNORECASE
)

_EMPTY_WORDS = frozenset(
    (
        "the", "and", "for", "with", "from", "into", "over", "under", "near", "onto", "its", "his", "her", "their",
        "this", "that", "these", "those", "out", "off", "dawn", "morning", "noon", "afternoon", "evening", "night",
        "sunrise", "sunset", "light",
    )
)  # fmt: skip
"""Of the words of three letters or more: what says neither where nor what. Times of day change within one place."""
_OPPOSITE_MOVES = frozenset(
    frozenset(pair) for pair in (("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("push_in", "pull_back"))
)


def names_product(text: str, product: Entity) -> bool:
    """Whether `text` says the product's name, or at least the noun that the name ends on."""
    noun = re.escape(head_noun(product.name))
    return re.search(rf"\b{noun}(?:s|es)?\b", text, re.IGNORECASE) is not None


def head_noun(name: str) -> str:
    """The last word of a name: `bottle` of `steel water bottle`."""
    return name.split()[-1].strip(".,;:!?\"'")


def calls_to_action(text: str) -> bool:
    """Whether a sentence or quotation in `text` begins with a verb that asks the viewer to act."""
    return _CALL.search(text) is not None


def beats_without_product(story: Story, product: Entity) -> tuple[int, ...]:
    """Numbers of the beats whose event does not name the product."""
    return tuple(n for n, beat in enumerate(story.beats, start=1) if not names_product(beat.event, product))


def stray_beats(settings: Sequence[str], brief: Brief) -> tuple[int, ...]:
    """Numbers, from 1, of the settings that leave the ad's places.

    A brief that names some of the settings names the places: the others leave them. Where it names none, the place is
    the most frequent one.
    """
    kept = [says(brief.prompt, setting) for setting in settings]
    if not any(kept):
        place = usual_setting(settings)
        kept = [same_place(setting, place) for setting in settings]
    return tuple(n for n, found in enumerate(kept, start=1) if not found)


def usual_setting(settings: Sequence[str]) -> str:
    """The most frequent setting, of several the first."""
    return Counter(settings).most_common(1)[0][0]


def repeating_beats(story: Story) -> tuple[int, ...]:
    """Numbers of the beats whose event is that of the beat before."""
    events = [beat.event.lower().strip(" .") for beat in story.beats]
    return tuple(n for n, (before, event) in enumerate(pairwise(events), start=2) if before == event)


def says(text: str, phrase: str) -> bool:
    """Whether `text` has at least half of the words that carry meaning in `phrase`, and one of them."""
    wanted = _content(phrase)
    found = len(wanted & _content(text))
    return found > 0 and 2 * found >= len(wanted)


def same_place(one: str, other: str) -> bool:
    return says(one, other) or says(other, one)


def _content(text: str) -> set[str]:
    return set(re.findall(r"\w{3,}", text.lower())) - _EMPTY_WORDS


def story_facts(story: Story, product: Entity, brief: Brief) -> str:
    """One line of facts about a story."""
    without = beats_without_product(story, product)
    away = stray_beats([beat.setting for beat in story.beats], brief)
    twice = repeating_beats(story)
    facts = (
        f"product not named in beat {listed(without)}" if without else "product named in every beat",
        f"another setting in beat {listed(away)}" if away else "setting kept",
        f"event repeated in beat {listed(twice)}" if twice else "no event repeated",
        f"call to action in the last beat: {_yes(calls_to_action(story.beats[-1].event))}",
    )
    return f"Facts: {'; '.join(facts)}"


def scene_facts(draft: SceneDraft, product: Entity, beat: Beat, last: bool) -> str:
    """One line of facts about a scene; only the last one needs a call to action."""
    facts = (
        f"product named: {_yes(names_product(draft.action, product))}",
        f"beat's setting: {_yes(keeps_setting(draft, beat))}",
        f"beat's event: {_yes(keeps_event(draft, beat, product))}",
        f"call to action: {_yes(calls_to_action(draft.action)) if last else 'not needed'}",
    )
    return f"Facts: {'; '.join(facts)}"


def pair_facts(before: SceneDraft, after: SceneDraft, product: Entity, brief: Brief) -> str:
    """One line of facts about how a scene leads to the next."""
    facts = (
        f"one setting: {_yes(same_place(before.setting, after.setting))}",
        f"both settings in the brief: {_yes(all(says(brief.prompt, one.setting) for one in (before, after)))}",
        f"product named in the second: {_yes(names_product(after.action, product))}",
        f"camera turns back: {_yes(frozenset((before.camera, after.camera)) in _OPPOSITE_MOVES)}",
    )
    return f"Facts: {'; '.join(facts)}"


def overview_facts(drafts: Sequence[SceneDraft], product: Entity, brief: Brief) -> str:
    """One line of facts about all scenes."""
    without = scenes_without_product(drafts, product)
    away = stray_beats([draft.setting for draft in drafts], brief)
    named = f"product not named in scene {listed(without)}" if without else "product named in every scene"
    kept = f"another setting in scene {listed(away)}" if away else "setting kept"
    return f"Facts: {named}; {kept}"


def scenes_without_product(drafts: Sequence[SceneDraft], product: Entity) -> tuple[int, ...]:
    return tuple(n for n, draft in enumerate(drafts, start=1) if not names_product(draft.action, product))


def keeps_setting(draft: SceneDraft, beat: Beat) -> bool:
    return same_place(draft.setting, beat.setting)


def keeps_event(draft: SceneDraft, beat: Beat, product: Entity) -> bool:
    """Whether the action has most words of the beat's event, the product's name and the call to action aside."""
    wanted = _content(beat.event.split(": ")[0]) - _content(product.name)
    return 2 * len(wanted & _content(draft.action)) >= len(wanted)


def listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _yes(found: bool) -> str:
    return "yes" if found else "no"
