"""The direction reader: an owner's message as structured edits, by rules; a chat model may read it too.

Rules answer at once, in a process without a model, and the same way every time; they are also the check of what a model
reads. A message that they do not understand becomes a question back that says what can be changed: in doubt nothing is
thrown away. What the models cannot draw is said, and not tried.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.spec import CameraMove, Domain
from pipelines.agents.direction_targets import Mention, mentions, new_order, playing_at
from pipelines.agents.direction_words import (
    APPROVALS,
    CAMERA,
    DIRECTIONLESS,
    FILLERS,
    FOREIGN,
    LENGTHS,
    LOOKS,
    MOODS,
    NEGATIONS,
    QUESTION,
    REJECTIONS,
    REQUEST,
    TIMES,
    VAGUE,
)
from pipelines.direction import Changes, DirectionEdit, ProductChanges
from pipelines.language import language_of
from pipelines.recipe import StageName
from pipelines.vocabulary import COLOURS, MATERIALS, ON_PLACES, PLACE_NOUNS

_I = re.IGNORECASE


@dataclass(frozen=True)
class Scope:
    """What a message is said about."""

    stage: StageName
    """The stage that waits."""
    settings: tuple[str, ...]
    """Of the scenes, in order, as they are planned now."""
    product: str
    """Name of the product: `teal steel water bottle`."""
    focus: int | None = None
    """The scene that is selected on the page, for a message that names none."""
    whole: bool = False
    """Whether a wish that names no scene is about all of them, because they were asked for anew together."""
    domain: Domain | None = None
    """What the image model can draw; None: everything."""
    camera_moves: tuple[CameraMove, ...] | None = None
    """Those that the video model knows; None: all."""
    language: str = "en"
    """Of the brief."""

    @property
    def count(self) -> int:
        return len(self.settings)

    @property
    def noun(self) -> str:
        """What the product is, by its last word."""
        return re.sub(r"\W+$", "", self.product).split()[-1].lower() if self.product.split() else "product"


def read_direction(text: str, scope: Scope) -> tuple[DirectionEdit, ...]:
    """What `text` asks for, one edit per part that names scenes of its own; at least one.

    An edit with a `question` changes nothing.
    """
    message = _normal(text)
    verdict = _verdict(message)
    if verdict is not None:
        return (DirectionEdit(intent=verdict, stage=scope.stage),)
    if not re.search(r"[^\W\d_]{2,}", message) or _is_machine_talk(message):
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


def _normal(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'})
    text = re.sub(r"\b(no|nr)\.\s*(?=\d)", r"number ", text, flags=_I)
    return " ".join(text.split())


def _is_machine_talk(text: str) -> bool:
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
    r"no me gusta|non mi piace|je n'aime pas|gefällt mir nicht|non va bene|(?:is|are|was)n't|don't|do not|doesn't|didn't|"
    r"cannot|can't|won't|couldn't|pas d'accord"
)
_HOLDING_BACK = _whole(
    r"but|except|however|although|though|unless|if|only|instead|almost|nearly|aber|mais|pero|ma|maar|mas|until|when|after|before|wait|later|maybe|perhaps|hmm+|"
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
    signs = r"\b(?:szenen?|scènes?|escenas?|scena|scene\s\w+\s(?:di|alla|al)|soll|sollte|mach|mache|bitte|der|die|das|doit|devrait|mets|metti|pon|haz|fai|debe|deve|dovrebbe|produkt|produit|producto|prodotto)\b|[äöüßéèêàçñóíáúìòù]"
    if language_of(text) == "en" and not re.search(signs, text, _I):
        return text
    for foreign, english in FOREIGN:
        text = re.sub(foreign, english, text, flags=_I)
    return text


# --- parts ---


@dataclass
class _Part:
    """One wish, with the scenes that it is about."""

    text: str
    scenes: tuple[int, ...] = ()
    named: bool = False
    leftovers: list[str] = field(default_factory=list)

    def take(self, pattern: str | re.Pattern[str], group: int = 0) -> re.Match[str] | None:
        """Find `pattern` and take it out of the text."""
        match = re.search(pattern, self.text) if isinstance(pattern, re.Pattern) else re.search(pattern, self.text, _I)
        if match and match[group]:
            start, end = match.span(group)
            self.text = f"{self.text[:start]} | {self.text[end:]}"
        return match


def _parts(text: str, scope: Scope) -> list[_Part]:
    """`text` cut into wishes: by sentence, and within one where it names other scenes."""
    text = _same_as(text, scope)
    parts: list[_Part] = []
    before: tuple[int, ...] = ()
    for sentence in re.split(r"(?<=[.;!?])\s+|\n+|;\s*", text):
        if not re.search(r"\w", sentence):
            continue
        found = _useful(sentence, mentions(sentence, scope.count, scope.settings), scope)
        if not found:
            refers = (
                bool(before) and re.search(r"\b(?:it|this|that|there|they|them|also|too)\b", sentence, _I) is not None
            )
            parts.append(_Part(sentence, before if refers else (), bool(refers)))
            continue
        for start, end, mention in _cuts(sentence, found, scope):
            lead = re.sub(
                r"\b(?:in|for|of|on|during|to|at|into)\s+(?:the\s+)?$", "", sentence[start : mention.start], flags=_I
            )
            tail = sentence[mention.end : end]
            if re.search(r"(?:\band|[,;])\s*$", lead) and _says_something(lead, scope) and _says_something(tail, scope):
                parts.append(_Part(lead))
                lead = ""
            parts.append(_Part(f"{lead} | {tail}", mention.scenes, True))
        before = found[-1].scenes
    return parts


def _useful(sentence: str, found: tuple[Mention, ...], scope: Scope) -> tuple[Mention, ...]:
    """Without `at the end` and the like where a scene is named anyway, and without those that the wish puts elsewhere."""
    exact = [one for one in found if not one.by_edge]
    return (
        tuple(exact) if exact else found[:2] if len(found) == 2 and found[0].scenes != found[-1].scenes else found[:1]
    )


def _cuts(sentence: str, found: tuple[Mention, ...], scope: Scope) -> list[tuple[int, int, Mention]]:
    if len(found) == 1:
        return [(0, len(sentence), found[0])]
    leading = _says_something(sentence[: found[0].start], scope)
    between = [sentence[one.end : other.start] for one, other in zip(found, found[1:], strict=False)]
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
    return _changes_in(_Part(text, (1,), True), scope) is not None


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


# --- one wish ---

_KEEP = re.compile(
    r"^\W*(?:and |but |please |just )*(?:(?:keep|leave|preserve)\b(?! the camera)|don't (?:touch|change)|do not (?:touch|change))\b",
    _I,
)
_OLD = (
    re.compile(
        r"\b(?:instead of|rather than|as opposed to|in place of|and not|but not|,\s*not|no longer|not)\s+(?:being\s+|be\s+)?((?:in|on|at|by)\s+)?(?:the\s+|an?\s+)?[\w'-]+(?:\s(?:the\s|an?\s)?[\w'-]+)?(?=\s*(?:[,.;:|]|but|$|should|make|put|set|please))",
        _I,
    ),
    re.compile(r"\bfrom\s+(?:the\s+|an?\s+)?[\w'-]+(?:\s[\w'-]+)?\s+(?=(?:in)?to\b)", _I),
    re.compile(
        r"\b(?:replace|swap|exchange|switch|trade|turn|change)\s+(?:out\s+)?(?:the\s+|an?\s+)?((?!scene)[\w'-]+(?:\s(?!to\b|for\b|with\b|into\b|by\b)[\w'-]+){0,2})\s+(?=(?:with|for|by|to|into)\b)",
        _I,
    ),
)
_BARE_NEGATION = re.compile(r"\b(?:not|don't|do not|dont|doesn't|never|won't|shouldn't|without|no)\b", _I)
_SECONDS = re.compile(r"\b(\d+(?:[.,]\d+)?|a|one|two|three|thirty|sixty)[ -]*(?:seconds?|secs?|s|minutes?|min)\b", _I)
_OVERLAY = re.compile(
    r"\b(?:subtitles?|captions?|on-?screen text|text overlay|logo|music|soundtrack|sound|voice-?over|voice|narrat\w+|song|watermark)\b",
    _I,
)
_AGAIN = re.compile(
    r"\b(?:again|anew|another (?:one|version|take|try|go|attempt|draft|picture|image|idea)|regenerate|redraw|redo|re-?make|re-?do|re-?generate|"
    r"re-?write|retake|try (?:something )?(?:else|again)|new (?:version|take|one|draft|picture|image)|start over|once more|noch ?mal|neu|"
    r"encore une fois|refais|otra vez|de nuevo|ancora una volta|rifai)\b",
    _I,
)


def _read_part(part: _Part, scope: Scope) -> DirectionEdit | None:
    """The edit of one wish; None for a part that wishes for nothing."""
    scenes = part.scenes
    unknown = [number for number in scenes if not 1 <= number <= scope.count]
    if unknown:
        return _question(scope, f"There is no scene {unknown[0]}: the ad has scenes 1 to {scope.count}.")
    if _KEEP.search(part.text):
        return None
    changes = _changes_in(part, scope)
    if changes is None:
        return None
    if isinstance(changes, str):
        return _question(scope, changes, scenes)
    if not part.named and scope.focus is not None and 1 <= scope.focus <= scope.count and _needs_scene(changes):
        scenes = (scope.focus,)
    if changes.product is not None and scenes and len(scenes) < scope.count:
        what = changes.product.colour or changes.product.material or changes.product.name
        return _question(
            scope,
            f"The {scope.noun} looks the same in every scene, or it would be another one. Shall it be {what} everywhere? Then say "
            f"'the {scope.noun} should be {what}'.",
            scenes,
        )
    if (problem := impossible(changes, scope)) is not None:
        return _question(scope, problem, scenes)
    if not scenes and _needs_scene(changes):
        if scope.stage != "story" and not scope.whole:
            return _question(scope, which_scene(scope))
        scenes = tuple(range(1, scope.count + 1))
    if changes.product is not None or changes.named == {"text"}:
        scenes = ()
    return DirectionEdit(intent="change", stage=scope.stage, scenes=scenes, changes=changes)


def _needs_scene(changes: Changes) -> bool:
    return bool(
        changes.named & {"setting", "time", "action", "camera", "look", "add", "remove", "mood", "length", "again"}
    )


def _changes_in(part: _Part, scope: Scope) -> Changes | str | None:
    """What a wish changes; a sentence for one that cannot be followed; None where there is none."""
    part = _Part(part.text, part.scenes, part.named)
    found: dict[str, object] = {}
    quoted = part.take(r"[\"“«]([^\"”»]{2,120})[\"”»]|(?<!\w)'([^']{2,120})'(?!\w)")
    words = (quoted[1] or quoted[2]) if quoted else None
    if call := _call_to_action(part, words):
        return Changes(text=call)
    if _OVERLAY.search(part.text):
        return "There is neither sound nor writing in these pictures: the words of the ad are its call to action, which can be changed."
    for old in _OLD:
        part.take(old)
    placed = re.search(
        r"\b(?:put|place|show|see|have|want)\s+((?:an?|some|two|three|more|many|a few)\s+(?:[\w-]+\s+)?([a-z][\w-]+))\s+"
        r"(?:on|in|at|into|beside|next to|behind|under|near|around|standing|sitting|running|walking|drinking|holding)\b",
        part.text,
        _I,
    )
    if (
        placed
        and placed[2].lower() not in _names(scope)
        and not re.search(rf"^(?:{'|'.join(sorted(PLACE_NOUNS))}|scene|shot|zoom|pan)$", placed[2], _I)
    ):
        return Changes(add=placed[1])
    static = part.take(CAMERA[0][0])
    if static:
        found["camera"] = "static"
    if seconds := _SECONDS.search(part.text):
        return f"The length of an ad is fixed when it is ordered, so it cannot become {seconds[0].strip()}: start a new one with another duration."
    removed = _removed(part)
    if removed is not None:
        found["remove"] = removed
    elif _BARE_NEGATION.search(part.text):
        return "Say what it should be instead, for example 'scene 2 at night', so that nothing is changed by mistake."
    _product(part, scope, found)
    _place_and_time(part, scope, found)
    if "camera" not in found:
        for pattern, move in CAMERA:
            if part.take(pattern):
                found["camera"] = move
                break
        else:
            if DIRECTIONLESS.search(part.text):
                return "Which way shall the camera go? Say for example 'scene 2: pan left', 'tilt up' or 'zoom in'."
    _words(part, found)
    if "remove" not in found and (added := _added(part, bool(found))) is not None:
        found["add"] = added
    if not found and (action := _action(part, scope)) is not None:
        found["action"] = action
    if not found and _AGAIN.search(part.text):
        found["again"] = True
    return Changes.model_validate(found) if found else None


def _call_to_action(part: _Part, quoted: str | None) -> str | None:
    cue = r"\b(?:call[- ]to[- ]action|cta|slogan|tagline|claim|last line|closing line|final words|closing words)\b"
    if re.search(cue, part.text, _I):
        if quoted:
            return quoted.strip()
        match = re.search(
            rf"{cue}\W*\s*(?:should|must|has to|to)?\s*(?:be|say|read|becomes?|is|to|:|=)+\s*:?\s*([^|]+)$",
            part.text,
            _I,
        )
        return match[1].strip(" .|") if match and len(match[1].split()) >= 2 else None
    if quoted and re.search(r"\b(?:say|says|read|reads|words|text|line|end|write)\b", part.text, _I):
        return quoted.strip()
    return None


def _removed(part: _Part) -> str | None:
    match = part.take(
        r"\b(?:remove|delete|erase|get rid of|take out|take away|lose|cut out|no more|without)\s+(?:the\s+|an?\s+|any\s+|all\s+|that\s+)?([a-z][\w' -]*?)(?=\s*(?:[,.;|!?]|$|\bin\b|\bfrom\b|\bplease\b|\band\b))"
    )
    if match is None:
        return None
    thing = match[1].strip()
    return None if thing in ("", "it", "scene", "scenes") else thing


def _added(part: _Part, found: bool) -> str | None:
    """A thing to show besides. Where a wish says something else already, only a clear word adds one."""
    clear = r"add(?:ing)?|include|insert|put in|there (?:should|could|must) be"
    vaguer = r"|i(?:'d| would)? (?:want|like) (?:to see|to have)|give it|show (?:us|me)|bring in"
    match = part.take(
        rf"\b(?:{clear}{'' if found else vaguer})\s+((?:an?|some|two|three|more|the|another|lots of|many|a few)?\s*(?!scene\b|it\b|light\b|lens\b|this\b|that\b)[a-z][\w'-]*(?:\s(?!in\b|to\b|into\b|on\b|at\b|please\b|and\b|there\b)[\w'-]+){{0,4}})"
    )
    if match is None:
        return None
    thing = match[1].strip(" .!?")
    bare = re.sub(r"^(?:an?|some|the|more|another)\s+", "", thing, flags=_I)
    vague = r"(?:one|it|thing|something|anything|version|change|changes|look|feel|way|fun|good|nice|better|text|place|time|setting|view|ad|video|product)"
    if not bare or re.fullmatch(vague, bare, _I):
        return None
    return thing


_COPULA = (
    r"should|must|has|needs|to|be|is|are|in|into|a|an|the|more|become|becomes|look|looks|made|out|of|turn|turns|painted|coloured|"
    r"colored|rather|now|really|all|completely|from|come|comes|actually|always|just|simply|totally|going|supposed|meant|better|"
    r"nicer|want|wanted|it|be|:"
)
_AFTER_VALUE = (
    r"(?=\s*(?:[,.;|!?:]|$|(?:and|or|but|please|in|for|on|at|everywhere|instead|rather|from|throughout|now|this|not|with|too|as|"
    r"thanks|all|across|again|then|so|because|since|version|one|also|to|over|be|become)\b))"
)


def _product(part: _Part, scope: Scope, found: dict[str, object]) -> None:
    """Colour, material or name of the product, where the wish is about it and not about a sky or a wall."""
    names = _names(scope)
    subject = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    shade = r"(?:(?:dark|light|deep|bright|pale|pastel|neon|hot)\s+)?"
    colours = "|".join(sorted(COLOURS | _domain_words(scope, "colours"), key=len, reverse=True))
    materials = "|".join(sorted(MATERIALS | _domain_words(scope, "materials"), key=len, reverse=True))
    changes: dict[str, str] = {}
    renamed = part.take(
        rf"\b(?:call|name|rename)\s+(?:the\s+)?(?:{subject})\s+(?:to\s+|as\s+)?(?:\"|')?([\w][\w' -]{{1,40}}?)(?:\"|')?\s*(?=[,.;|!]|$|please)"
    )
    if renamed:
        changes["name"] = renamed[1].strip()
    told = part.text
    for name, values in (("colour", colours), ("material", materials)):
        if name == "colour" and re.search(r"\b(?:golden|blue) hour\b", told, _I):
            continue
        other = materials if name == "colour" else colours
        value = rf"({shade}(?:{values}))\b(?:[ -]colou?red)?"
        follows = rf"(?:(?=\s+(?:{other})\b)|{_AFTER_VALUE})"
        for wording in (
            rf"\b{value}(?=\s+(?:[\w-]+\s+){{0,2}}(?:{subject})\b)",
            rf"\b(?:{subject}|colou?r|material|finish)\b(?:\s+(?:of|in|on|at)\s+the\s+[\w-]+)?(?:\s+(?:{_COPULA})\b)*\W*\s*(?:(?:{other})\s+)?{value}{follows}",
            rf"\b(?:make|paint|turn|colou?r|use|try|prefer|want|in|into|to|with|for|give me)\s+(?:it\s+|the colou?r\s+|a\s+)?{value}(?=\s*(?:[,.;|!?]|$|please|instead|and\b|colou?r))",
            rf"^\W*{value}(?:\s+(?:please|instead))?\W*$",
        ):
            if match := re.search(wording, told, _I):
                changes[name] = match[1].lower().strip()
                part.take(rf"\b{re.escape(match[1])}\b")
                break
    if scope.domain is not None and "name" not in changes:
        nouns = {word: kind for kind, words in scope.domain.products.items() for word in words}
        for match in re.finditer(
            rf"\b(?:be|is|into|sell|show|for|to|as|make it|about)\s+(?:an?|the|our)\s+(?:[\w-]+\s+){{0,2}}?({'|'.join(sorted(map(re.escape, nouns), key=len, reverse=True))})\b",
            part.text,
            _I,
        ):
            own = next((kind for word, kind in nouns.items() if word.split()[-1] == scope.noun), None)
            if nouns[match[1].lower()] != own and not re.search(
                rf"\b{re.escape(match[1])}\b", " ".join(scope.settings), _I
            ):
                changes["name"] = match[1].lower()
                part.take(re.escape(match[0]))
                break
    if changes:
        found["product"] = changes


def _names(scope: Scope) -> set[str]:
    """What the product may be called in a wish."""
    names = {scope.noun, "product", "it", "item", "object", "one", "version", scope.product.lower()}
    if scope.domain is not None:
        kinds = scope.domain.products.values()
        names |= set(next((words for words in kinds if scope.noun in {one.split()[-1] for one in words}), ()))
    return names


def _domain_words(scope: Scope, kind: str) -> set[str]:
    return set() if scope.domain is None else {word for words in getattr(scope.domain, kind).values() for word in words}


_PLACE_ADJECTIVES = (
    "snowy|sunny|dark|bright|busy|quiet|small|big|old|modern|rainy|green|sandy|wooden|empty|crowded|cosy|cozy|grand|lonely|rocky|"
    "frozen|night|misty|foggy"
)
_NO_SUBJECT = r"(?!\w)(?!\s+(?:should|must|is|are|looks?|needs?|has|have|shall)\b)"
"""`the mug on the table should be red` moves nothing onto a table."""
_DETERMINED = r"(?:the|a|an|some|our|my|his|her|their|this|that)"
_PREPOSITION = r"(?:in front of|on top of|next to|in the middle of|at the edge of|in|on|at|by|before|near|inside|under|among|beside|behind|along|over|across|against|around|through)"
_NO_PLACE = re.compile(
    r"\b(?:style|way|focus|motion|general|particular|fact|end|start|beginning|middle|background|foreground|centre|center|left|right|top|bottom|"
    r"frame|picture|image|light|colou?r|voice|tone|mood|moment|order|scenes?|shots?|story|ad|video|time|times|minute|second|hand|words?|least|"
    r"most|all|once|first|last|english|german|black and white|detail|mind|it|them|please|look|feel)\b",
    _I,
)


def _place_and_time(part: _Part, scope: Scope, found: dict[str, object]) -> None:
    for pattern, phrase in TIMES:
        if part.take(pattern):
            found["time"] = phrase
            break
    nouns = PLACE_NOUNS | {word for word in _domain_words(scope, "settings")}
    noun = "|".join(sorted((re.escape(one).replace(r"\-", "[- ]") for one in nouns), key=len, reverse=True))
    described = rf"(?:(?!{_PREPOSITION}\b|and\b|or\b|of\b|scene\b|it\b|to\b)[\w'-]+\s+){{0,3}}?"
    whole = part.take(
        rf"\b{_PREPOSITION}\s+(?:{_DETERMINED}\s+)?{described}(?:{noun})\b(?:\s+(?:of|by|in|with|near|under|at)\s+(?:{_DETERMINED}\s+)?[\w'-]+(?:\s+(?:{noun})\b)?)?{_NO_SUBJECT}"
        if not part.named
        else rf"\b{_PREPOSITION}\s+(?:{_DETERMINED}\s+)?{described}(?:{noun})\b(?:\s+(?:of|by)\s+(?:{_DETERMINED}\s+)?[\w'-]+)?{_NO_SUBJECT}"
    )
    if whole:
        found["setting"] = _tidy(whole[0])
        return
    bare = part.take(
        r"(?:^|[|,:;=>→-]|\b(?:to|into|for|use|with|towards?|put|show|choose|make it|make|be|is|want|rather|prefer|have|see|instead|try|"
        rf"happens?|set|go))\s*(?:{_DETERMINED}\s+)?((?:(?:{noun}|{_PLACE_ADJECTIVES})\s+)*(?:{noun}))"
        r"(?=\s*(?:[|,.;!?]|$|(?:please|instead|scene|for|in|at|and|but|then|as|rather|now|setting|background)\b))"
    )
    if bare and not (scope.noun == bare[1].lower()):
        found["setting"] = _as_place(bare[1].lower(), scope)
        return
    anywhere = re.search(
        rf"\b(?:happens?|happening|takes? place|set|sets|plays?|playing|move[sd]?|put|shoot|shot|film(?:ed)?|located|be|is|change|switch|go(?:es)?|take[sn]?|placed?|relocate[sd]?|somewhere)\b[^|.]*?\b({_PREPOSITION}|to)\s+"
        rf"((?:{_DETERMINED}\s+)?[a-z][\w'-]*(?:\s(?!and\b|please\b|instead\b|with\b|but\b)[\w'-]+){{0,3}})\s*(?=[,.;|!?]|$|please|instead|and\b|with\b)",
        part.text,
        _I,
    )
    if (
        anywhere
        and not _NO_PLACE.search(anywhere[2])
        and not re.search(rf"\b(?:{'|'.join(COLOURS)})\b", anywhere[2], _I)
    ):
        part.take(re.escape(anywhere[0]))
        found["setting"] = _tidy(f"{'in' if anywhere[1].lower() == 'to' else anywhere[1]} {anywhere[2]}")


def _tidy(phrase: str) -> str:
    phrase = " ".join(phrase.split()).strip(" ,.|")
    return (
        re.sub(r"\b(?:our|my|his|her|their|this|that)\b", "the", phrase, flags=_I).lower()
        if phrase.isupper()
        else phrase[0].lower() + phrase[1:]
    )


def _as_place(noun: str, scope: Scope) -> str:
    """A place's noun as a phrase: `beach` as `on the beach`."""
    if scope.domain is not None:
        for kind, words in scope.domain.settings.items():
            if noun == kind or noun in words:
                return scope.domain.settings_as_said[kind] if noun == kind else f"{_on_or_in(noun)} the {noun}"
    return f"{_on_or_in(noun)} the {noun}"


