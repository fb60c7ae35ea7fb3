"""The scenes stage: every beat of the story becomes a scene that can be drawn, all at once, then made to
fit together.

Scene Writer ⇄ Scene Critic per scene (`scene_drafts.py`), the Scene Cohesor over all of them
(`cohesion.py`), then what the owner had revised, which no agent rewrites any more, and the prompts of picture
and clip from what was agreed.
"""

from __future__ import annotations

from pipelines.agents.image_enhancer import PromptAnswer, image_enhancement_question
from pipelines.agents.prompting import draft_lines
from pipelines.agents.scene_prompts import image_prompt, video_prompt
from pipelines.agents.video_enhancer import video_enhancement_question
from pipelines.coherence import derived_seed
from pipelines.stages.cohesion import Fitted, fit_together, judge_revised
from pipelines.stages.consult import consult
from pipelines.stages.context import StageContext
from pipelines.stages.fan_out import each_scene
from pipelines.stages.scene_drafts import WrittenScene, revise_scene, write_scene
from pipelines.story import Scene, ScenesResult, StoryResult
from pipelines.timing import SceneSlot


async def write_scenes(context: StageContext, story: StoryResult) -> ScenesResult:
    """One scene per slot, in order. Raises AgentFailed."""
    limit = context.recipe.scene_concurrency

    async def write(slot: SceneSlot) -> WrittenScene:
        return await write_scene(context, story, slot.scene_number)

    written = await each_scene(context.slots, write, limit)
    fitted: Fitted | None = None
    if context.recipe.scenes.cohesor:
        fitted = await fit_together(context, story, written)
        written = fitted.scenes

    async def revise(slot: SceneSlot) -> WrittenScene:
        return await revise_scene(context, story, slot.scene_number, written[slot.scene_number - 1])

    revised = await each_scene(context.slots, revise, limit)
    if fitted and revised != written:
        fitted = await judge_revised(context, story, fitted, revised)
    written = revised

    async def finish(slot: SceneSlot) -> Scene:
        return await _finished(context, story, slot, written[slot.scene_number - 1])

    return ScenesResult(
        scenes=await each_scene(context.slots, finish, limit),
        cohesion=fitted.cohesion if fitted else None,
        cohesion_rounds=fitted.rounds if fitted else 0,
    )


async def _finished(context: StageContext, story: StoryResult, slot: SceneSlot, written: WrittenScene) -> Scene:
    draft = written.draft
    agents = context.recipe.scenes
    picture, clip = image_prompt(draft, story.entities), video_prompt(draft, story.entities)
    if agents.enhance_image_prompt:
        picture = await _enhanced(context, slot, picture, "image")
    if agents.enhance_video_prompt:
        clip = await _enhanced(context, slot, clip, "video")
    return Scene(
        scene_number=slot.scene_number,
        purpose=slot.purpose,
        frames=slot.frames,
        draft=draft,
        image_prompt=picture,
        video_prompt=clip,
        content=f"Scene {slot.scene_number}, {slot.purpose}\n{draft_lines(draft)}",
        iterations=written.iterations,
        approved=written.approved,
        critique=written.critique,
    )


async def _enhanced(context: StageContext, slot: SceneSlot, prompt: str, medium: str) -> str:
    name = f"scenes/scene-{slot.scene_number:03d}/enhance-{medium}"
    ask = image_enhancement_question if medium == "image" else video_enhancement_question
    question = ask(prompt, derived_seed(context.seed, name), slot.scene_number)
    return (await consult(context, name, question, PromptAnswer)).prompt
