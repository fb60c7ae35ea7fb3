"""The direction reader that is a chat model: for the messages that the rules of `direction_reader` do not understand.

It fills the same edit under a schema; whatever it says must stand in the message itself and agree with what the rules
did find, or its reading does not count. It never approves: in doubt nothing goes on and nothing is thrown away.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from models.interfaces import ChatMessage, ChatRequest, Plain
from models.llm.openai_wire import bare_json
from models.spec import ChatModelSpec
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_fixed import fixed_when_ordered
from pipelines.agents.direction_reader import is_machine_talk, placed_edit
from pipelines.agents.direction_targets import mentions
from pipelines.agents.direction_words import CAMERA, TIMES
from pipelines.direction import Changes, DirectionEdit
from pipelines.reading.vocabulary import COLOURS
from pipelines.steps import Json

SYSTEM = (
    "You read what the owner of a video ad wants changed. Fill only what the message says, in English and in its own "
    "words; leave every other field empty. Name scenes by number; none when the message names none. Never invent a "
    "change. Answer in JSON."
)
MAX_EDITS = 4
Said = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]


class EditAnswer(Plain):
    """One wish as a model reads it; empty: not said."""

    scenes: Annotated[tuple[Annotated[int, Field(ge=1, le=40)], ...], Field(max_length=40)]
    setting: Said
    time: Said
    action: Said
    camera: Literal["", "static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit"]
    product_colour: Said
    product_material: Said
    look: Said
    mood: Said
    length: Literal["", "shorter", "longer"]
    call_to_action: Said
    add: Said
    remove: Said


class DirectionAnswer(Plain):
    """All wishes of a message."""

    edits: Annotated[tuple[EditAnswer, ...], Field(max_length=MAX_EDITS)]


def reads_directions(model: ChatModelSpec) -> bool:
    """Whether a chat model is one to be asked: the embedded ones know only the questions that they were trained on."""
    return not any(part.repository.startswith("embedded:") for part in model.weights.values())


def is_unclear(rules: tuple[DirectionEdit, ...], text: str) -> bool:
    """Whether the rules leave a message open that holds words for a model to read."""
    open_questions = any(edit.question is not None for edit in rules)
    settled = is_machine_talk(text) or fixed_when_ordered(text, names_scene=False) is not None
    return open_questions and len(text.split()) > 1 and not settled


def direction_request(model: ChatModelSpec, text: str, scope: Scope) -> ChatRequest:
    """The request for the reading of `text`."""
    scenes = [f"{number} {setting}" for number, setting in enumerate(scope.settings, start=1)]
    user = "\n".join([f"Product: {scope.product}", "Scenes:", *scenes, f"Message: {text}"])
    return ChatRequest(
        messages=(ChatMessage(role="system", content=SYSTEM), ChatMessage(role="user", content=user)),
        json_schema=_schema(),
        seed=0,
        temperature=0.0,
        max_tokens=min(512, model.max_tokens),
        timeout_seconds=min(20.0, model.timeout_seconds),
    )


def _schema() -> Json:
    schema: Json = DirectionAnswer.model_json_schema()
    return schema


def checked_reading(
    said: str, text: str, scope: Scope, rules: tuple[DirectionEdit, ...]
) -> tuple[DirectionEdit, ...] | None:
    """The model's reading `said` of `text` as edits; None when it does not hold against the message and the rules."""
    try:
        answer = DirectionAnswer.model_validate(json.loads(bare_json(said)))
    except (ValueError, ValidationError):
        return None
    named = {number for one in mentions(text, scope.count, scope.settings) for number in one.scenes}
    edits: list[DirectionEdit] = []
    for one in answer.edits:
        changes = _grounded(one, text)
        scenes = tuple(sorted(set(one.scenes)))
        if changes is None or any(number > scope.count for number in scenes) or (named and not set(scenes) <= named):
            return None
        if not named and len(scenes) not in (0, scope.count):
            scenes = ()
        edits.append(placed_edit(scope, changes, scenes, bool(scenes)))
    found = [edit for edit in rules if edit.question is None and edit.intent == "change"]
    if not edits or any(_contradicts(edit, rule) for edit in edits for rule in found):
        return None
    return tuple(edits)


def _grounded(one: EditAnswer, text: str) -> Changes | None:
    """The changes that the message says itself; None when one of them is made up."""
    fields = {
        "setting": one.setting, "time": one.time, "action": one.action, "look": one.look, "mood": one.mood,
        "text": one.call_to_action, "add": one.add, "remove": one.remove,
    }  # fmt: skip
    product = {"colour": one.product_colour, "material": one.product_material}
    said = {name: value for name, value in fields.items() if value}
    product = {name: value for name, value in product.items() if value}
    if not all(_stands_in(value, text) for value in (*said.values(), *product.values())):
        return None
    if one.camera and not any(
        re.search(pattern, text, re.IGNORECASE) for pattern, move in CAMERA if move == one.camera
    ):
        return None
    if "colour" in product and not set(product["colour"].lower().split()) & COLOURS:
        return None
    if "time" in said and not any(re.search(pattern, said["time"], re.IGNORECASE) for pattern, _ in TIMES):
        return None
    whole: Json = {**said}
    if product:
        whole["product"] = product
    if one.camera:
        whole["camera"] = one.camera
    if one.length:
        whole["length"] = one.length
    try:
        changes = Changes.model_validate(whole)
    except ValidationError:
        return None
    return changes if changes.named else None


def _stands_in(value: str, text: str) -> bool:
    """Whether every telling word of `value` stands in the message, by its first four letters."""
    lower = text.lower()
    words = [
        word for word in re.findall(r"\w{3,}", value.lower()) if word not in ("the", "and", "with", "into", "from")
    ]
    return bool(words) and all(word[:4] in lower for word in words)


def _contradicts(edit: DirectionEdit, rule: DirectionEdit) -> bool:
    """Whether two readings give different values to a field of the same scenes."""
    if set(edit.scenes) and set(rule.scenes) and not set(edit.scenes) & set(rule.scenes):
        return False
    shared = edit.changes.named & rule.changes.named
    return any(getattr(edit.changes, name) != getattr(rule.changes, name) for name in shared)