def _on_or_in(noun: str) -> str:
    return "on" if noun.split()[-1] in ON_PLACES else "in"


def _words(part: _Part, found: dict[str, object]) -> None:
    for name, table in (("length", LENGTHS), ("look", LOOKS), ("mood", MOODS)):
        values = [value for pattern, value in table if part.take(rf"(?:{pattern})")]
        if values:
            found[name] = values[0] if name != "mood" else " and ".join(dict.fromkeys(values))


def _action(part: _Part, scope: Scope) -> str | None:
    """What the product does in a scene: `the bottle falls into the water`."""
    text = re.sub(r"\s*\|\s*", " ", part.text).strip(" :,.!-")
    noun = rf"(?:the\s+|our\s+|a\s+)?(?:[\w-]+\s+){{0,2}}?(?:{re.escape(scope.noun)}|product)"
    if match := re.search(rf"\b(?:let|have|make|show)\s+({noun})\s+([a-z]+(?:ing)?)\b\s*([^,.;!?]*)", text, _I):
        verb = f"is {match[2]}" if match[2].endswith("ing") else _third_person(match[2])
        rest = match[3]
    elif match := re.search(
        rf"\b({noun})\s+(?:should|must|could|has to|needs to|ought to|will)\s+(?!be\b|look\b|have\b|appear\b|stay\b)([a-z]+)\b\s*([^,.;!?]*)",
        text,
        _I,
    ):
        verb, rest = _third_person(match[2]), match[3]
    elif match := re.search(
        rf"^\W*(?:in\s+|and\s+)?({noun})\s+(?!should|must|is\b|are\b|be\b|in\b|on\b|at\b|to\b|more|looks?\b|has\b)([a-z]+s)\b\s*([^,.;!?]*)",
        text,
        _I,
    ):
        verb, rest = match[2], match[3]
    else:
        return None
    if verb in ("bes", "looks", "haves", "reds"):
        return None
    return " ".join(f"The {scope.product} {verb} {rest}".split())


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2:-1] not in "aeiou" else f"{verb}s"


