"""Whether the agents tell the truth: stories of briefs whose facts are known, planted faults, and briefs out of domain.

`python -m benchmarks.agents` runs the story and scenes stages with the chat model of the profile `sketch`, prints a
table and ten stories to be read, and writes `benchmarks/results/agents.json` and `agents.md`. Right and wrong are told
from the generator's own knowledge of each brief, not by the judge that is measured. No picture is drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.agents.briefs import BY_HAND, COLOURS, NAMELESS, OUT_OF_DOMAIN, Known, in_domain
from configs.settings import load_model, load_profile, load_recipe
from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    Unwatched,
    VideoRequest,
    VideoResult,
    Watcher,
)
from models.sketch.author import SketchAuthor
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.brief import Brief
from pipelines.errors import AgentFailed, OutOfDomain
from pipelines.orders.ad import AdPlanner, AdRequest
from pipelines.reading.brief_rules import read_brief
from pipelines.reading.domain import drawable
from pipelines.reading.sanity import check_text
from pipelines.report.verdict import approval_status
from pipelines.scoring import ScoreRequest
from pipelines.screenplay import ScenesResult, StoryResult
from pipelines.stages.context import StageContext
from pipelines.stages.scenes import write_scenes
from pipelines.stages.story import tell_story
from pipelines.steps import Json, Step, StoredArtifact
from pipelines.timing import plan_slots
from quality.score import Score

RESULTS = Path(__file__).parents[1] / "results"
PROFILE = load_profile("sketch")
CHAT = load_model(PROFILE.chat, ChatModelSpec)
IMAGE = load_model(PROFILE.image, ImageModelSpec)
VIDEO = load_model(PROFILE.video, VideoModelSpec)
OTHER_COLOURS = ("purple", "pink", "yellow", "red", "black")
CRITICS = frozenset({"strengths", "overall_score"})
Script = Callable[[ChatRequest, str], str]
"""The answer of a scripted model in place of a good one."""


class NoFiles:
    """No agent reads a picture here."""

    def put(self, data: bytes, media_type: str) -> StoredArtifact:
        raise NotImplementedError("nothing is stored here")

    def read(self, sha256: str) -> bytes:
        raise NotImplementedError("nothing is stored here")


class Bench:
    """The context of every step: the sketch author, or one that `script` spoils."""

    chat_model, image_model, video_model = CHAT, IMAGE, VIDEO

    def __init__(self, script: Script | None = None) -> None:
        self._author = SketchAuthor(CHAT, {}, "cpu")
        self._script = script
        self.artifacts = NoFiles()
        self.calls = 0

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        self.calls += 1
        result = self._author.complete(request, Unwatched())
        if self._script is None:
            return result
        return ChatResult(self._script(request, result.text), result.prompt_tokens, result.completion_tokens, 0.0)

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        raise NotImplementedError("no picture is drawn here")

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        raise NotImplementedError("no clip is made here")

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        raise NotImplementedError("nothing is scored here")

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        return None

    async def finish(self, step: Step) -> Json:
        return (await step.work(self)).value


async def written(
    known: Known, seed: int, recipe: str, script: Script | None = None
) -> tuple[StoryResult, ScenesResult]:
    """Story and scenes of a brief. Raises AgentFailed."""
    bench, rules = Bench(script), load_recipe(recipe)
    brief = Brief(prompt=known.prompt, seed=seed, duration=known.duration, framework=known.framework)
    context = StageContext(
        brief=brief,
        recipe=rules,
        slots=plan_slots(known.framework, known.duration, PROFILE.fps, None),
        fps=PROFILE.fps,
        delivery=PROFILE.delivery["9:16"],
        fingerprints={"chat": "measured", "image": "none", "video": "none"},
        chat_model=CHAT,
        image_model=IMAGE,
        video_model=VIDEO,
        finish=bench.finish,
    )
    story = await tell_story(context)
    return story, await write_scenes(context, story)


# --- what must hold, told from the brief's own knowledge -------------------------------------------------------------


def wrongs(known: Known, story: StoryResult, scenes: ScenesResult) -> dict[str, list[str]]:
    """What is wrong, by the row of the table that it belongs to."""
    told, events = story.story, [beat.event for beat in story.story.beats]
    prompts = [prompt for scene in scenes.scenes for prompt in (scene.image_prompt, scene.video_prompt)]
    shown = [*events, *(scene.draft.action for scene in scenes.scenes), *prompts]
    texts = [told.title, told.call_to_action, *shown]
    whole, last = " ".join(events), events[-1]
    return {
        "product": [*_wrong_product(known, shown, texts, prompts)],
        "setting": [*_wrong_settings(known, story, scenes)],
        "brand": [text for text in (whole, last, told.call_to_action) if known.brand and known.brand not in text],
        "offer": [
            text for text in (last, told.call_to_action) if known.offer and known.offer.lower() not in text.lower()
        ],
        "claim": [known.claim] if known.claim and known.claim.lower() not in whole.lower() else [],
        "text": [*_wrong_texts(known, texts), *(["an event twice"] if len(set(events)) < len(events) else [])],
    }


def _wrong_product(known: Known, shown: list[str], texts: list[str], prompts: list[str]) -> Iterator[str]:
    noun = known.noun.rstrip("s")
    yield from (f"no {noun}: {text}" for text in shown if noun not in text.lower())
    if known.colour is None:
        return
    yield from (f"no {known.colour}: {text}" for text in prompts if known.colour not in text)
    others = "|".join(colour for colour in COLOURS if colour and colour != known.colour)
    yield from (text for text in texts if re.search(rf"\b(?:{others})\s+(?:\w+\s+){{0,3}}{noun}", text.lower()))


def _wrong_settings(known: Known, story: StoryResult, scenes: ScenesResult) -> Iterator[str]:
    beats = story.story.beats
    for index, (beat, scene) in enumerate(zip(beats, scenes.scenes, strict=True)):
        place, hour = known.places[index * len(known.places) // len(beats)]
        for setting in (beat.setting, scene.draft.setting):
            if place not in setting or (hour is not None and hour.split()[-1] not in setting):
                yield f"beat {index + 1} {setting!r}, not {place} {hour}"


def _wrong_texts(known: Known, texts: list[str]) -> Iterator[str]:
    for text in texts:
        try:
            check_text(text, known.prompt)
        except ValueError as error:
            yield str(error)


# --- scripted models that misbehave ----------------------------------------------------------------------------------


def _in_texts(request: ChatRequest, text: str, change: Callable[[str], str]) -> str:
    """The answer with `change` in every text of a story or scene; critics praise it."""
    answer: Any = json.loads(text)
    if answer.keys() >= CRITICS:
        return json.dumps({**answer, "priority_fixes": [], "critique": "A perfect draft.", "overall_score": 98})
    if "beats" in answer:
        answer["title"], answer["call_to_action"] = change(answer["title"]), change(answer["call_to_action"])
        for beat in answer["beats"]:
            beat["event"] = change(beat["event"])
    elif "action" in answer:
        answer["action"] = change(answer["action"])
    return json.dumps(answer, ensure_ascii=False)


def _changing(change: Callable[[str], str]) -> Script:
    return lambda request, text: _in_texts(request, text, change)


def _instead(answer: str) -> Script:
    """`answer` in place of every story."""
    return lambda request, text: answer if "beats" in text else _in_texts(request, text, lambda one: one)


def _repeating(request: ChatRequest, text: str) -> str:
    answer: Any = json.loads(text)
    if "beats" not in answer:
        return _in_texts(request, text, lambda one: one)
    for beat in answer["beats"][1:-1]:
        beat["event"] = answer["beats"][0]["event"]
    return json.dumps(answer)


def faults(known: Known) -> dict[str, Script]:
    """Ten ways to get a brief with colour, brand, claim, offer and places wrong."""
    noun, colour, brand = known.noun, known.colour or "", known.brand or ""
    other = next(one for one in OTHER_COLOURS if one != colour)
    away = "in the desert" if "desert" not in str(known.places) else "in the kitchen"
    digits = re.compile(r"\d+(?:\.\d+)?")
    return {
        "wrong colour": _changing(lambda text: text.replace(colour, other)),
        "wrong place": _changing(lambda text: re.sub(rf"({noun})\b", rf"\1 {away}", text, count=1)),
        "renamed product": _changing(lambda text: re.sub(rf"\b{noun}\b", "dumbbell", text)),
        "cut JSON": lambda request, text: text[: len(text) // 2],
        "refusal": _instead("I'm sorry, but I cannot help with advertising."),
        "another language": _changing(
            lambda text: f"Die Szene zeigt eine {noun} und das Licht fällt auf sie, {text}"[:200]
        ),
        "brand dropped": _changing(lambda text: text.replace(brand, "Acme")),
        "other price": _changing(lambda text: digits.sub(lambda found: str(int(float(found[0])) + 5), text)),
        "one event for all": _repeating,
        "gibberish": _changing(lambda text: f"{noun} " + "inerbin" * 6),
    }


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One line of the table."""

    what: str
    bar: str
    right: int = 0
    asked: int = 0
    notes: list[str] = field(default_factory=list)
    zero: bool = False
    """Met when nothing is counted, and not when everything is."""

    def add(self, ok: bool, note: str = "") -> None:
        self.right += ok
        self.asked += 1
        if ok == self.zero and note:
            self.notes.append(note)

    @property
    def measured(self) -> str:
        return (
            f"{self.right} of {self.asked}"
            if self.zero
            else f"{100 * self.right / max(self.asked, 1):.1f} % of {self.asked}"
        )

    @property
    def met(self) -> bool:
        return self.right == (0 if self.zero else self.asked)


