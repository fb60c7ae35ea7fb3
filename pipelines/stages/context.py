"""What every stage is given (brief, recipe, timing, models, and how to finish a step), and two ways to use it: ask an
agent in a step, and work on all scenes at once.

Of the engine and of the store a stage sees `finish` and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.agents.conversation import Answer, Question, ask
from pipelines.brief import Brief, Framework
from pipelines.direction import Direction
from pipelines.errors import AgentFailed
from pipelines.recipe import Recipe
from pipelines.steps import Finish, Json, Message, Step, StepContext, StepOutput
from pipelines.timing import SceneSlot


@dataclass(frozen=True)
class StageContext:
    """One generation as its stages see it."""

    brief: Brief
    recipe: Recipe
    slots: tuple[SceneSlot, ...]
    """One per scene, in order (`pipelines.timing.plan_slots`)."""
    fps: int
    delivery: tuple[int, int]
    """Width, height of the finished video in pixels."""
    fingerprints: Mapping[str, str]
    """By kind (`chat`, `image`, `video`): a hash of all in a model that changes what it makes; part of step keys."""
    chat_model: ChatModelSpec
    image_model: ImageModelSpec
    video_model: VideoModelSpec
    finish: Finish
    direction: Direction = field(default_factory=Direction)
    """What the owner decided since the generation was asked for."""

    @property
    def framework(self) -> Framework:
        return self.brief.framework or self.recipe.framework

    @property
    def seed(self) -> int:
        """Seed of the generation."""
        return self.brief.acting_seed


A = TypeVar("A", bound=Answer)


async def consult(
    context: StageContext,
    step_name: str,
    question: Question,
    answer_type: type[A],
    check: Callable[[A], None] | None = None,
    warning: tuple[str, str] | None = None,
    fallback: A | None = None,
) -> A:
    """Finish `question` as the step `step_name`. Raises AgentFailed.

    `check` raises ValueError for an answer that is valid JSON and still wrong; it must follow from the
    question alone, because it is no part of the step's key. `warning` (kind, message) is noted in the event
    log when the step runs. `fallback` is taken, with a notice, where the agent gives no valid answer.
    """

    async def work(step: StepContext) -> StepOutput:
        if warning is not None:
            await step.notice(*warning, "warning")
        try:
            answer = await ask(step, question, answer_type, check)
        except AgentFailed as error:
            if fallback is None:
                raise
            await step.notice("agent_fallback", f"{error}; its input is used as it is", "warning")
            answer = fallback
        message = Message(
            role=question.agent,
            iteration=question.iteration,
            content=answer.text(),
            scene_number=question.scene_number,
            score=answer.score(),
        )
        return StepOutput(value=answer.model_dump(mode="json"), messages=(message,))

    inputs: Json = {"model": context.fingerprints["chat"], "question": question.model_dump(mode="json")}
    step = Step(name=step_name, inputs=inputs, work=work, scene_number=question.scene_number)
    return answer_type.model_validate(await context.finish(step))


Item = TypeVar("Item")
Result = TypeVar("Result")


async def each_scene(
    scenes: tuple[Item, ...], work: Callable[[Item], Awaitable[Result]], limit: int
) -> tuple[Result, ...]:
    """Run `work` for all scenes, at most `limit` at once. The first error stops the others and is raised."""
    places = asyncio.Semaphore(limit)

    async def one(scene: Item) -> Result:
        async with places:
            return await work(scene)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(scene)) for scene in scenes]
    except* Exception as errors:
        raise _first(errors) from None
    return tuple(task.result() for task in tasks)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