# --- what cannot be done, and what is asked back ---


def impossible(changes: Changes, scope: Scope) -> str | None:
    """Why the models cannot follow `changes`, and what they can; None when they can."""
    if changes.camera is not None and scope.camera_moves is not None and changes.camera not in scope.camera_moves:
        moves = ", ".join(move.replace("_", " ") for move in scope.camera_moves)
        return f"This video model knows no move '{changes.camera.replace('_', ' ')}': choose one of {moves}."
    domain = scope.domain
    if domain is None:
        return None
    if changes.setting is not None and _kind(changes.setting, domain.settings) is None:
        return (
            f"These models cannot draw '{changes.setting}': they know {_list(tuple(domain.settings_as_said.values()))}. A profile with "
            "large models may draw it."
        )
    if (product := changes.product) is not None:
        known = (("colour", product.colour, domain.colours), ("material", product.material, domain.materials))
        for what, value, words in known:
            if value is not None and _kind(value, words) is None:
                return f"These models cannot draw the {what} '{value}': they know {_list(tuple(words))}."
        if product.name is not None and product.name.islower() and _kind(product.name, domain.products) is None:
            return f"These models cannot draw '{product.name}': they know {_list(tuple(domain.products))}."
    thing = changes.add or changes.remove
    if thing is not None:
        verb = "add" if changes.add else "take out"
        return (
            f"No, I cannot {verb} '{thing}': these models draw one product in one place ({_list(tuple(domain.products))}), nothing beside "
            "it. A profile with large models may do it. Nothing was changed."
        )
    return None


