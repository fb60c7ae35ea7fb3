"""The sketch author: a chat model that is a grammar. It answers the agents' questions of the embedded profile.

Not a language model, and declared as what it is (`family: sketch-author`). What it writes are sentences of
`author_words`, filled with what the question says of product, brand, claims, offer and places, and varied by the seed:
so it cannot write a word that is none, and cannot change what is known. References are looked at with the sketch CLIP,
zero-shot over what the toy world has. To anything else it answers what it is, in the schema that was asked for.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from models.errors import BudgetExceeded, InvalidRequest
from models.interfaces import ChatRequest, ChatResult, EncodedImage, Watcher, unread
from models.sketch import author_words as words
from models.spec import ChatModelSpec, ScorerModelSpec

Json = dict[str, Any]
WHAT_I_AM = (
    "I am the sketch author of AdMint: a grammar, not a language model. I write short video ads for eight kinds of "
    "things (bottle, can, mug, box, jar, shoe, watch, lamp). For anything else choose a profile with a language model."
)
MAX_EVENT_WORDS = 14
"""What the shortest shot, 1.5 s, can show."""
_VERBS = frozenset(
    (
        "is", "are", "has", "have", "keeps", "keep", "holds", "hold", "makes", "make", "saves", "save", "looks",
        "look", "fits", "fit", "feels", "feel", "works", "work", "needs", "need", "folds", "fold", "comes", "come",
        "lasts", "last", "starts", "start", "gives", "give", "brings", "bring", "stays", "stay", "turns", "turn",
        "wakes", "tastes", "helps", "lets", "let", "protects", "protect", "cleans", "charges", "tells", "shows",
        "lights", "stands", "stand", "carries", "carry", "cools", "heats", "survives", "survive", "weighs", "opens",
        "closes", "resists", "floats", "glows", "glow", "shines", "shine", "warms", "runs", "run", "grips", "grip",
        "supports", "support", "cushions", "cushion", "blocks", "dries", "dry", "breathes", "breathe", "never",
        "always", "goes", "fills", "filters", "smells", "sounds", "adapts", "costs", "travels", "remembers", "dims",
    )
)  # fmt: skip
"""How a claim begins that can follow the product."""
SHORT_EVENT_WORDS = 9
"""Of an ad that is asked to be shorter."""


class SketchAuthor:
    """A `ChatModel` of rules. The folder `clip` holds the CLIP that looks at references."""

    def __init__(self, spec: ChatModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Loads nothing; the CLIP is loaded onto `device` when the first picture comes."""
        self._spec = spec
        self._eyes = _Eyes(folders, device)

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request`. Raises BudgetExceeded for more words than tokens, Cancelled, InvalidRequest."""
        result = self.stream(request, watcher, unread)
        if result.finish_reason == "length":
            raise BudgetExceeded(f"the answer did not end within max_tokens={request.max_tokens}: raise max_tokens")
        return result

    def stream(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        """As `complete`, all at once to `write`; an answer with more words than tokens is cut and returned."""
        started = time.monotonic()
        watcher.step(0, 1)
        if request.stop and request.json_schema is not None:
            raise InvalidRequest("'stop' would cut an answer that must be JSON: leave out 'stop' or the schema")
        text = self._answer(request)
        for mark in request.stop:
            text = text.split(mark)[0]
        pieces = re.findall(r"\s*\S+", text)
        cut = len(pieces) > request.max_tokens
        text = "".join(pieces[: request.max_tokens]) if cut else text
        write(text)
        watcher.step(1, 1)
        return ChatResult(
            text=text,
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=min(len(pieces), request.max_tokens),
            seconds=time.monotonic() - started,
            finish_reason="length" if cut else "stop",
        )

    def _answer(self, request: ChatRequest) -> str:
        if request.json_schema is None:
            return WHAT_I_AM
        question = _Question(request)
        fields = frozenset(request.json_schema.get("properties", {}))
        for needed, answer in _ANSWERS:
            if needed <= fields and question.asks:
                return _told(answer(question))
        images = [image for message in request.messages for image in message.images]
        if {"name", "description"} <= fields and images:
            return _told(self._eyes.seen(images[0], question))
        return _told(_filled(request.json_schema, request.json_schema))


def _told(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)


class _Question:
    """The lines of an agent's question, by what they say."""

    def __init__(self, request: ChatRequest) -> None:
        asked = [message.content for message in request.messages if message.role == "user"]
        self.text = asked[0] if asked else ""
        """The question itself; what follows it says why an answer was not good."""
        self.again = "\n".join(asked[1:])
        self.schema: Json = request.json_schema or {}
        self.rng = Random(request.seed)  # noqa: S311
        self.lines = self.text.splitlines()
        self.asks = re.match(r"Brief: |Prompt: ", self.text) is not None
        self.entities = [(m[1], m[2], m[3]) for m in self._all(r"([\w-]+) = (.+?) \((.*)\)")]
        self.product = next((name for handle, name, _ in self.entities if handle == "product"), "product")
        self.brand = self.line("Brand")
        self.feedback = f"{self.line('Feedback') or ''} {self.line('Note of the owner') or ''} {self.again}".lower()

    def line(self, name: str) -> str | None:
        """What stands behind `name: `, in the last line that begins so."""
        found = [line.removeprefix(f"{name}: ") for line in self.lines if line.startswith(f"{name}: ")]
        return found[-1] if found else None

    def several(self, name: str) -> list[str]:
        return [line.removeprefix(f"{name}: ") for line in self.lines if line.startswith(f"{name}: ")]

    def _all(self, pattern: str) -> list[re.Match[str]]:
        return [found for line in self.lines if (found := re.fullmatch(pattern, line))]

    def scenes(self) -> list[tuple[str, str | None]]:
        """Purpose and place of every beat to write; those of an earlier draft, which look alike, stand behind."""
        asked = itertools.takewhile(lambda line: not line.startswith("Earlier draft:"), self.lines)
        pattern = rf"\d+ ((?:{'|'.join(words.EVENTS)})(?: \+ \w+)*)(?:, (.+))?"
        return [(one[1], one[2]) for line in asked if (one := re.fullmatch(pattern, line))]

    def says(self, pattern: str) -> bool:
        """Whether brief or feedback asks for it."""
        return re.search(pattern, f"{self.line('Brief') or ''} {self.feedback}", re.IGNORECASE) is not None


class _Cast:
    """How sentences speak of one product in one place."""

    def __init__(self, question: _Question) -> None:
        self.question = question
        name = question.product
        self.name = name
        self.head = name.split()[-1]
        self.plural = self.head.lower().endswith("s") and not self.head.lower().endswith(("ss", "us", "is"))
        colour = next((word for word in name.split()[:-1] if word.lower() in words.COLOUR_NAMES), None)
        self.short = f"{colour} {self.head}" if colour else self.head
        self.kind = _kind(name, words.KINDS)

    def sentence(self, form: str, setting: str, short: bool = False, **more: str) -> str:
        """`form` filled in, with a capital at its head."""
        rng, place = self.question.rng, _kind(setting, words.PLACES)
        light = rng.choice(words.LIGHTS[_hour(setting)])
        around = rng.choice(words.AROUND[place])
        detail = rng.choice(words.DETAILS[self.kind])
        text = self.agreed(form).format(
            p=self.short if short else self.name, l=light, L=light, d=around, D=around, f=detail, n=self.head, **more
        )
        return text[0].upper() + text[1:]

    def agreed(self, form: str) -> str:
        """`form` with each verb, `{is|are}`, in the product's number."""
        return re.sub(r"\{([^{}|]*)\|([^{}|]*)\}", lambda two: two[2] if self.plural else two[1], form)


# --- the answers ------------------------------------------------------------------------------------------------------


def _read_brief(question: _Question) -> Json:
    """The brief reader: what the schema fixes, nothing where it leaves the choice, and a look."""
    answer: Json = {}
    for name, schema in question.schema["properties"].items():
        if name == "description":
            continue
        answer[name] = _least(schema)
    name = answer["name"] or "product"
    colour = any(word.lower() in words.COLOUR_NAMES for word in name.split())
    usual = words.USUAL_COLOURS.get(_kind(name, words.KINDS))
    return {
        "name": answer["name"],
        "description": (name if colour or usual is None else f"{usual} {name}")[:80],
        **{key: value for key, value in answer.items() if key != "name"},
    }


def _direct(question: _Question) -> Json:
    """The director: one event per scene, none twice; claims in the middle, brand, call and offer at the end."""
    cast, scenes = _Cast(question), question.scenes()
    settings = _settings(question, scenes)
    claims = _claim_beats(question, scenes)
    used: set[str] = set()
    beats = []
    for index, (purpose, _) in enumerate(scenes):
        claim = claims.get(index)
        setting = settings[index]
        if claim is not None:
            event = _claiming(cast, claim, setting, used, first=index == min(claims))
        else:
            event = _event(cast, purpose, setting, used)
        beats.append({"setting": setting, "event": event})
    call = _call(question, cast)
    said = call.removeprefix(f"The {cast.name}: ")  # the event has just named it
    beats[-1]["event"] = f"{beats[-1]['event']}: {said}"
    return {"title": _title(question, cast), "beats": beats, "call_to_action": call}


def _settings(question: _Question, scenes: list[tuple[str, str | None]]) -> list[str]:
    """Each beat's own place; one place for all where the brief leaves it open."""
    beat = question.schema.get("$defs", {}).get("BeatAnswer", {}).get("properties", {}).get("setting", {})
    offered = beat.get("enum") or ["in a studio"]
    chosen = question.rng.choice(offered)
    return [place or chosen for _, place in scenes]


def _claim_beats(question: _Question, scenes: list[tuple[str, str | None]]) -> dict[int, str]:
    """Which beat says which claim: the second one on, never the last unless there is no other."""
    claims = question.several("Claim")
    count = len(scenes)
    wanted = [index for purpose in ("Interest", "Solve", "After", "Desire", "Bridge", "Agitate") for index, one in
              enumerate(scenes[:-1]) if purpose in one[0]]  # fmt: skip
    order = list(dict.fromkeys([*wanted, *range(max(count - 1, 1))]))
    return {index: claim for index, claim in zip(order, claims, strict=False)}


def _claiming(cast: _Cast, claim: str, setting: str, used: set[str], first: bool) -> str:
    question = cast.question
    verb = claim.split()[0].lower()
    third = verb.endswith("s") and not verb.endswith("ss")  # `keeps`, `is`; and with `never`, the word after it
    if verb in ("never", "always"):
        third = claim.split()[1].endswith("s")
    fits = verb in ("can", "will", "cannot") or (verb in _VERBS and third != cast.plural)
    said = claim[0].lower() + claim[1:] if fits else claim
    if not fits:
        forms = list(words.WRITTEN)
    elif question.brand and first and question.rng.random() < 0.7:
        forms = list(words.BRANDED)
    else:
        forms = [form for form in words.CLAIMED if ":" not in form]
    question.rng.shuffle(forms)
    options = [
        cast.sentence(form, setting, short, claim=said, b=question.brand or "")
        for short in (False, True)
        for form in forms
    ]
    options = [one for one in options if one not in used]
    fitting = [one for one in options if len(one.split()) <= MAX_EVENT_WORDS + 2 and len(one) <= 110]
    chosen = (fitting or sorted(options, key=len))[0]
    used.add(chosen)
    return chosen


def _event(cast: _Cast, purpose: str, setting: str, used: set[str]) -> str:
    """An event that no beat has had; of several purposes in one beat the last."""
    question = cast.question
    stage = purpose.split(" + ")[-1]
    limit = SHORT_EVENT_WORDS if "shorter" in question.feedback else MAX_EVENT_WORDS
    forms = list(words.EVENTS[stage])
    question.rng.shuffle(forms)
    if question.says(r"\bfunn|\bplayful|\bhumou?r|\bjoke|\bcheeky"):
        forms = [*words.PLAYFUL[stage], *forms]
    others = [form for each in ("Desire", "Interest", "After", "Attention") for form in words.EVENTS[each]]
    for form in (*forms, *others):
        if form in used:
            continue
        for short in (False, True):
            text = cast.sentence(form, setting, short)
            if len(text.split()) <= limit and not _alike(text, used, cast):
                used.update((form, text))
                return text
    used.add(forms[0])
    return cast.sentence(forms[0], setting, short=True)


def _alike(text: str, used: set[str], cast: _Cast) -> bool:
    """Whether `text` says what another beat says: half of its words beside the product."""
    spent = {*cast.name.lower().split(), "the", "and", "a", "in", "of", "on"}
    mine = set(re.findall(r"\w+", text.lower())) - spent
    return any(
        len(mine & (set(re.findall(r"\w+", other.lower())) - spent)) > 0.5 * len(mine)
        for other in used
        if "{" not in other
    )


def _call(question: _Question, cast: _Cast) -> str:
    """The brief's own call to action, or one of ours; with the brand or the product, and the offer as it is."""
    wanted, offer, brand = question.line("Wanted call to action"), question.line("Offer"), question.brand
    if wanted is not None:
        named = [brand, cast.head] if brand is None else [brand]
        if not any(one and re.search(rf"\b{re.escape(one)}", wanted, re.IGNORECASE) for one in named):
            head = brand or f"The {cast.name}"
            wanted = f"{head}: {wanted}"
        call = wanted
    else:
        forms = words.CALLS_BRANDED if brand else words.CALLS
        form = question.rng.choice(forms)
        call = cast.sentence(form, "", b=brand or "")
    if offer is not None and offer.lower() not in call.lower():
        said = offer if re.match(r"[^A-Za-z]|[A-Z]{2}", offer) else offer[0].lower() + offer[1:]
        call = f"{call}, {said}"
    return call[:200]


def _title(question: _Question, cast: _Cast) -> str:
    audience = question.line("Audience")
    forms = words.TITLES_BRANDED if question.brand else words.TITLES
    if audience and not audience.lower().startswith("every"):
        forms = words.TITLES_FOR
    title = cast.sentence(question.rng.choice(forms), "", b=question.brand or f"the {cast.name}", a=audience or "")
    return title if len(title) <= 80 else (question.brand or cast.short)[:80]


def _criticise_story(question: _Question) -> Json:
    return _critique(question, words.PRAISE if "Scenes:" not in question.lines else words.SCENE_PRAISE)


def _critique(question: _Question, praise: tuple[str, ...]) -> Json:
    """The critics: what the facts say, and a score that follows from them."""
    fixes = question.several("To fix")
    facts = question.line("Facts") or ""
    scene = re.search(r"^Scene \d+ of", question.text, re.MULTILINE) is not None
    cast = _Cast(question)
    strengths = []
    if "product not named" not in facts and "product named: no" not in facts:
        strengths.append(cast.agreed("The {p} {is|are} clear to see.").format(p=cast.name))
    if not any(one.startswith(("Set ", "Stay ")) for one in fixes):
        strengths.append("The setting is kept." if scene else "It keeps the brief's places, in their order.")
    if fixes:
        told, score = "The draft does not hold to the brief yet.", max(80 - 12 * len(fixes), 10)
        if len(fixes) == 1:
            told = "One thing does not hold to the brief yet."
    else:
        told = cast.agreed(question.rng.choice(words.SCENE_PRAISE if scene else praise)).format(p=cast.name)
        score = question.rng.randint(89, 95)
    return {
        "strengths": [line[:120] for line in strengths[:2]],
        "improvements": [],
        "priority_fixes": [fix[:120] for fix in fixes[:2]],
        "critique": told[:200],
        "overall_score": score,
    }


def _write(question: _Question) -> Json:
    """The writer: the beat's event in the beat's setting, with a camera that does not turn back on its neighbours'."""
    setting = question.schema["properties"]["setting"].get("const")
    beat = next((line for line in question.lines if line.startswith("Beat, ")), "")
    body = beat.removeprefix("Beat, ")
    place, _, event = (setting, ": ", body.removeprefix(f"{setting}: ")) if setting else body.partition(": ")
    purpose = re.search(r"purpose: (.+)", question.text)
    stage = (purpose[1] if purpose else "Action").split(" + ")[-1]
    moves = question.schema["properties"]["camera"]["enum"]
    handles = question.schema["properties"]["entities"]["items"]["enum"]
    shown = [
        handle
        for handle, name, _ in question.entities
        if handle in handles and (not handle.startswith("character") or name.lower() in event.lower())
    ]
    return {
        "setting": setting or place,
        "action": event[:200],
        "camera": _camera(question, stage, moves),
        "entities": shown or [handles[0]],
    }


def _camera(question: _Question, stage: str, moves: list[str]) -> str:
    asked = {
        "static": r"static|still|no movement|do not move", "push_in": r"closer|zoom in|push in|close[- ]?up",
        "pull_back": r"zoom out|pull back|further away|wider", "pan_left": r"pan (?:to the )?left",
        "pan_right": r"pan (?:to the )?right", "tilt_up": r"tilt up|upwards", "tilt_down": r"tilt down|downwards",
        "orbit": r"orbit|around it|circle",
    }  # fmt: skip
    for move, pattern in asked.items():
        if move in moves and re.search(pattern, question.feedback):
            return move
    for move, said in (("orbit", r"camera circles"), ("push_in", r"comes? closer|moves? to the front")):
        if move in moves and re.search(rf"^Beat, .*(?:{said})", question.text, re.MULTILINE):
            return move
    usual = [move for move in words.CAMERAS.get(stage, ("static",)) if move in moves]
    return question.rng.choice(usual or moves[:1])


def _pair(question: _Question) -> Json:
    """The cohesor of two neighbours, by the facts line."""
    facts = question.line("Facts") or ""
    issues, wishes, score = [], [], 93
    if "one setting: no" in facts:
        score -= 8
        if "both settings in the brief: no" in facts and "brief names no setting" not in facts:
            score -= 22
            issues.append("The setting changes.")
            wishes.append("Keep the place of the scene before.")
    if "product named in the second: no" in facts:
        score -= 26
        issues.append(f"The {question.product} is missing.")
        wishes.append(f"Show the {question.product}.")
    if "camera turns back: yes" in facts:
        score -= 14
        issues.append("The camera turns against itself.")
        wishes.append("Use a static camera.")
    return {"issues": issues[:2], "recommendations": wishes[:2], "transition_score": score}


def _overview(question: _Question) -> Json:
    facts = question.line("Facts") or ""
    absent = re.search(r"product not named in scene ([\d, ]+)", facts)
    away = re.search(r"another setting in scene ([\d, ]+)", facts)
    return {
        "global_issues": [f"The {question.product} is missing in scene {absent[1]}."[:120]] if absent else [],
        "consistency_issues": [f"Scene {away[1]} leaves the brief's places."] if away else [],
        "overall_recommendations": [f"Show the {question.product} in scene {absent[1]}."[:120]] if absent else [],
    }


def _enhance(question: _Question) -> Json:
    """The enhancers: the prompt, with light of its time of day and a style."""
    prompt = question.line("Prompt") or question.text.removeprefix("Prompt: ")
    richer = prompt
    for more in (question.rng.choice(words.LIGHT_WORDS[_hour(prompt)]), question.rng.choice(words.STYLES)):
        if more not in richer and len(richer) + len(more) + 2 <= 200:
            richer = f"{richer}, {more}"
    return {"prompt": richer[:200]}


_ANSWERS: tuple[tuple[frozenset[str], Callable[[_Question], Json]], ...] = (
    (frozenset({"title", "beats", "call_to_action"}), _direct),
    (frozenset({"strengths", "priority_fixes", "overall_score"}), _criticise_story),
    (frozenset({"setting", "action", "camera", "entities"}), _write),
    (frozenset({"issues", "transition_score"}), _pair),
    (frozenset({"global_issues", "consistency_issues"}), _overview),
    (frozenset({"name", "description", "places"}), _read_brief),
    (frozenset({"prompt"}), _enhance),
)
"""By the fields that the question's schema asks for, the first that fits."""


# --- schemas and words ------------------------------------------------------------------------------------------------


def _least(schema: Json) -> Any:
    """The value that decides nothing: what is fixed, else null or an empty list."""
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "array":
        return [one["const"] for one in schema.get("prefixItems", [])]
    return None


def _filled(schema: Any, root: Json) -> Any:
    """A value for any schema: fixed ones as they are, texts saying what answers here."""
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        return _filled(root.get("$defs", {}).get(schema["$ref"].rsplit("/", 1)[-1], {}), root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _filled(schema[key][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_kind(kind[0] if isinstance(kind, list) else kind, schema, root)


def _of_kind(kind: str, schema: Json, root: Json) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        wanted: Any = schema.get("required", properties)
        return {name: _filled(one, root) for name, one in properties.items() if name in wanted}
    if kind == "array":
        first = [_filled(one, root) for one in schema.get("prefixItems", [])]
        missing = max(int(schema.get("minItems", 0)) - len(first), 0)
        return [*first, *(_filled(schema.get("items", {"type": "string"}), root) for _ in range(missing))]
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    known: Json = {"integer": int(low) + ("exclusiveMinimum" in schema), "number": float(low), "boolean": False}
    known["null"] = None
    return known[kind] if kind in known else _worded(schema)


def _worded(schema: Json) -> str:
    """A text of the asked length that says what answers here."""
    text = WHAT_I_AM
    most = int(schema.get("maxLength", len(text)))
    if len(text) > most:
        text = next(
            (
                one
                for one in ("I only write ads for toy products.", "I only write ads.", "no answer")
                if len(one) <= most
            ),
            text[:most],
        )
    return text.ljust(int(schema.get("minLength", 0)), ".")


def _kind(text: str, kinds: Mapping[str, tuple[str, ...]]) -> str:
    """The entry whose word comes last in `text`; empty for none."""
    lower = text.lower()
    found = [
        (match.start(), kind)
        for kind, names in kinds.items()
        for word in names
        for match in re.finditer(rf"\b{word}", lower)
    ]
    return max(found)[1] if found else ""


def _hour(text: str) -> str:
    lower = text.lower()
    return next((hour for hour, names in words.HOURS.items() if any(name in lower for name in names)), "")


class _Eyes:
    """Looks at references with the CLIP of the toy world: the caption that fits best, over all things it knows."""

    def __init__(self, folders: Mapping[str, Path], device: str) -> None:
        self._folder = folders.get("clip")
        self._device = device
        self._known: tuple[Any, list[tuple[str, str]], Any] | None = None

    def seen(self, picture: EncodedImage, question: _Question) -> Json:
        """Name and description of what `picture` shows. Raises InvalidRequest without a CLIP."""
        import numpy as np
        import torch
        from PIL import Image

        if "Role: style" in question.text:
            return {"name": "style", "description": "soft light, calm colours"}
        encoder, things, captions = self._loaded()
        with Image.open(io.BytesIO(picture.data)) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        scores = captions @ encoder.features(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])[0]
        shape, colour = things[int(scores.argmax())]
        if "Role: character" in question.text:
            return {"name": "figure", "description": f"figure in {colour}"}
        return {"name": shape, "description": f"{colour} {shape}"}

    def _loaded(self) -> tuple[Any, list[tuple[str, str]], Any]:
        if self._known is None:
            import numpy as np

            from models.scorers.clip import ClipEncoder

            if self._folder is None:
                raise InvalidRequest("the sketch author has no CLIP to look at pictures with: give its part 'clip'")
            spec = ScorerModelSpec(kind="scorer", name="sketch-clip", family="clip", licence="Apache-2.0", vram_gb=0)
            encoder = ClipEncoder(spec, {"main": self._folder}, self._device)
            things = [(shape, colour) for shape in words.KINDS for colour in words.COLOURS]
            told = [[form.format(c=c, s=s) for form in words.CAPTIONS] for s, c in things]
            captions = np.stack([np.mean([encoder.text(text)[0] for text in forms], axis=0) for forms in told])
            self._known = (encoder, things, captions)
        return self._known
