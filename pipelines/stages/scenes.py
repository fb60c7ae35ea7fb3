"""The scenes stage: every beat of the story becomes a scene that can be drawn, all at once, then made to fit together.

Scene Writer ⇄ Scene Critic per scene, the Scene Cohesor over all of them, then what the owner had revised, which no
agent rewrites any more, and the prompts of picture and clip from what was agreed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from models.interfaces import Plain
from pipelines.agents.cohesor import OverviewAnswer, PairAnswer, assemble, overview_question, pair_question
from pipelines.agents.conversation import CritiqueAnswer
from pipelines.agents.enhancers import Enhancer, PromptAnswer, enhancement_question
from pipelines.agents.judge import changed_plan, judge_scene, judged
from pipelines.agents.prompting import draft_lines, feedback_of, image_prompt, video_prompt
from pipelines.agents.scene import SceneAnswer, check_scene, scene_critique_question, scene_question
from pipelines.coherence import derived_seed
from pipelines.screenplay import (
    BrokenFact,
    Cohesion,
    Critique,
    Entity,
    Premise,
    Scene,
    SceneDraft,
    ScenesResult,
    StoryResult,
)
from pipelines.stages.context import StageContext, consult, each_scene
from pipelines.stages.owner_edits import broken_in_scene, directed_story, edited_scenes, with_extras
from pipelines.timing import SceneSlot


class WrittenScene(Plain):
    """A scene draft, what the critic said of it, and how many drafts it took."""

    draft: SceneDraft
    critique: Critique | None
    iterations: int
    broken: tuple[BrokenFact, ...] = ()
    """The facts that it breaks, of those that matter to the recipe."""

    @property
    def approved(self) -> bool:
        """That its facts hold, and that the critic, where the recipe has one, approved."""
        return not self.broken and (self.critique is None or self.critique.approval_status == "approved")


Scenes = tuple[WrittenScene, ...]


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
    drafts, reordered = edited_scenes(context, story, tuple(one.draft for one in written))
    told, story = story, directed_story(context, story)
    written = tuple(
        one
        if draft == one.draft
        else one.model_copy(
            update={"draft": draft, "critique": None, "broken": broken_in_scene(context, story, number, draft)}
        )
        for number, (one, draft) in enumerate(zip(written, drafts, strict=True), start=1)
    )
    if fitted and reordered:  # other edits leave the transitions between the scenes as they were judged
        fitted = await judge_revised(context, told, fitted, written)

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
    picture = with_extras(image_prompt(draft, story.entities), draft)
    clip = with_extras(video_prompt(draft, story.entities), draft)
    if agents.enhance_image_prompt:
        picture = await _enhanced(context, slot, picture, "image", story.entities[0])
    if agents.enhance_video_prompt:
        clip = await _enhanced(context, slot, clip, "video", story.entities[0])
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
        broken=written.broken,
    )


async def _enhanced(context: StageContext, slot: SceneSlot, prompt: str, medium: str, product: Entity) -> str:
    """`prompt` with light, lens and style; as it is when the enhancer cannot leave the plan alone."""
    name = f"scenes/scene-{slot.scene_number:03d}/enhance-{medium}"
    agent: Enhancer = "image_enhancer" if medium == "image" else "video_enhancer"
    question = enhancement_question(agent, prompt, derived_seed(context.seed, name), slot.scene_number)

    def check(answer: PromptAnswer) -> None:
        if reason := changed_plan(prompt, answer.prompt, product):
            raise ValueError(reason)

    plain = PromptAnswer(prompt=prompt[:200])
    answer = await consult(context, name, question, PromptAnswer, check, fallback=plain)
    return prompt if answer == plain else answer.prompt


async def write_scene(context: StageContext, story: StoryResult, number: int) -> WrittenScene:
    """The draft of scene `number` that breaks the fewest facts, then the best-scoring one, within the recipe's rounds.

    Raises AgentFailed.
    """
    agents = context.recipe.scenes
    drafts: list[WrittenScene] = []
    for iteration in range(1, (agents.max_rounds if agents.critic else 1) + 1):
        before = drafts[-1] if drafts else None
        feedback = feedback_of(before.critique) if before and before.critique else None
        drafts.append(await _attempt(context, story, number, ("writer", "critic"), iteration, feedback, before))
        if drafts[-1].approved:
            break
    best = min(drafts, key=lambda one: (len(one.broken), -(one.critique.overall_score if one.critique else 0.0)))
    return best.model_copy(update={"iterations": len(drafts)})


async def rewrite_scene(
    context: StageContext,
    story: StoryResult,
    number: int,
    before: WrittenScene,
    feedback: str,
    cohesion_round: int,
) -> WrittenScene:
    """Scene `number` once more, with the cohesor's `feedback` on it. Raises AgentFailed."""
    names = ("rewrite", "rewrite-critic")
    written = await _attempt(context, story, number, names, cohesion_round, feedback, before)
    return written.model_copy(update={"iterations": before.iterations + 1})


async def revise_scene(context: StageContext, story: StoryResult, number: int, before: WrittenScene) -> WrittenScene:
    """Scene `number` as its owner had it revised, one draft per revision; `before` when there is none.

    With feedback the writer is shown the draft that it revises, without it only another seed. Raises AgentFailed.
    """
    for revision in context.direction.history("scenes", number):
        wish = " ".join(revision.feedback) or None
        names = ("revision", "revision-critic")
        written = await _attempt(context, story, number, names, revision.count, wish, before if wish else None)
        before = written.model_copy(update={"iterations": before.iterations + 1})
    return before


