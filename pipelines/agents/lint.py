"""Facts about a draft that need no opinion: is the product named, is there a call to action.

Computed here and told to the critics, which judge better from facts than from impressions. Pure functions
on words.
"""

from __future__ import annotations

import re

from pipelines.story import Entity, SceneDraft, Story

_CALLS = (
    "buy", "shop", "order", "get", "try", "taste", "visit", "discover", "call", "join", "book", "grab",
    "choose", "download", "start", "subscribe", "find", "claim", "pick", "meet", "see", "explore", "learn",
    "take", "reserve",
)  # fmt: skip
_CALL = re.compile(
    rf"(?:^|[.:;!,\"'“‘]\s*|\b(?:says?|reads?|appears?|words)\W+)(?:{'|'.join(_CALLS)})\b", re.IGNORECASE
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


def story_facts(story: Story, product: Entity) -> str:
    """One line of facts about a story."""
    missing = [
        str(number) for number, beat in enumerate(story.beats, start=1) if not names_product(beat.event, product)
    ]
    named = f"product not named in beat {', '.join(missing)}" if missing else "product named in every beat"
    call = "yes" if calls_to_action(story.beats[-1].event) else "no"
    return f"Facts: {named}; call to action in the last beat: {call}"


def scene_facts(draft: SceneDraft, product: Entity, last: bool) -> str:
    """One line of facts about a scene; only the last one needs a call to action."""
    named = "yes" if names_product(draft.action, product) else "no"
    call = ("yes" if calls_to_action(draft.action) else "no") if last else "not needed"
    return f"Facts: product named: {named}; call to action: {call}"
