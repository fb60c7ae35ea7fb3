"""`modifications` of a regeneration: what is set outright, what changes the plan, and what agents are told in words."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from models.interfaces import Plain
from pipelines.decisions.actions import MODIFIABLE, WORDS
from pipelines.direction import Changes, Modifications
from serving.gateway.interactive.answers import WorkStage
from serving.gateway.interactive.schemas import Regeneration, SceneModifications

PLAN_FIELDS = {
    "setting": "setting",
    "place": "setting",
    "location": "setting",
    "time": "time",
    "time_of_day": "time",
    "action": "action",
    "mood": "mood",
    "tone": "mood",
    "look": "look",
    "light": "look",
    "lighting": "look",
    "length": "length",
    "call_to_action": "text",
    "text": "text",
    "add": "add",
    "remove": "remove",
    "camera": "camera",
}
PRODUCT_FIELDS = {"colour": "colour", "color": "colour", "material": "material", "product": "name"}


class Wishes(Plain):
    """What a regeneration asks for."""

    modifications: Modifications
    """Set outright: what the stage can follow."""
    changes: Changes | None
    """Of the plan."""
    words: str | None
    """The feedback, with every wish that is neither."""
    unused: tuple[str, ...]
    """Settings that the stage has no use for."""


def wishes_of(stage: WorkStage, body: Regeneration) -> Wishes:
    """A body's feedback and modifications, sorted by who can follow them; an agent hears the rest."""
    given = body.modifications or SceneModifications()
    settings = given.settings.model_dump(exclude_none=True)
    extra: dict[str, Any] = dict(given.model_extra or {})
    can = MODIFIABLE.get(stage, frozenset())
    extra |= {name: value for name, value in settings.items() if name not in can and name != "seed"}
    changes, rest = _plan_changes(extra)
    told = extra if stage in WORDS else rest
    words = [body.feedback] if body.feedback else []
    words += [f"{name.replace('_', ' ')}: {value}" for name, value in told.items() if value not in (None, "")]
    kept = Modifications(**{name: value for name, value in settings.items() if name in can})
    unused = ("seed",) if "seed" in settings and "seed" not in can else ()
    return Wishes(modifications=kept, changes=changes, words="; ".join(words)[:2000] or None, unused=unused)


def _plan_changes(extra: dict[str, Any]) -> tuple[Changes | None, dict[str, Any]]:
    """The fields that change the plan, as far as their values can, and the others."""
    found: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in extra.items():
        key = name.lower()
        change: dict[str, Any] | None = None
        if key in PLAN_FIELDS:
            change = {**found, PLAN_FIELDS[key]: value}
        elif key in PRODUCT_FIELDS:
            change = {**found, "product": {**found.get("product", {}), PRODUCT_FIELDS[key]: value}}
        if change is None or not _holds(change):
            rest[name] = value
        else:
            found = change
    return (Changes.model_validate(found) if found else None), rest


def _holds(change: dict[str, Any]) -> bool:
    try:
        return bool(Changes.model_validate(change).named)
    except ValidationError:
        return False
