"""The direction reader: an owner's message as structured edits, by rules; a chat model may read it too.

Rules answer at once, in a process without a model, and the same way every time; they are also the check of what a model
reads. A message that they do not understand becomes a question back that says what can be changed: in doubt nothing is
thrown away. What the models cannot draw is said, and not tried.
"""

from __future__ import annotations

import json
import re
import unicodedata
from itertools import pairwise

from pipelines.agents.direction_changes import Part, Scope, changes_in
from pipelines.agents.direction_limits import impossible, listed
from pipelines.agents.direction_targets import Mention, mentions, new_order
from pipelines.agents.direction_words import (
    APPROVALS,
    FILLERS,
    FOREIGN,
    NEGATIONS,
    QUESTION,
    REJECTIONS,
    REQUEST,
    TIMES,
    VAGUE,
)
from pipelines.direction import Changes, DirectionEdit
from pipelines.reading.language import language_of
from pipelines.recipe import StageName

_I = re.IGNORECASE


def read_direction(text: str, scope: Scope) -> tuple[DirectionEdit, ...]:
    """What `text` asks for, one edit per part that names scenes of its own; at least one.

    An edit with a `question` changes nothing.
    """
    message = _normal(text)
    verdict = _verdict(message)
    if verdict == "approve" and (other := _other_stage(message, scope.stage)) is not None:
        waits = scope.stage.replace("_", " ")
        return (_other(scope, f"The {waits} waits for you, not the {other}: say 'approve the {waits}' to go on."),)
    if verdict is not None:
        return (DirectionEdit(intent=verdict, stage=scope.stage),)
    if _COMMAND.fullmatch(message):
        return (_other(scope, _what_can_be_changed(scope)),)
    if not re.search(r"[^\W\d_]{2,}", message) or is_machine_talk(message):
        return (_other(scope, _what_can_be_changed(scope)),)
    if _asks(message):
        return (DirectionEdit(intent="ask", stage=scope.stage),)
    wish = _in_english(message)
    order = new_order(wish, scope.count, scope.settings)
    if order is not None:
        return (_ordered(scope, order),)
    edits = tuple(edit for part in _parts(wish, scope) if (edit := _read_part(part, scope)) is not None)
    if not edits:
        return (_not_understood(wish, scope),)
    return _merged(edits)


# --- agreement, refusal, questions ---

_COMMAND = re.compile(
    r"\W*(?:please )?(?:stop|wait|pause|cancel|go back|back|undo|redo|start over|restart|exit|quit|help)"
    r"(?: (?:that|it|this|please|now))*\W*",
    _I,
)
"""What is no wish about the plan: the page has buttons for it."""
_STAGE_WORDS: dict[str, tuple[StageName, ...]] = {
    r"storyboards?|frames|pictures": ("storyboard",),
    r"story|script|draft": ("story",),
    r"references?|reference images?": ("reference_image",),
    r"videos?|clips?": ("video", "stitch", "quality"),
}


def _other_stage(text: str, waiting: StageName) -> str | None:
    """The name of a stage that a message is about and that does not wait."""
    for words, stages in _STAGE_WORDS.items():
        found = re.search(rf"\bapprov\w*\s+(?:of\s+)?the\s+({words})\b|\bthe\s+({words})\s+(?:is|are)\b", text, _I)
        if found and waiting not in stages:
            return (found[1] or found[2]).lower()
    return None


