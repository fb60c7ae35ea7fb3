"""One wish in words as the changes that it asks for, by rules: place, time, camera, product, mood, length, action.

Each rule takes what it understands out of the text, so that the next one does not read it twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.spec import CameraMove, Domain
from pipelines.agents.direction_fixed import fixed_when_ordered
from pipelines.agents.direction_words import CAMERA, DIRECTIONLESS, LENGTHS, LOOKS, MOODS, TIMES
from pipelines.direction import Changes
from pipelines.reading.vocabulary import COLOURS, MATERIALS, ON_PLACES, PLACE_NOUNS, word_set
from pipelines.recipe import StageName

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


@dataclass
class Part:
    """One wish, with the scenes that it is about."""

    text: str
    scenes: tuple[int, ...] = ()
    named: bool = False

    def take(self, pattern: str | re.Pattern[str], group: int = 0) -> re.Match[str] | None:
        """Find `pattern` and take it out of the text."""
        match = re.search(pattern, self.text) if isinstance(pattern, re.Pattern) else re.search(pattern, self.text, _I)
        if match and match[group]:
            start, end = match.span(group)
            self.text = f"{self.text[:start]} | {self.text[end:]}"
        return match


_OLD = (
    re.compile(
        r"\b(?:instead of|rather than|as opposed to|in place of|and not|but not|,\s*not|no longer|"
        r"not)\s+(?:being\s+|be\s+)?((?:in|on|at|by)\s+)?(?:the\s+|an?\s+)?[\w'-]+(?:\s(?:the\s|"
        r"an?\s)?[\w'-]+)?(?=\s*(?:[,.;:|]|but|$|should|make|put|set|please))",
        _I,
    ),
    re.compile(r"\bfrom\s+(?!left\b|right\b)(?:the\s+|an?\s+)?[\w'-]+(?:\s[\w'-]+)?\s+(?=(?:in)?to\b)", _I),
    re.compile(
        r"\b(?:replace|swap|exchange|switch|trade|turn|change)\s+(?:out\s+)?(?:the\s+|"
        r"an?\s+)?((?!scene)[\w'-]+(?:\s(?!to\b|for\b|with\b|into\b|by\b)[\w'-]+){0,2})\s+(?=(?:with|for|"
        r"by|to|into)\b)",
        _I,
    ),
)
_BARE_NEGATION = re.compile(r"\b(?:not|don't|do not|dont|doesn't|never|won't|shouldn't|without|no)\b", _I)
_OVERLAY = re.compile(
    r"\b(?:subtitles?|captions?|on-?screen text|text overlay|logo|music|soundtrack|sound|voice-?over|voice|"
    r"narrat\w+|song|watermark)\b",
    _I,
)
_AGAIN = re.compile(
    r"\b(?:again|anew|another (?:one|version|take|try|go|attempt|draft|picture|image|idea)|regenerate|"
    r"redraw|redo|re-?make|re-?do|re-?generate|"
    r"re-?write|retake|try (?:something )?(?:else|again)|new (?:version|take|one|draft|picture|image)|start "
    r"over|once more|noch ?mal|neu|"
    r"encore une fois|refais|otra vez|de nuevo|ancora una volta|rifai)\b",
    _I,
)


def changes_in(part: Part, scope: Scope) -> Changes | str | None:
    """What a wish changes; a sentence for one that cannot be followed; None where there is none."""
    part = Part(part.text, part.scenes, part.named)
    quoted = part.take(r"[\"“«]([^\"”»]{2,120})[\"”»]|(?<!\w)'([^']{2,120})'(?!\w)")
    if call := _call_to_action(part, (quoted[1] or quoted[2]) if quoted else None):
        return Changes(text=call)
    if (whole := _as_a_whole(part, scope)) is not None:
        return whole
    found: dict[str, object] = {}
    if part.take(CAMERA[0][0]):
        found["camera"] = "static"
    if (removed := _removed(part)) is not None:
        found["remove"] = removed
    if (problem := _not_possible(part, found)) is not None:
        return problem
    _product(part, scope, found)
    _place_and_time(part, scope, found)
    if "camera" not in found:
        found |= _camera(part)
    if DIRECTIONLESS.search(part.text):
        return "Which way shall the camera go? Say for example 'scene 2: pan left', 'tilt up' or 'zoom in'."
    _words(part, found)
    if "remove" not in found and (added := _added(part, bool(found))) is not None:
        found["add"] = added
    return _changes(part, scope, found)


_MOTION = re.compile(
    r"\b(?:slid|roll|fall|drop|spin|jump|fly|flies|float|bounc|rotat|sink|splash|melt|explod|danc|tip|swing|tumbl|glid|hover)"
    r"\w*\b",
    _I,
)
"""Verbs of what happens, whose place is no setting: `let the mug slide across the counter`."""


def _changes(part: Part, scope: Scope, found: dict[str, object]) -> Changes | None:
    """The changes that were found; without any, an action or another take."""
    if not found and (action := _action(part, scope)) is not None:
        found["action"] = action
    if not found and _AGAIN.search(part.text):
        found["again"] = True
    return Changes.model_validate(found) if found else None


def _as_a_whole(part: Part, scope: Scope) -> Changes | str | None:
    """What a wish comes to that is about one thing only: something fixed, another thing to show, a motion."""
    if (fixed := fixed_when_ordered(part.text, part.named)) is not None:
        return fixed
    for old in _OLD:
        part.take(old)
    return _thing_or_motion(part, scope)


def _thing_or_motion(part: Part, scope: Scope) -> Changes | None:
    """Another thing that is put somewhere, or what the product does: neither names the place of its scene."""
    if thing := _put_somewhere(part, scope):
        return Changes(add=thing)
    moved = _action(part, scope) if _MOTION.search(part.text) else None
    return None if moved is None else Changes(action=moved)


def _put_somewhere(part: Part, scope: Scope) -> str | None:
    """Another thing that is to be put into a place: `put a cat on the table`."""
    placed = re.search(
        r"\b(?:put|place|show|see|have|want)\s+"
        r"((?:(?:an?|some|two|three|more|many|a few)\s+(?:[\w-]+\s+)?)?([a-z][\w-]+))\s+"
        r"(?:on|in|at|into|beside|next to|behind|under|near|around|standing|sitting|running|walking|drinking|"
        r"holding)\b",
        part.text,
        _I,
    )
    if placed is None or placed[2].lower() in _names(scope) | PLACE_NOUNS - _SUBSTANCES | _NO_THINGS:
        return None
    return placed[1]


_NO_THINGS = word_set(
    "scene scenes shot zoom pan it this that them everything all us me there one the part ad story night"
)
_SUBSTANCES = word_set("snow trees sand ice")
"""Places that are things as well: `put snow on the ground`."""


def _not_possible(part: Part, found: dict[str, object]) -> str | None:
    """Why a wish cannot be followed by any model, or is too uncertain."""
    if _OVERLAY.search(part.text):
        return (
            "Neither sound nor writing can be ordered for these pictures: the words of the ad are its call to action, "
            "which can be changed."
        )
    if "remove" not in found and _BARE_NEGATION.search(part.text):
        return "Say what it should be instead, for example 'scene 2 at night', so that nothing is changed by mistake."
    return None


def _camera(part: Part) -> dict[str, object]:
    for pattern, move in CAMERA:
        if part.take(pattern):
            return {"camera": move}
    return {}


def _call_to_action(part: Part, quoted: str | None) -> str | None:
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


def _removed(part: Part) -> str | None:
    match = part.take(
        r"\b(?:remove|delete|erase|get rid of|take out|take away|lose|cut out|no more|without)\s+(?:the\s+|"
        r"an?\s+|any\s+|all\s+|that\s+)?([a-z][\w' -]*?)(?=\s*(?:[,.;|!?]|$|\bin\b|\bfrom\b|\bplease\b|"
        r"\band\b))"
    )
    if match is None:
        return None
    thing = match[1].strip()
    return None if thing in ("", "it", "scene", "scenes") else thing


def _added(part: Part, found: bool) -> str | None:
    """A thing to show besides. Where a wish says something else already, only a clear word adds one."""
    clear = r"add(?:ing)?|include|insert|put in|there (?:should|could|must) be"
    vaguer = r"|i(?:'d| would)? (?:want|like) (?:to see|to have)|give it|show (?:us|me)|bring in"
    match = part.take(
        rf"\b(?:{clear}{'' if found else vaguer})\s+((?:an?|some|two|three|more|the|another|lots of|many|a "
        rf"few)?\s*(?!scene\b|it\b|light\b|lens\b|this\b|that\b)[a-z][\w'-]*(?:\s(?!in\b|to\b|into\b|on\b|"
        rf"at\b|please\b|and\b|there\b)[\w'-]+){{0,4}})"
    )
    if match is None:
        return None
    thing = match[1].strip(" .!?")
    bare = re.sub(r"^(?:an?|some|the|more|another)\s+", "", thing, flags=_I)
    vague = (
        r"(?:one|it|thing|something|anything|version|change|changes|look|feel|way|fun|good|nice|better|"
        r"text|place|time|setting|view|ad|video|product)"
    )
    if not bare or re.fullmatch(vague, bare, _I):
        return None
    return thing


_COPULA = (
    r"should|must|has|needs|to|be|is|are|in|into|a|an|the|more|become|becomes|look|looks|made|out|of|turn|"
    r"turns|painted|coloured|"
    r"colored|rather|now|really|all|completely|from|come|comes|actually|always|just|simply|totally|going|"
    r"supposed|meant|better|"
    r"nicer|want|wanted|it|be|:"
)
_AFTER_VALUE = (
    r"(?=\s*(?:[,.;|!?:]|$|(?:and|or|but|please|in|for|on|at|everywhere|instead|rather|from|throughout|now|"
    r"this|not|with|too|as|"
    r"thanks|all|across|again|then|so|because|since|version|one|also|to|over|be|become)\b))"
)


def _product(part: Part, scope: Scope, found: dict[str, object]) -> None:
    """Colour, material or name of the product, where the wish is about it and not about a sky or a wall."""
    names = _names(scope)
    subject = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    shade = r"(?:(?:darker|lighter|deeper|brighter|dark|light|deep|bright|pale|pastel|neon|hot)\s+)?"
    colours = "|".join(sorted(COLOURS | _domain_words(scope, "colours"), key=len, reverse=True))
    materials = "|".join(sorted(MATERIALS | _domain_words(scope, "materials"), key=len, reverse=True))
    changes: dict[str, str] = {}
    renamed = part.take(
        rf"\b(?:call|name|rename)\s+(?:the\s+)?(?:{subject})\s+(?:to\s+|as\s+)?(?:\"|')?([\w][\w' "
        rf"-]{{1,40}}?)(?:\"|')?\s*(?=[,.;|!]|$|please)"
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
            rf"\b(?:{subject}|colou?r|material|finish)\b(?:\s+(?:of|in|on|"
            rf"at)\s+the\s+[\w-]+)?(?:\s+(?:{_COPULA})\b)*\W*\s*(?:(?:{other})\s+)?{value}{follows}",
            rf"\b(?:make|paint|turn|colou?r|use|try|prefer|want|in|into|to|with|for|give me)\s+(?:it\s+|the "
            rf"colou?r\s+|a\s+)?{value}(?=\s*(?:[,.;|!?]|$|please|instead|and\b|colou?r))",
            rf"^\W*{value}(?:\s+(?:please|instead))?\W*$",
        ):
            if match := re.search(wording, told, _I):
                changes[name] = re.sub(r"^(dark|light|deep|bright)er\b", r"\1", match[1].lower().strip())
                part.take(rf"\b{re.escape(match[1])}\b")
                break
    if scope.domain is not None and "name" not in changes:
        nouns = {word: kind for kind, words in scope.domain.products.items() for word in words}
        for match in re.finditer(
            rf"\b(?:be|is|into|sell|show|for|to|as|make it|about)\s+(?:an?|the|"
            rf"our)\s+(?:[\w-]+\s+){{0,2}}?({'|'.join(sorted(map(re.escape, nouns), key=len, reverse=True))})\b",
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
    "snowy|sunny|dark|bright|busy|quiet|small|big|old|modern|rainy|green|sandy|wooden|empty|crowded|cosy|"
    "cozy|grand|lonely|rocky|"
    "frozen|night|misty|foggy"
)
_NO_SUBJECT = r"(?!\w)(?!\s+(?:should|must|is|are|looks?|needs?|has|have|shall)\b)"
"""`the mug on the table should be red` moves nothing onto a table."""
_DETERMINED = r"(?:the|a|an|some|our|my|his|her|their|this|that)"
_PREPOSITION = (
    r"(?:in front of|on top of|next to|in the middle of|at the edge of|in|on|at|by|before|near|"
    r"inside|under|among|beside|behind|along|over|across|against|around|through)"
)
_NO_PLACE = re.compile(
    r"\b(?:style|way|focus|motion|day|general|particular|fact|end|start|beginning|middle|background|foreground|"
    r"centre|center|left|right|top|bottom|"
    r"frame|picture|image|light|colou?r|voice|tone|mood|moment|order|scenes?|shots?|story|ad|video|time|"
    r"times|minute|second|hand|words?|least|"
    r"most|all|once|first|last|english|german|black and white|detail|mind|it|them|please|look|feel)\b",
    _I,
)


def _place_and_time(part: Part, scope: Scope, found: dict[str, object]) -> None:
    for pattern, phrase in TIMES:
        if part.take(pattern):
            found["time"] = phrase
            break
    nouns = PLACE_NOUNS | {word for word in _domain_words(scope, "settings")}
    noun = "|".join(sorted((re.escape(one).replace(r"\-", "[- ]") for one in nouns), key=len, reverse=True))
    described = rf"(?:(?!{_PREPOSITION}\b|and\b|or\b|of\b|scene\b|it\b|to\b)[\w'-]+\s+){{0,3}}?"
    whole = part.take(
        rf"\b{_PREPOSITION}\s+(?:{_DETERMINED}\s+)?{described}(?:{noun})\b(?:\s+(?:of|by|in|with|near|under|"
        rf"at)\s+(?:{_DETERMINED}\s+)?[\w'-]+(?:\s+(?:{noun})\b)?)?{_NO_SUBJECT}"
        if not part.named
        else rf"\b{_PREPOSITION}\s+(?:{_DETERMINED}\s+)?{described}(?:{noun})\b(?:\s+(?:of|"
        rf"by)\s+(?:{_DETERMINED}\s+)?[\w'-]+)?{_NO_SUBJECT}"
    )
    if whole:
        found["setting"] = _tidy(whole[0])
        return
    bare = part.take(
        r"(?:^|[|,:;=>→-]|\b(?:to|into|for|use|with|towards?|put|show|choose|make it|make|be|is|want|rather|"
        r"prefer|have|see|instead|try|"
        rf"happens?|set|go))\s*(?:{_DETERMINED}\s+)?((?:(?:{noun}|{_PLACE_ADJECTIVES})\s+)*(?:{noun}))"
        r"(?=\s*(?:[|,.;!?]|$|(?:please|instead|scene|for|in|at|and|but|then|as|rather|now|setting|background)\b))"
    )
    if bare and scope.noun != bare[1].lower():
        found["setting"] = _as_place(bare[1].lower(), scope)
        return
    anywhere = re.search(
        rf"\b(?:happens?|happening|takes? place|set|sets|plays?|playing|move[sd]?|put|shoot|shot|film(?:ed)?|"
        rf"located|be|is|change|switch|go(?:es)?|take[sn]?|placed?|relocate[sd]?|somewhere)\b[^|"
        rf".]*?\b({_PREPOSITION}|to)\s+"
        rf"((?:{_DETERMINED}\s+)?[a-z][\w'-]*(?:\s(?!and\b|please\b|instead\b|with\b|"
        rf"but\b)[\w'-]+){{0,3}})\s*(?=[,.;|!?]|$|please|instead|and\b|with\b)",
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


def _words(part: Part, found: dict[str, object]) -> None:
    for name, table in (("length", LENGTHS), ("look", LOOKS), ("mood", MOODS)):
        values = [value for pattern, value in table if part.take(rf"(?:{pattern})")]
        if values:
            found[name] = values[0] if name != "mood" else " and ".join(dict.fromkeys(values))


def _action(part: Part, scope: Scope) -> str | None:
    """What the product does in a scene: `the bottle falls into the water`."""
    text = re.sub(r"\s*\|\s*", " ", part.text).strip(" :,.!-")
    noun = rf"(?:the\s+|our\s+|a\s+)?(?:[\w-]+\s+){{0,2}}?(?:{re.escape(scope.noun)}|product)"
    if match := re.search(
        rf"\b(?:let|have|make|show)\s+({noun})\s+(?!name\b|label\b|look|more\b|less\b|\w+er\b)([a-z]+(?:ing)?)\b\s*([^,.;!?]*)",
        text,
        _I,
    ):
        verb = f"is {match[2]}" if match[2].endswith("ing") else _third_person(match[2])
        rest = match[3]
    elif match := re.search(
        rf"\b({noun})\s+(?:should|must|could|has to|needs to|ought to|will)\s+(?!be\b|look\b|have\b|appear\b|"
        rf"stay\b)([a-z]+)\b\s*([^,.;!?]*)",
        text,
        _I,
    ):
        verb, rest = _third_person(match[2]), match[3]
    elif match := re.search(
        rf"^\W*(?:in\s+|and\s+)?({noun})\s+(?!should|must|is\b|are\b|be\b|in\b|on\b|at\b|to\b|more|looks?\b|"
        rf"has\b)([a-z]+s)\b\s*([^,.;!?]*)",
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
