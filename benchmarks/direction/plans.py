"""Edits of the plans that the sketch author writes: what changes, what stays, and whether the facts still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.agents.__main__ import CHAT, IMAGE, PROFILE, VIDEO, Bench
from benchmarks.agents.briefs import Known, in_domain
from configs.settings import load_recipe
from pipelines.brief import Brief
from pipelines.direction import Changes, Direction, DirectionEdit, ProductChanges
from pipelines.recipe import StageName
from pipelines.screenplay import ScenesResult, StoryResult
from pipelines.stages.context import StageContext
from pipelines.stages.owner_edits import directed_story
from pipelines.stages.scenes import write_scenes
from pipelines.stages.story import tell_story
from pipelines.timing import plan_slots

Written = tuple[StoryResult, ScenesResult]


async def written(known: Known, seed: int, edits: Sequence[DirectionEdit] = ()) -> tuple[Written, int]:
    """Story and scenes with the edits, and how often an agent was asked."""
    bench, recipe = Bench(), load_recipe("interactive")
    brief = Brief(prompt=known.prompt, seed=seed, duration=known.duration, framework=known.framework)
    context = StageContext(
        brief=brief,
        recipe=recipe,
        slots=plan_slots(known.framework, known.duration, PROFILE.fps, None),
        fps=PROFILE.fps,
        delivery=PROFILE.delivery["9:16"],
        fingerprints={"chat": "measured", "image": "none", "video": "none"},
        chat_model=CHAT,
        image_model=IMAGE,
        video_model=VIDEO,
        finish=bench.finish,
    )
    context = replace(context, direction=Direction(edits=tuple(edits)))
    story = await tell_story(context)
    scenes = await write_scenes(context, story)
    return (directed_story(context, story), scenes), bench.calls


async def applied(count: int, seed: int) -> str:
    """A table over `count` briefs, each edited at the story and at the storyboard."""
    rows: dict[str, list[int]] = {}
    stages: tuple[StageName, ...] = ("story", "storyboard")
    for index, known in enumerate(in_domain(count, seed)):
        before, asked = await written(known, index)
        for stage in stages:
            colour = "pink" if known.colour != "pink" else "black"
            edit = DirectionEdit(intent="change", stage=stage, scenes=(2,), changes=Changes(time="at night"))
            after, calls = await written(known, index, (edit,))
            _count(rows, f"scene 2 at night, said at the {stage}", *_night(before, after), calls - asked)
            paint = DirectionEdit(intent="change", stage=stage, changes=Changes(product=ProductChanges(colour=colour)))
            after, calls = await written(known, index, (paint,))
            _count(
                rows, f"another colour, said at the {stage}", *_coloured(before, after, known, colour), calls - asked
            )
    lines = [
        "| edit of a sketch author's plan | plans | as said | something else changed | broken facts | calls more |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in rows.items()]
    return "\n".join(lines)


def _count(rows: dict[str, list[int]], name: str, right: bool, other: bool, broken: int, calls: int) -> None:
    row = rows.setdefault(name, [0, 0, 0, 0, 0])
    for place, value in enumerate((1, int(right), int(other), broken, calls)):
        row[place] += value


def _broken(after: Written) -> int:
    story, scenes = after
    chosen = next(one for one in story.rounds if one.iteration == story.chosen_iteration)
    return len(chosen.broken) + sum(len(scene.broken) for scene in scenes.scenes)


def _night(before: Written, after: Written) -> tuple[bool, bool, int]:
    beats, scenes = after[0].story.beats, after[1].scenes
    right = beats[1].setting.endswith(" at night") and " at night" in scenes[1].image_prompt
    other = any(
        old != new
        for number, (old, new) in enumerate(zip(before[1].scenes, scenes, strict=True), start=1)
        if number != 2
    ) or any(old != new for n, (old, new) in enumerate(zip(before[0].story.beats, beats, strict=True), 1) if n != 2)
    same = before[1].scenes[1].draft.camera == scenes[1].draft.camera
    return right, other or not same, _broken(after)


def _coloured(before: Written, after: Written, known: Known, colour: str) -> tuple[bool, bool, int]:
    prompts = [scene.image_prompt for scene in after[1].scenes]
    right = all(colour in prompt for prompt in prompts) and colour in after[0].entities[0].name
    if known.colour is not None:
        right = right and not any(known.colour in prompt.split() for prompt in prompts)
    places = [scene.draft.setting for scene in before[1].scenes] != [scene.draft.setting for scene in after[1].scenes]
    moves = [scene.draft.camera for scene in before[1].scenes] != [scene.draft.camera for scene in after[1].scenes]
    return right, places or moves, _broken(after)
