"""What the sketch LLM can do, measured: 200 samples each, on products and settings that never met in
training.

`python -m benchmarks.sketch_llm_eval` asks through the real stages, agents, schemas and the in-process
engine, prints a table and writes JSON. Right and wrong are told by the author's knowledge, never by the
model.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from configs.settings import library_root
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
from models.llm.transformers_chat import TransformersChat
from models.sketch.training.chat.data import SHARES, pictures, specs
from models.sketch.training.dialogues import author
from models.sketch.training.dialogues.dialogues import Ad
from models.sketch.training.world.captions import SETTING_WORDS
from models.sketch.training.world.spec import SceneSpec
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from models.weights import packaged_model
from pipelines.agents.conversation import Answer, CritiqueAnswer, Question, ask
from pipelines.agents.entities import Seen, look_question
from pipelines.agents.facts import names_product
from pipelines.agents.scene import scene_critique_question
from pipelines.agents.story import story_critique_question
from pipelines.brief import BriefReference
from pipelines.media import encode_png
from pipelines.recipe import Recipe, SceneAgents, StoryAgents
from pipelines.scoring import ScoreRequest
from pipelines.screenplay import Entity, Premise
from pipelines.stages.context import StageContext
from pipelines.stages.scenes import write_scenes
from pipelines.stages.story import tell_story
from pipelines.steps import Json, Step, StoredArtifact
from quality.score import Score

CHAT = ChatModelSpec(
    kind="chat", name="sketch-llm", family="transformers", licence="Apache-2.0", vram_gb=0, vision=True, temperature=0.4
)
SIZES = {"1:1": (128, 128), "9:16": (96, 160), "16:9": (160, 96)}
IMAGE = ImageModelSpec(
    kind="image", name="none", family="none", licence="none", vram_gb=0, references=3, sizes=SIZES,
    num_inference_steps=1, guidance_scale=1.0,
)  # fmt: skip
VIDEO = VideoModelSpec(
    kind="video", name="none", family="none", licence="none", vram_gb=0, references=3, sizes=SIZES,
    num_inference_steps=1, guidance_scale=1.0, native_fps=8, max_frames=16,
    camera_moves=("static", "push_in", "pull_back", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit"),
)  # fmt: skip
RECIPE = Recipe(
    name="eval",
    description="one draft each",
    stages=("story", "scenes"),
    story=StoryAgents(critic=False),
    scenes=SceneAgents(critic=False, cohesor=False),
    scene_concurrency=1,
)


Picture = tuple[SceneSpec, Any]
"""What is in it, and its pixels."""


class Memory:
    """Artifacts of one evaluation."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def put(self, data: bytes, media_type: str) -> StoredArtifact:
        sha256 = hashlib.sha256(data).hexdigest()
        self._files[sha256] = data
        return StoredArtifact(sha256=sha256, media_type=media_type, size=len(data))

    def read(self, sha256: str) -> bytes:
        return self._files[sha256]


class EvalStep:
    """The model under test, as a step meets it; counts calls and re-asks."""

    chat_model, image_model, video_model = CHAT, IMAGE, VIDEO

    def __init__(self, model: TransformersChat) -> None:
        self._model = model
        self.artifacts = Memory()
        self.calls = self.retries = self.tokens = 0
        self.seconds = 0.0

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        result = self._model.complete(request, Unwatched())
        self.calls += 1
        self.tokens += result.completion_tokens
        self.seconds += result.seconds
        return result

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        raise NotImplementedError("no picture is drawn here")

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        raise NotImplementedError("no clip is made here")

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        raise NotImplementedError("no clip is scored here")

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        self.retries += kind == "agent_retry"

    async def finish(self, step: Step) -> dict[str, Any]:
        return (await step.work(self)).value

    async def answer(self, question: Question, answer_type: type[Answer]) -> Any:
        return await ask(self, question, answer_type)


@dataclass
class Tally:
    """Counts of one measure, with what went wrong."""

    right: int = 0
    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, ok: bool, note: str) -> None:
        self.right += ok
        self.asked += 1
        if not ok:
            self.wrong.append(note)

    def row(self, bar: float) -> dict[str, Any]:
        percent = round(100 * self.right / max(self.asked, 1), 1)
        return {"percent": percent, "n": self.asked, "bar": bar, "met": percent >= bar, "wrong": self.wrong[:12]}


def _same_place(asked: str, given: str) -> bool:
    """The setting asked for, in its own or another word for the same place."""
    group = next((words for words in SETTING_WORDS.values() if any(word in asked for word in words)), ())
    return asked in given or any(word in given for word in group)


def _kept(places: tuple[str, ...], settings: list[str]) -> bool:
    """No scene elsewhere, and no place of the brief left out."""
    nowhere_else = all(any(_same_place(asked, given) for asked in places) for given in settings)
    return nowhere_else and all(any(_same_place(asked, given) for given in settings) for asked in places)


