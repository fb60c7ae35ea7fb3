"""Dialogues for the sketch LLM: each agent's real question with the answer of the rule-based author, as
JSON lines.

`python -m models.sketch.training.dialogues.dialogues --count 60000` writes `text.jsonl`, and `vision.jsonl` beside it
(questions about pictures of the cached world data, by bucket and index). The questions come from the
agents' own builders, so that what is trained is what is asked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, get_args

from models.sketch.training.chat.data import CACHE, SHARES, specs
from models.sketch.training.dialogues import author
from models.sketch.training.dialogues.words import BRANDS, subject
from models.sketch.training.world.captions import SETTING_WORDS, TIME_WORDS
from models.sketch.training.world.spec import SceneSpec
from models.spec import CameraMove
from pipelines.agents import brief_reader as product_namer
from pipelines.agents import cohesor, enhancers
from pipelines.agents import entities as vision
from pipelines.agents import scene as scene_critic
from pipelines.agents import scene as scene_writer
from pipelines.agents import story as director
from pipelines.agents import story as story_critic
from pipelines.agents.conversation import Answer, Question
from pipelines.agents.prompting import feedback_of, image_prompt, video_prompt
from pipelines.brief import BriefReference
from pipelines.facts import BriefFacts, PlaceFact, by_owner
from pipelines.screenplay import Premise, Story
from pipelines.timing import BEATS, plan_slots

ALL_MOVES = get_args(CameraMove)
Dialogue = tuple[Question, Answer]
FOLDER = CACHE / "llm"


class Ad:
    """One imagined ad with its story; every maker below asks one agent about it."""

    def __init__(self, rng: Random, held: bool = False, hard: bool = False) -> None:
        self.rng = rng
        self.world = author.imagine(subject(rng, held, hard), rng, rng.choice(BRANDS) if rng.random() < 0.2 else None)
        duration = rng.choice((9, 10, 12, 15, 15, 15, 15, 20, 20, 30)) if rng.random() < 0.97 else 60
        self.slots = plan_slots(rng.choice(sorted(BEATS)), duration, 8)
        if rng.random() < 0.15:
            self.slots = plan_slots(rng.choice(sorted(BEATS)), 15, 8, rng.randint(3, 8))
        self.story = author.story(self.world, tuple(slot.purpose for slot in self.slots), rng)
        self.number = rng.randint(1, len(self.slots))
        if rng.random() < 0.3:
            self.number = len(self.slots)


def name_product(ad: Ad) -> Dialogue:
    s = ad.world.subject
    answer = product_namer.ReadBrief(name=s.product, description=s.look, places=s.places if s.stated else ())
    return product_namer.product_question(ad.world.brief, BriefFacts(), 0), answer


def direct(ad: Ad) -> Dialogue:
    """A story, or a spoiled one mended by its critique."""
    world, told = ad.world, ad.story
    given: dict[str, Any] = {}
    if ad.rng.random() < 0.25:
        previous = author.spoiled(world, told, ad.rng)
        given = {"feedback": feedback_of(_judged(author.story_critique(world, previous))), "previous": previous}
    places = tuple(PlaceFact(place=by_owner(one)) for one in world.subject.places if world.subject.stated)
    premise = Premise(entities=world.entities, facts=BriefFacts(places=places))
    question = director.story_question(world.brief, premise, ad.slots, 0, **given)
    return question, _story_answer(told)


def _judged(answer: Any) -> Any:
    return answer.judged(85)


def _story_answer(told: Story) -> director.StoryAnswer:
    beats = tuple(director.BeatAnswer(setting=beat.setting, event=beat.event) for beat in told.beats)
    return director.StoryAnswer(title=told.title, beats=beats, call_to_action=told.call_to_action)


def criticise_story(ad: Ad) -> Dialogue:
    draft = ad.story if ad.rng.random() < 0.4 else author.spoiled(ad.world, ad.story, ad.rng)
    question = story_critic.story_critique_question(ad.world.brief, Premise(entities=ad.world.entities), draft, (), 0)
    return question, author.story_critique(ad.world, draft)


def write(ad: Ad) -> Dialogue:
    """A scene, or one mended after its critique or the cohesor's word."""
    world, rng = ad.world, ad.rng
    draft = author.scene(world, ad.story, ad.number, rng)
    given: dict[str, Any] = {}
    chance = rng.random()
    if chance < 0.2:
        previous = author.spoiled_scene(world, draft, ad.story, ad.number, rng)
        critique = author.scene_critique(world, ad.story, ad.number, previous)
        given = {"feedback": feedback_of(_judged(critique)), "previous": previous}
    elif chance < 0.3:
        draft = author.moved(draft, "static")
        previous = author.moved(draft, rng.choice(ALL_MOVES[1:]))
        given = {"feedback": "The camera turns against itself. Use a static camera.", "previous": previous}
    question = scene_writer.scene_question(
        world.brief,
        ad.story,
        world.entities,
        ad.number,
        ALL_MOVES,
        0,
        **given,
    )
    answer = scene_writer.SceneAnswer(
        setting=draft.setting, action=draft.action, camera=draft.camera, entities=draft.entities
    )
    return question, answer