def _normal(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'})
    text = re.sub(r"\b(no|nr)\.\s*(?=\d)", r"number ", text, flags=_I)
    return " ".join(text.split())


def is_machine_talk(text: str) -> bool:
    """What programs send to keep a connection, and JSON that is no message."""
    try:
        json.loads(text)
        return True
    except (ValueError, RecursionError):
        return (
            re.fullmatch(
                r"(?:ping|pong|heartbeat|keep-?alive|noop|null|none|nil|undefined|nan|true|false|test)\W*", text, _I
            )
            is not None
        )


def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{words})(?![\w'])", _I)


_APPROVAL, _REJECTION, _NEGATION, _FILLER = _whole(APPROVALS), _whole(REJECTIONS), _whole(NEGATIONS), _whole(FILLERS)
_DISLIKES = _whole(
    r"no me gusta|non mi piace|je n'aime pas|gefällt mir nicht|non va bene|(?:is|are|was)n't|don't|do not|"
    r"doesn't|didn't|"
    r"cannot|can't|won't|couldn't|pas d'accord"
)
_HOLDING_BACK = _whole(
    r"but|except|however|although|though|unless|if|only|instead|almost|nearly|aber|mais|pero|ma|maar|mas|"
    r"until|when|after|before|wait|later|maybe|perhaps|hmm+|"
    r"not sure|better"
)


def _verdict(text: str) -> str | None:
    """`approve`, `reject` or `ask` for a message that is nothing else; None for one that says more."""
    if re.fullmatch(r"[\s\W]*(?:\U0001F44D|\u2705|\u2714|\U0001F44C|\u2764|\U0001F389)[\s\W]*", text):
        return "approve"
    if re.fullmatch(r"[\s\W]*(?:\U0001F44E|\u274C|\u2716|\U0001F645)[\s\W]*", text):
        return "reject"
    agrees = _APPROVAL.search(text) is not None
    refuses = _REJECTION.search(text) is not None or _DISLIKES.search(text) is not None
    negated = _NEGATION.search(text) is not None or _DISLIKES.search(text) is not None or "n't" in text.lower()
    if not (agrees or refuses):
        return None
    left = text
    for pattern in (_DISLIKES, _APPROVAL, _REJECTION, _NEGATION, _FILLER):
        left = pattern.sub(" ", left)
    if re.search(r"\w", left):
        return None
    if "?" in text or (
        QUESTION.search(text) and not re.match(r"(?:do |will |is |are )?\W*$", text) and _starts_with_question(text)
    ):
        return "ask"
    if _HOLDING_BACK.search(text):
        return "ask"
    return "reject" if refuses or negated else "approve"


def _starts_with_question(text: str) -> bool:
    """`is it approved` without its question mark; not `está bien` or `was good`."""
    return (
        re.match(r"(?:is|are|was|were|does|do|did|has|have|will|should|shall|can|may|what|why|how|when)\b", text, _I)
        is not None
    )


def _asks(text: str) -> bool:
    """A question about the work, and not a wish put as one (`can you make scene 2 brighter?`)."""
    if REQUEST.search(text):
        return False
    if text.rstrip().endswith("?"):
        return True
    return re.match(r"(?:what|what's|why|how|when|where|who|which)\b", text, _I) is not None


def _in_english(text: str) -> str:
    """The wish with the commonest words of other languages put into English."""
    signs = (
        r"\b(?:szenen?|scènes?|escenas?|scena|scene\s\w+\s(?:di|alla|al)|soll|sollte|mach|mache|bitte|"
        r"der|die|das|doit|devrait|mets|metti|pon|haz|fai|debe|deve|dovrebbe|produkt|produit|producto|"
        r"prodotto)\b|[äöüßéèêàçñóíáúìòù]"
    )
    if language_of(text) == "en" and not re.search(signs, text, _I):
        return text
    for foreign, english in FOREIGN:
        text = re.sub(foreign, english, text, flags=_I)
    return text


# --- parts ---


def _parts(text: str, scope: Scope) -> list[Part]:
    """`text` cut into wishes: by sentence, and within one where it names other scenes."""
    text = _same_as(text, scope)
    parts: list[Part] = []
    before: tuple[int, ...] = ()
    for sentence in re.split(r"(?<=[.;!?])\s+|\n+|;\s*", text):
        if not re.search(r"\w", sentence):
            continue
        found = _useful(sentence, mentions(sentence, scope.count, scope.settings), scope)
        if not found:
            refers = (
                bool(before) and re.search(r"\b(?:it|this|that|there|they|them|also|too)\b", sentence, _I) is not None
            )
            parts.append(Part(sentence, before if refers else (), bool(refers)))
            continue
        for start, end, mention in _cuts(sentence, found, scope):
            lead = re.sub(
                r"\b(?:in|for|of|on|during|to|at|into)\s+(?:the\s+)?$", "", sentence[start : mention.start], flags=_I
            )
            tail = sentence[mention.end : end]
            if re.search(r"(?:\band|[,;])\s*$", lead) and _says_something(lead, scope) and _says_something(tail, scope):
                parts.append(Part(lead))
                lead = ""
            parts.append(Part(f"{lead} | {tail}", mention.scenes, True))
        before = found[-1].scenes
    return parts


def _useful(sentence: str, found: tuple[Mention, ...], scope: Scope) -> tuple[Mention, ...]:
    """Without `at the end` and the like where a scene is named anyway."""
    exact = [one for one in found if not one.by_edge]
    return (
        tuple(exact) if exact else found[:2] if len(found) == 2 and found[0].scenes != found[-1].scenes else found[:1]
    )


def _cuts(sentence: str, found: tuple[Mention, ...], scope: Scope) -> list[tuple[int, int, Mention]]:
    if len(found) == 1:
        return [(0, len(sentence), found[0])]
    leading = _says_something(sentence[: found[0].start], scope)
    between = [sentence[one.end : other.start] for one, other in pairwise(found)]
    if not leading and not any(_says_something(text, scope) for text in between):  # `the first one and scene 3: …`
        scenes = tuple(sorted({number for one in found for number in one.scenes}))
        return [(0, len(sentence), Mention(found[0].start, found[-1].end, scenes))]
    if leading:
        ends = [one.end for one in found[:-1]] + [len(sentence)]
        return [(begin, end, one) for begin, end, one in zip([0, *ends[:-1]], ends, found, strict=True)]
    begins = [0] + [one.start for one in found[1:]]
    return [(begin, end, one) for begin, end, one in zip(begins, [*begins[1:], len(sentence)], found, strict=True)]


def _says_something(text: str, scope: Scope) -> bool:
    """Whether `text` holds the content of a wish: a place, a time, a colour, a move and the like."""
    return changes_in(Part(text, (1,), True), scope) is not None


def _same_as(text: str, scope: Scope) -> str:
    """`the same place as scene 1` as that place."""
    pattern = r"\b(?:in |at |to )?the same (?:place|setting|location|spot) as (?:in )?(?:the )?(scene \w+|\w+ scene)\b"
    for match in list(re.finditer(pattern, text, _I)):
        found = mentions(match[1], scope.count, scope.settings)
        if found and found[0].scenes[0] <= scope.count:
            text = text.replace(match[0], _without_time(scope.settings[found[0].scenes[0] - 1]))
    return text


def _without_time(setting: str) -> str:
    for pattern, _ in TIMES:
        setting = re.sub(pattern, " ", setting, flags=_I)
    return " ".join(setting.split()).strip(" ,")


_KEEP = re.compile(
    r"^\W*(?:and |but |please |just )*(?:(?:keep|leave|preserve)\b(?! the camera)|don't (?:touch|change)|do "
    r"not (?:touch|change))\b",
    _I,
)


def _read_part(part: Part, scope: Scope) -> DirectionEdit | None:
    """The edit of one wish; None for a part that wishes for nothing."""
    unknown = [number for number in part.scenes if not 1 <= number <= scope.count]
    if unknown:
        return _question(scope, f"There is no scene {unknown[0]}: the ad has scenes 1 to {scope.count}.")
    changes = None if _KEEP.search(part.text) else changes_in(part, scope)
    if changes is None:
        return None
    if isinstance(changes, str):
        return _question(scope, changes, part.scenes)
    return placed_edit(scope, changes, part.scenes, part.named)


def placed_edit(scope: Scope, changes: Changes, scenes: tuple[int, ...], named: bool) -> DirectionEdit:
    """The changes as an edit of the scenes that are meant, or as a question where that is not clear or not possible."""
    if not named and scope.focus is not None and 1 <= scope.focus <= scope.count and _needs_scene(changes):
        scenes = (scope.focus,)
    product = changes.product
    if product is not None and scenes and len(scenes) < scope.count:
        what = product.colour or product.material or product.name
        question = (
            f"The {scope.noun} looks the same in every scene, or it would be another one. Shall it be {what} "
            f"everywhere? "
            f"Then say 'the {scope.noun} should be {what}'."
        )
        return _question(scope, question, scenes)
    if (problem := impossible(changes, scope)) is not None:
        return _question(scope, problem, scenes)
    if not scenes and _needs_scene(changes):
        if scope.stage != "story" and not scope.whole:
            return _question(scope, which_scene(scope))
        scenes = tuple(range(1, scope.count + 1))
    if product is not None or changes.named == {"text"}:
        scenes = ()
    return DirectionEdit(intent="change", stage=scope.stage, scenes=scenes, changes=changes)


def _needs_scene(changes: Changes) -> bool:
    return bool(
        changes.named & {"setting", "time", "action", "camera", "look", "add", "remove", "mood", "length", "again"}
    )


def which_scene(scope: Scope) -> str:
    return f"Which scene do you mean, 1 to {scope.count}? Say for example 'scene 2: …', or 'all scenes: …'."


def _what_can_be_changed(scope: Scope) -> str:
    """The sentence that ends a question back."""
    if scope.stage == "story":
        can = (
            "a scene's place, time of day, action or camera, the product's colour, the order, the mood "
            "or the length, the call to action"
        )
    elif scope.stage == "reference_image":
        can = "the product's colour, material or name, or a scene's place, time of day or camera"
    else:
        can = "a scene's place, time of day, light, action or camera, the order, or the product's colour"
    return (
        f"I did not understand what to change. You can change {can}: for example 'scene 2 at night' or "
        f"'the {scope.noun} should be red'. To go on, say 'approve'."
    )


def _not_understood(text: str, scope: Scope) -> DirectionEdit:
    if VAGUE.search(text) and not mentions(text, scope.count, scope.settings):
        return _question(
            scope,
            f"{which_scene(scope)} And what shall be different there: place, time of day, light, action or camera?",
        )
    found = mentions(text, scope.count, scope.settings)
    if found:
        unknown = [number for one in found for number in one.scenes if not 1 <= number <= scope.count]
        if unknown:
            return _question(scope, f"There is no scene {unknown[0]}: the ad has scenes 1 to {scope.count}.")
        numbers = listed(tuple(map(str, found[0].scenes)))
        plural = "s" if len(found[0].scenes) > 1 else ""
        return _question(
            scope,
            f"What shall be different in scene{plural} {numbers}: place, time of day, light, action or camera?",
            found[0].scenes,
        )
    return _other(scope, _what_can_be_changed(scope))


def _question(scope: Scope, question: str, scenes: tuple[int, ...] = ()) -> DirectionEdit:
    known = tuple(number for number in scenes if 1 <= number <= scope.count)
    return DirectionEdit(intent="change", stage=scope.stage, scenes=known, question=question)


def _other(scope: Scope, question: str) -> DirectionEdit:
    return DirectionEdit(intent="other", stage=scope.stage, question=question)


def _ordered(scope: Scope, order: tuple[int, ...]) -> DirectionEdit:
    if len(order) != scope.count:
        return _question(scope, f"There is no scene {order[0]}: the ad has scenes 1 to {scope.count}.")
    moved = tuple(number for number, old in enumerate(order, start=1) if number != old)
    if not moved:
        return _question(scope, "The scenes are in that order already.")
    return DirectionEdit(intent="change", stage=scope.stage, scenes=moved, changes=Changes(order=order))


def _merged(edits: tuple[DirectionEdit, ...]) -> tuple[DirectionEdit, ...]:
    """Edits of the same scenes as one, where they do not contradict each other."""
    merged: list[DirectionEdit] = []
    for edit in edits:
        if merged and _go_together(merged[-1], edit):
            both = [one.changes.model_dump(exclude_defaults=True) for one in (merged[-1], edit)]
            merged[-1] = edit.model_copy(update={"changes": Changes.model_validate({**both[0], **both[1]})})
        else:
            merged.append(edit)
    return tuple(merged)


def _go_together(one: DirectionEdit, other: DirectionEdit) -> bool:
    whole = one.question is None and other.question is None and one.scenes == other.scenes
    return whole and not one.changes.named & other.changes.named