async def measure_ads(step: EvalStep, count: int, rng: Random, heldout: list[Picture]) -> dict[str, Tally]:
    """Whole ads without critics: namer, vision, director, one writer per scene."""
    named, kept, product = Tally(), Tally(), Tally()
    for index in range(count):
        ad = Ad(rng, held=True)
        s = ad.world.subject
        references: tuple[BriefReference, ...] = ()
        if index % 2:
            stored = step.artifacts.put(encode_png(rng.choice(heldout)[1]), "image/png")
            references = (BriefReference(artifact=stored.sha256, role="product", filename="p.png"),)
        brief = ad.world.brief.model_copy(update={"references": references, "seed": index})
        context = StageContext(
            brief=brief,
            recipe=RECIPE,
            slots=ad.slots,
            fps=8,
            delivery=(96, 160),
            fingerprints={"chat": "under test"},
            chat_model=CHAT,
            image_model=IMAGE,
            video_model=VIDEO,
            finish=step.finish,
        )
        told = await tell_story(context)
        result = await write_scenes(context, told)
        product.add(told.entities[0].name == s.product, f"{brief.prompt!r} -> {told.entities[0].name!r}")
        wanted = Entity(handle="product", role="product", name=s.product, description=s.look)
        actions = [scene.draft.action for scene in result.scenes]
        named.add(all(names_product(action, wanted) for action in actions), f"{s.product!r}: {actions!r}")
        if s.stated:
            settings = [scene.draft.setting for scene in result.scenes]
            kept.add(_kept(s.places, settings), f"{s.places!r}: {settings!r}")
    return {"every scene names the product": named, "setting kept in every scene": kept, "product as in brief": product}


async def measure_vision(step: EvalStep, pairs: list[Picture]) -> Tally:
    """Shape and colour of held-out pictures, both right."""
    tally = Tally()
    for spec, pixels in pairs:
        stored = step.artifacts.put(encode_png(pixels), "image/png")
        reference = BriefReference(artifact=stored.sha256, role="product", filename="p.png")
        seen = await step.answer(look_question(reference, 0), Seen)
        right = spec.shape in seen.description and spec.colour in seen.description
        tally.add(right, f"{spec.colour} {spec.material} {spec.shape} -> {seen.description}")
    return tally


async def measure_critics(step: EvalStep, count: int, rng: Random) -> dict[str, Tally]:
    """Of a good draft and a spoiled one, the good one must score higher."""
    stories, scenes = Tally(), Tally()
    for _ in range(count):
        ad = Ad(rng, held=True)
        world = ad.world
        bad = author.spoiled(world, ad.story, rng)
        asked = [
            story_critique_question(world.brief, Premise(entities=world.entities), one, (), 0)
            for one in (ad.story, bad)
        ]
        scores = [(await step.answer(question, CritiqueAnswer)).score() for question in asked]
        if bad != ad.story:
            stories.add(scores[0] > scores[1], f"{scores} {bad.model_dump_json()[:300]}")
        good = author.scene(world, ad.story, ad.number, rng)
        worse = author.spoiled_scene(world, good, ad.story, ad.number, rng)
        questions = [
            scene_critique_question(world.brief, ad.story, world.entities, ad.number, one, (), 0)
            for one in (good, worse)
        ]
        marks = [(await step.answer(question, CritiqueAnswer)).score() for question in questions]
        if worse != good:
            scenes.add(marks[0] > marks[1], f"{marks} {worse.model_dump_json()}")
    return {"story critic prefers the better": stories, "scene critic prefers the better": scenes}


def heldout_pictures(count: int, rng: Random) -> list[Picture]:
    found: list[Picture] = []
    for aspect in SHARES:
        found += zip(specs("heldout", aspect), pictures("heldout", aspect), strict=True)
    return rng.sample(found, min(count, len(found)))


async def evaluate(folder: Path, count: int, seed: int) -> dict[str, Any]:
    step = EvalStep(TransformersChat(CHAT, {"main": folder}, "cpu"))
    rng = Random(seed)  # noqa: S311
    pairs = heldout_pictures(count, rng)
    started = time.monotonic()
    rows = {"reference described right (shape and colour)": (await measure_vision(step, pairs)).row(85)}
    bars = {"every scene names the product": 95, "setting kept in every scene": 90, "product as in brief": 95}
    for name, tally in (await measure_ads(step, count, rng, pairs)).items():
        rows[name] = tally.row(bars[name])
    for name, tally in (await measure_critics(step, count, rng)).items():
        rows[name] = tally.row(85)
    valid = Tally(right=step.calls - step.retries, asked=step.calls)
    rows["schema-valid without retry"] = valid.row(100)
    speed = {
        "calls": step.calls,
        "seconds_per_call": step.seconds / step.calls,
        "tokens_per_second": step.tokens / step.seconds,
    }
    return {"folder": folder.name, "seed": seed, "rows": rows, "speed": speed, "seconds": time.monotonic() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="another folder than the packaged model's")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--out", type=Path, default=Path("sketch_llm_eval.json"))
    args = parser.parse_args()
    folder = args.folder or packaged_model("llm", library_root())
    result = asyncio.run(evaluate(folder, args.count, args.seed))
    for name, row in result["rows"].items():
        verdict = "met" if row["met"] else "NOT MET"
        print(f"{name:48} {row['percent']:6.1f} %  of {row['n']:5}  bar {row['bar']:3} {verdict}")
    print({key: round(value, 3) for key, value in result["speed"].items()})
    args.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