async def measure(count: int, seed: int) -> list[Row]:
    briefs = [*BY_HAND, *in_domain(count - len(BY_HAND), seed)]
    rows = await _stories(briefs)
    full = [one for one in in_domain(400, seed + 1) if one.colour and one.brand and re.search(r"\d", one.offer or "")]
    rows.append(await _planted([one for one in full if len(one.places) > 1]))
    return [*rows, *_domain(briefs)]


async def _stories(briefs: list[Known]) -> list[Row]:
    approved = Row("in-domain ads approved", "100 %")
    honest = Row("approved drafts whose facts all hold", "100 %")
    rows = {
        "setting": Row("settings: own beat's place, the brief's order, time of day", "100 %"),
        "product": Row("product words (noun, colour) right in every beat, scene and prompt", "100 %"),
        "brand": Row("brand, where given, in story, last beat and call_to_action", "100 %"),
        "offer": Row("offer and price exact, where given", "100 %"),
        "claim": Row("claim said, where given", "100 %"),
        "text": Row("ads with non-words, debris, repetition in any text", "0", zero=True),
    }
    for index, known in enumerate(briefs):
        story, scenes = await written(known, index, ("master", "express", "classic")[index % 3])
        found = wrongs(known, story, scenes)
        approved.add(approval_status(story, scenes) == "approved", f"{known.prompt}: {story.rounds[-1].broken}")
        if approval_status(story, scenes) == "approved":
            honest.add(not any(found.values()), f"{known.prompt}: {found}")
        for name, row in rows.items():
            if name in ("brand", "offer", "claim") and getattr(known, name) is None:
                continue
            row.add(bool(found[name]) if row.zero else not found[name], f"{known.prompt}: {found[name][:2]}")
    return [approved, honest, *rows.values()]


