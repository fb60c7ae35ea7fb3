"""How every agent is asked: one question, one small JSON answer under a schema, re-asked with the error when invalid.

The agents are the files beside this one, each a prompt and an answer class; this is what they share.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from models.errors import BrokenAnswer, BudgetExceeded
from models.interfaces import ChatMessage, ChatRequest, ChatResult, EncodedImage, Plain, Seed
from models.llm.openai_wire import bare_json
from models.spec import ChatModelSpec
from pipelines.coherence import derived_seed
from pipelines.errors import AgentFailed
from pipelines.reading.sanity import Odd, check_text
from pipelines.screenplay import Critique
from pipelines.steps import AgentRole, Artifacts, Json, Notice

_UNREADABLE = re.compile("[\x00\ud800-\udfff]")
MAX_ATTEMPTS = 3
"""One question and two re-asks."""

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""One sentence of an agent. Bounded, so that no answer can run away."""
Point = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Answer(Plain):
    """Base of all answers: short strings and integers, in the order in which the model should think of them."""

    @abstractmethod
    def text(self) -> str:
        """The answer for people, as the conversation shows it."""

    def score(self) -> float | None:
        """The score that the answer gives, 0..100; None for an agent that gives none."""
        return None


A = TypeVar("A", bound=Answer)


class Question(Plain):
    """Everything that an answer depends on, besides the chat model itself."""

    agent: AgentRole
    system: str
    user: str
    json_schema: Json
    seed: Seed
    iteration: int = 1
    scene_number: int | None = None
    images: tuple[str, ...] = ()
    """Artifact hashes of the images that go with the question."""
    creative: bool = False
    """Sampled at the model's own temperature; judgements and descriptions are greedy."""
    max_tokens: int = 1024
    """Far above what an answer needs; the schema's lengths bound it."""


def schema_of(answer: type[Answer]) -> Json:
    """JSON schema of `answer`, without titles and docstrings: they only lengthen prompts and keys."""
    schema: Json = _without_prose(answer.model_json_schema())
    return schema


def _without_prose(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    prose = {key for key in ("title", "description") if isinstance(node.get(key), str)}
    return {key: _without_prose(value) for key, value in node.items() if key not in prose}


class ChatContext(Protocol):
    """What asking an agent needs: a chat model, the files of its images, and somewhere to report a re-ask."""

    @property
    def chat_model(self) -> ChatModelSpec: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def notice(self) -> Notice: ...
    async def chat(self, request: ChatRequest) -> ChatResult: ...


async def ask(
    context: ChatContext, question: Question, answer_type: type[A], check: Callable[[A], None] | None = None
) -> A:
    """Ask until the answer is valid JSON of `answer_type` and passes `check` (which raises ValueError).

    An invalid answer is shown to the model together with its error; so is one whose texts nobody should read
    (`pipelines.reading.sanity`). Raises AgentFailed after `MAX_ATTEMPTS`; only a word that is merely unknown is then
    believed.
    """
    images = tuple(EncodedImage(data=context.artifacts.read(sha256)) for sha256 in question.images)
    opening: tuple[ChatMessage, ...] = (
        ChatMessage(role="system", content=question.system),
        ChatMessage(role="user", content=question.user, images=images),
    )
    exchange = opening
    problem = ""
    believed: A | None = None
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            result = await context.chat(_request(context, question, exchange, attempt))
        except BudgetExceeded as error:
            problem, exchange = (
                str(error),
                (*opening, _correction("The answer was too long. Be much shorter.")),
            )
        except BrokenAnswer as error:
            problem, exchange = str(error), (*opening, _correction(f"{error}. Answer with one JSON object alone."))
        else:
            for note in result.notes:
                await context.notice("chat_server", note, "warning")
            try:
                answer = _parsed(result.text, answer_type, check)
                try:
                    check_text(answer.model_dump(mode="json"), question.user, question.json_schema)
                except Odd:
                    believed = answer
                    raise
                return answer
            except ValueError as error:
                problem = _readable(_one_line(error))
                invalid = ChatMessage(role="assistant", content=_readable(result.text) or "(nothing)")
                exchange = (
                    *opening,
                    invalid,
                    _correction(f"That answer is invalid: {problem}. Answer again."),
                )
        if attempt < MAX_ATTEMPTS:
            await context.notice("agent_retry", f"the {question.agent} is asked again: {problem}", "warning")
    if believed is not None:
        return believed
    raise AgentFailed(
        f"the {question.agent} gave no valid answer in {MAX_ATTEMPTS} attempts, last because of: {problem}; "
        "resume to try again, or use a larger chat model"
    )


def _request(context: ChatContext, question: Question, exchange: tuple[ChatMessage, ...], attempt: int) -> ChatRequest:
    model = context.chat_model
    return ChatRequest(
        messages=exchange,
        json_schema=question.json_schema,
        seed=question.seed if attempt == 1 else derived_seed(question.seed, "attempt", attempt),
        temperature=model.temperature if question.creative else 0.0,
        max_tokens=min(question.max_tokens, model.max_tokens),
        timeout_seconds=model.timeout_seconds,
    )


def _correction(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def _parsed(text: str, answer_type: type[A], check: Callable[[A], None] | None) -> A:
    data = json.loads(bare_json(text))
    if isinstance(data, list) and len(data) == 1:  # the one object of a list of one
        data = data[0]
    if isinstance(data, dict):  # a field too many, such as a duration, is none that counts
        data = {name: value for name, value in data.items() if name in answer_type.model_fields}
    answer = answer_type.model_validate(data)
    if check is not None:
        check(answer)
    return answer


def _readable(text: str) -> str:
    """`text` without what no message and no row of the store can hold."""
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        return f"{where}: {first['msg']}"
    return " ".join(str(error).split())


Points = Annotated[tuple[Point, ...], Field(max_length=2)]


class CritiqueAnswer(Answer):
    """A critique as a model writes it; `Critique` is what becomes of it."""

    strengths: Points
    improvements: Points
    priority_fixes: Points
    critique: Line
    overall_score: Annotated[int, Field(ge=0, le=100)]

    def text(self) -> str:
        fixes = f" Fix first: {' '.join(self.priority_fixes)}" if self.priority_fixes else ""
        return f"{self.critique}{fixes}"

    def score(self) -> float:
        return float(self.overall_score)

    def judged(self, approve_at: float) -> Critique:
        """The contract's critique: approved exactly when the score reaches `approve_at`."""
        return Critique(
            approval_status="approved" if self.overall_score >= approve_at else "needs_revision",
            overall_score=self.overall_score,
            critique=self.critique,
            strengths=self.strengths,
            improvements=self.improvements,
            priority_fixes=self.priority_fixes,
        )