def criticise_scene(ad: Ad) -> Dialogue:
    draft = author.scene(ad.world, ad.story, ad.number, ad.rng)
    if ad.rng.random() < 0.6:
        draft = author.spoiled_scene(ad.world, draft, ad.story, ad.number, ad.rng)
    question = scene_critic.scene_critique_question(
        ad.world.brief, ad.story, ad.world.entities, ad.number, draft, (), 0
    )
    return question, author.scene_critique(ad.world, ad.story, ad.number, draft)


def _some_scenes(ad: Ad) -> list[Any]:
    drafts = [author.scene(ad.world, ad.story, n, ad.rng) for n in range(1, len(ad.slots) + 1)]
    if ad.rng.random() < 0.5:
        index = ad.rng.randrange(len(drafts))
        drafts[index] = author.spoiled_scene(ad.world, drafts[index], ad.story, index + 1, ad.rng)
    return drafts


def judge_pair(ad: Ad) -> Dialogue:
    drafts = _some_scenes(ad)
    before = ad.rng.randrange(len(drafts) - 1)
    one, two = drafts[before], drafts[before + 1]
    if ad.rng.random() < 0.3:
        one, two = (author.moved(draft, camera) for draft, camera in zip((one, two), _clash(ad.rng), strict=True))
    question = cohesor.pair_question(ad.world.brief, ad.world.entities, before + 1, one, two, 0)
    return question, author.pair(ad.world, one, two)


def _clash(rng: Random) -> tuple[str, str]:
    one, two = rng.choice(sorted(author.OPPOSITE))
    return (one, two) if rng.random() < 0.5 else (two, one)


def look_over(ad: Ad) -> Dialogue:
    drafts = tuple(_some_scenes(ad))
    question = cohesor.overview_question(ad.world.brief, ad.world.entities, drafts, 0)
    return question, author.overview(ad.world, drafts)


def enhance_image(ad: Ad) -> Dialogue:
    prompt = image_prompt(author.scene(ad.world, ad.story, ad.number, ad.rng), ad.world.entities)
    question = enhancers.enhancement_question("image_enhancer", prompt, 0)
    return question, _richer(prompt, ad.rng)


def enhance_video(ad: Ad) -> Dialogue:
    prompt = video_prompt(author.scene(ad.world, ad.story, ad.number, ad.rng), ad.world.entities)
    question = enhancers.enhancement_question("video_enhancer", prompt, 0)
    return question, _richer(prompt, ad.rng)


def _richer(prompt: str, rng: Random) -> enhancers.PromptAnswer:
    light = rng.choice(TIME_WORDS[rng.choice(sorted(TIME_WORDS))])
    extra = [light, rng.choice(("sharp focus", "cinematic", "high quality", "detailed", "clean composition"))]
    kept = prompt
    for addition in extra:
        if len(kept) + len(addition) + 2 <= 200:
            kept = f"{kept}, {addition}"
    return enhancers.PromptAnswer(prompt=kept[:200].rstrip())


MAKERS: tuple[tuple[Callable[[Ad], Dialogue], float], ...] = (
    (name_product, 0.12), (direct, 0.26), (criticise_story, 0.14), (write, 0.2), (criticise_scene, 0.11),
    (judge_pair, 0.07), (look_over, 0.04), (enhance_image, 0.03), (enhance_video, 0.03),
)  # fmt: skip


HARDEST = ("name_product", "direct", "write")
"""Where names and places are copied out of free text."""


def text_dialogue(rng: Random, hardest: float = 0.0) -> Dialogue:
    """One dialogue; a share `hardest` more of those of `HARDEST`, about hard subjects."""
    makers = [m for m, _ in MAKERS]
    hard = rng.random() < hardest
    if hard:
        makers = [m for m in makers if m.__name__ in HARDEST]
    return rng.choices(makers, [w for m, w in MAKERS if m in makers])[0](Ad(rng, hard=hard))


def vision_dialogue(spec: SceneSpec, rng: Random) -> Dialogue:
    """What the vision agent should say of one rendered picture."""
    role = rng.choices(("product", "character", "style"), (0.84, 0.08, 0.08))[0]
    reference = BriefReference(artifact="picture", role=role, filename="picture.png")
    name, description = author.seen_words(spec.colour, spec.material, spec.shape)
    if role == "style":
        name, description = "style", f"{TIME_WORDS[spec.time][0]}, {SETTING_WORDS[spec.setting][0]}"
    return vision.look_question(reference, 0), vision.Seen(name=name, description=description)


def as_line(dialogue: Dialogue, **more: object) -> str:
    """One line; the answer as the constrained decoder writes it: one line, separators `, ` and `: `."""
    question, answer = dialogue
    text = json.dumps(answer.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
    row = {"agent": question.agent, "system": question.system, "user": question.user, "answer": text, **more}
    return json.dumps(row, ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hardest", type=float, default=0.0, help="further share of what is hardest to learn, 0 to 1")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = Random(args.seed)  # noqa: S311
    with (args.out / "text.jsonl").open("w") as file:
        file.writelines(as_line(text_dialogue(rng, args.hardest)) + "\n" for _ in range(args.count))
    with (args.out / "vision.jsonl").open("w") as file:
        for aspect in SHARES:
            for index, spec in enumerate(specs("train", aspect)):
                file.write(as_line(vision_dialogue(spec, rng), aspect=aspect, index=index) + "\n")


if __name__ == "__main__":
    main()
