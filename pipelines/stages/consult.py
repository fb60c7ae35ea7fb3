"""One question to an agent as one step: keyed by the question and the chat model, answered once, said into
the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipelines.agents.conversation import Answer, Question, ask
from pipelines.stages.context import StageContext
from pipelines.steps import Desk, Json, Message, Step, StepOutput

A = TypeVar("A", bound=Answer)


async def consult(
    context: StageContext,
    step_name: str,
    question: Question,
    answer_type: type[A],
    check: Callable[[A], None] | None = None,
    warning: tuple[str, str] | None = None,
) -> A:
    """Finish `question` as the step `step_name`. Raises AgentFailed.

    `check` raises ValueError for an answer that is valid JSON and still wrong; it must follow from the
    question alone, because it is no part of the step's key. `warning` (kind, message) is noted in the event
    log when the step runs.
    """

    async def work(desk: Desk) -> StepOutput:
        if warning is not None:
            await desk.notice(*warning, "warning")
        answer = await ask(desk, question, answer_type, check)
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