async def _attempt(
    context: StageContext,
    story: StoryResult,
    number: int,
    names: tuple[str, str],
    iteration: int,
    feedback: str | None,
    before: WrittenScene | None,
) -> WrittenScene:
    """One draft and its critique, as the steps `scenes/scene-002/{names}-{iteration}`."""
    approved = context.direction.approval("story")
    note = approved.notes if approved else None
    writer, critic = (f"scenes/scene-{number:03d}/{name}-{iteration}" for name in names)
    question = scene_question(
        context.brief,
        story.story,
        story.entities,
        number,
        context.video_model.camera_moves,
        derived_seed(context.seed, writer),
        iteration,
        feedback,
        before.draft if before else None,
        note,
    )
    check = partial(check_scene, entities=story.entities)
    beat = story.story.beats[number - 1]
    draft = (await consult(context, writer, question, SceneAnswer, check)).draft(beat)
    found = judge_scene(
        draft,
        beat,
        Premise(entities=story.entities, facts=story.facts),
        context.brief,
        context.slots[number - 1].frames / context.fps,
        story.story.call_to_action if number == len(story.story.beats) else None,
    )
    broken = tuple(one for one in found if one.fact in context.recipe.facts)
    if not context.recipe.scenes.critic:
        return WrittenScene(draft=draft, critique=None, iterations=iteration, broken=broken)
    asked = scene_critique_question(
        context.brief,
        story.story,
        story.entities,
        number,
        draft,
        broken,
        derived_seed(context.seed, critic),
        iteration,
        note,
    )
    approve_at = context.recipe.scenes.approve_at
    said = (await consult(context, critic, asked, CritiqueAnswer)).judged(approve_at)
    critique = judged(said, broken, context.recipe.facts, approve_at)
    return WrittenScene(draft=draft, critique=critique, iterations=iteration, broken=broken)


@dataclass(frozen=True)
class Fitted:
    """Scenes with the cohesor's analysis of them, and the number of rounds that it took."""

    scenes: Scenes
    cohesion: Cohesion
    rounds: int
    judged_in: int
    """The round in which these very scenes were judged."""


async def fit_together(context: StageContext, story: StoryResult, scenes: Scenes) -> Fitted:
    """Judge and rewrite within the recipe's cohesion rounds. Raises AgentFailed."""
    agents = context.recipe.scenes
    judged: list[tuple[Scenes, Cohesion]] = []
    for cohesion_round in range(1, agents.cohesion_rounds + 1):
        cohesion = await _judge(context, story, scenes, cohesion_round)
        judged.append((scenes, cohesion))
        if cohesion.overall_cohesion_score >= agents.cohesion_at or cohesion_round == agents.cohesion_rounds:
            break
        scenes = await _rewrite(context, story, scenes, cohesion, cohesion_round)
    best = max(range(len(judged)), key=lambda index: judged[index][1].overall_cohesion_score)
    fitting, cohesion = judged[best]
    return Fitted(scenes=fitting, cohesion=cohesion, rounds=len(judged), judged_in=best + 1)


async def judge_revised(context: StageContext, story: StoryResult, fitted: Fitted, scenes: Scenes) -> Fitted:
    """The analysis of `scenes`, which the owner had revised after they were made to fit: judged, not rewritten again.

    Pairs of scenes that stayed the same keep their answers.
    """
    cohesion = await _judge(context, story, scenes, fitted.judged_in)
    return replace(fitted, scenes=scenes, cohesion=cohesion)


async def _judge(context: StageContext, story: StoryResult, scenes: Scenes, cohesion_round: int) -> Cohesion:
    async def pair(number: int) -> PairAnswer:
        name = f"scenes/cohesor-{cohesion_round}/pair-{number}-{number + 1}"
        question = pair_question(
            context.brief,
            story.entities,
            number,
            scenes[number - 1].draft,
            scenes[number].draft,
            derived_seed(context.seed, name),
            cohesion_round,
        )
        return await consult(context, name, question, PairAnswer)

    pairs = await each_scene(tuple(range(1, len(scenes))), pair, context.recipe.scene_concurrency)
    name = f"scenes/cohesor-{cohesion_round}/overview"
    drafts = tuple(scene.draft for scene in scenes)
    question = overview_question(
        context.brief, story.entities, drafts, derived_seed(context.seed, name), cohesion_round
    )
    overview = await consult(context, name, question, OverviewAnswer)
    return assemble(pairs, overview, context.recipe.scenes.cohesion_at)


async def _rewrite(
    context: StageContext, story: StoryResult, scenes: Scenes, cohesion: Cohesion, cohesion_round: int
) -> Scenes:
    """The scenes, with only the flagged ones rewritten."""

    async def revised(number: int) -> WrittenScene:
        feedback = cohesion.scene_specific_feedback.get(number)
        if feedback is None:
            return scenes[number - 1]
        return await rewrite_scene(context, story, number, scenes[number - 1], feedback, cohesion_round)

    return await each_scene(tuple(range(1, len(scenes) + 1)), revised, context.recipe.scene_concurrency)
