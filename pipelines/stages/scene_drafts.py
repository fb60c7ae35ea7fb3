"""One scene in the making: Scene Writer ⇄ Scene Critic, and the rewrite that the cohesor or the owner may ask for."""

from __future__ import annotations

from functools import partial

from models.interfaces import Plain
from pipelines.agents.critique import CritiqueAnswer
from pipelines.agents.prompting import feedback_of
from pipelines.agents.scene_critic import scene_critique_question
from pipelines.agents.scene_writer import SceneAnswer, check_scene, scene_question
from pipelines.coherence import derived_seed
from pipelines.stages.consult import consult
from pipelines.stages.context import StageContext
from pipelines.story import Critique, SceneDraft, StoryResult


class WrittenScene(Plain):
    """A scene draft, what the critic said of it, and how many drafts it took."""

    draft: SceneDraft
    critique: Critique | None
    iterations: int

    @property
    def approved(self) -> bool:
        """Also when the recipe has no critic: then nobody is asked."""
        return self.critique is None or self.critique.approval_status == "approved"


async def write_scene(context: StageContext, story: StoryResult, number: int) -> WrittenScene:
    """The best-scoring draft of scene `number`, within the recipe's rounds. Raises AgentFailed."""
    agents = context.recipe.scenes
    drafts: list[WrittenScene] = []
    for iteration in range(1, (agents.max_rounds if agents.critic else 1) + 1):
        before = drafts[-1] if drafts else None
        feedback = feedback_of(before.critique) if before and before.critique else None
        drafts.append(await _attempt(context, story, number, ("writer", "critic"), iteration, feedback, before))
        if drafts[-1].approved:
            break
    best = max(drafts, key=lambda one: one.critique.overall_score if one.critique else 0.0)
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
    draft = (await consult(context, writer, question, SceneAnswer, check)).draft()
    if not context.recipe.scenes.critic:
        return WrittenScene(draft=draft, critique=None, iterations=iteration)
    asked = scene_critique_question(
        context.brief,
        story.story,
        story.entities,
        number,
        draft,
        derived_seed(context.seed, critic),
        iteration,
        note,
    )
    judged = (await consult(context, critic, asked, CritiqueAnswer)).judged(context.recipe.scenes.approve_at)
    return WrittenScene(draft=draft, critique=judged, iterations=iteration)