async def _planted(briefs: list[Known], each: int = 20) -> Row:
    row = Row(f"planted faults (10 kinds × {each}) that get approved", "0", zero=True)
    for index, known in enumerate(briefs[:each]):
        for name, script in faults(known).items():
            try:
                status = approval_status(*await written(known, index, "master" if index % 2 else "express", script))
            except AgentFailed:
                status = None
            row.add(status == "approved", f"{name}: {known.prompt}")
    return row


def _domain(briefs: list[Known]) -> list[Row]:
    flagged = Row("out-of-domain briefs refused", "100 %")
    kept = Row("in-domain briefs refused", "0", zero=True)
    nameless = Row("briefs that name no product: run with a warning", "100 %")
    quick = Row("refusals within 3 s", "100 %")
    planner = AdPlanner(
        recipe=load_recipe, image_model=IMAGE, video_model=VIDEO, fps=PROFILE.fps, scorers=PROFILE.backbones()
    )
    for prompt in OUT_OF_DOMAIN:
        started = time.monotonic()
        flagged.add(_refused(planner, prompt), prompt)
        quick.add(time.monotonic() - started <= 3.0, prompt)
    for known in briefs:
        kept.add(_refused(planner, known.prompt), known.prompt)
    for prompt in NAMELESS:
        found = drawable(read_brief(Brief(prompt=prompt, seed=0)), prompt, IMAGE.domain)
        nameless.add(not _refused(planner, prompt) and bool(found.warnings), prompt)
    return [flagged, kept, nameless, quick]


def _refused(planner: AdPlanner, prompt: str) -> bool:
    try:
        planner.plan(AdRequest(recipe="master", brief={"prompt": prompt}))
    except OutOfDomain:
        return True
    return False


READ = (
    BY_HAND[0],
    BY_HAND[1],
    BY_HAND[5],
    BY_HAND[7],
    BY_HAND[9],
    BY_HAND[2],
    BY_HAND[3],
    BY_HAND[4],
    BY_HAND[6],
    BY_HAND[8],
)
"""The ten stories that are printed, seeds 1 to 10."""


async def stories() -> list[tuple[Known, StoryResult]]:
    return [(known, (await written(known, seed, "master"))[0]) for seed, known in enumerate(READ, start=1)]


def _table(rows: list[Row]) -> str:
    lines = ["| what | bar | measured | |", "|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {r.what} | {r.bar} | {r.measured} | {'met' if r.met else 'NOT MET'} |" for r in rows)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="in-domain briefs")
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    started = time.monotonic()
    rows = asyncio.run(measure(args.count, args.seed))
    told = asyncio.run(stories())
    table = _table(rows)
    print(table)
    for row in rows:
        for note in [] if row.met else row.notes[:5]:
            print(f"  {row.what}: {note}")
    read = "\n\n".join(
        f"### {number}\n\n> {known.prompt}\n\n```\n{story.text}\n```"
        for number, (known, story) in enumerate(told, start=1)
    )
    print(read)
    seconds = time.monotonic() - started
    head = (
        "# Agents that tell the truth\n\n`python -m benchmarks.agents`: profile `sketch`, chat model "
        f"`{CHAT.name}`, {args.count} in-domain briefs ({len(BY_HAND)} written by hand), recipes master, express and "
        f"classic in turn, seed {args.seed}; {seconds:.0f} s on one core. No picture is drawn.\n\n"
    )
    (RESULTS / "agents.md").write_text(f"{head}{table}\n\n## Ten stories, seeds 1 to 10, as they came\n\n{read}\n")
    data = [{"what": r.what, "bar": r.bar, "measured": r.measured, "met": r.met, "notes": r.notes[:10]} for r in rows]
    (RESULTS / "agents.json").write_text(
        json.dumps({"seed": args.seed, "rows": data}, indent=2, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