def _kind(phrase: str, words: dict[str, tuple[str, ...]]) -> str | None:
    names = [(name, kind) for kind, several in words.items() for name in (kind, *several)]
    for name, kind in sorted(names, key=lambda one: -len(one[0])):
        if re.search(rf"\b{re.escape(name)}(?:s|es)?\b", phrase, _I):
            return kind
    return None


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def which_scene(scope: Scope) -> str:
    return f"Which scene do you mean, 1 to {scope.count}? Say for example 'scene 2: …', or 'all scenes: …'."


def _what_can_be_changed(scope: Scope) -> str:
    """The sentence that ends a question back."""
    if scope.stage == "story":
        can = "a scene's place, time of day, action or camera, the product's colour, the order, the mood or the length, the call to action"
    elif scope.stage == "reference_image":
        can = "the product's colour, material or name, or a scene's place, time of day or camera"
    else:
        can = "a scene's place, time of day, light, action or camera, the order, or the product's colour"
    return f"I did not understand what to change. You can change {can}: for example 'scene 2 at night' or 'the {scope.noun} should be red'."


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
        listed = _list(tuple(map(str, found[0].scenes)))
        plural = "s" if len(found[0].scenes) > 1 else ""
        return _question(
            scope,
            f"What shall be different in scene{plural} {listed}: place, time of day, light, action or camera?",
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
        last = merged[-1] if merged else None
        if last and edit.question is None and last.question is None and edit.scenes == last.scenes:
            if not last.changes.named & edit.changes.named:
                both = {
                    **last.changes.model_dump(exclude_defaults=True),
                    **edit.changes.model_dump(exclude_defaults=True),
                }
                merged[-1] = last.model_copy(update={"changes": Changes.model_validate(both)})
                continue
        merged.append(edit)
    return tuple(merged)


__all__ = ["Scope", "impossible", "playing_at", "read_direction", "which_scene", "ProductChanges"]
