"""The chat deployment, with one interface for every engine: `answer(body)`, OpenAI's protocol as plain JSON.

`chat_application` is what the composition root binds: the in-process engine of this module, or vLLM
(`serving.deployments.chat_vllm`, imported only where it is asked for). Callers hold a `ChatOverHandle`,
or `complete` an answer. Errors travel as data (`Failed`), so that both sides see the class that was raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from configs.settings import Profile, library_root, load_model
from models.errors import InferenceFailed, ModelError
from models.interfaces import ChatMessage, ChatRequest, ChatResult, Unwatched, Watcher, unread
from models.llm.openai_wire import Json, answer_over, out_of_tokens
from models.registry import REMOTE_FAMILY, load
from models.spec import ChatModelSpec
from models.weights import Library
from pipelines.runtime.lanes import Lane
from serving.backends.counters import Counters
from serving.backends.in_process import LocalChat
from serving.backends.interface import ModelCounters
from serving.deployments.calls import ATTEMPTS, LOST, Failed, stream
from serving.deployments.replica_options import begin_replica, end_construction, replica_options
from serving.errors import NotReady, QueueFull

IN_PROCESS_CALLS = 1
"""The engine answers one call at a time; the others wait before the deployment for any free replica."""


def chat_application(profile: Profile) -> Application:
    """The deployment `Chat` of a profile's language model. Raises BadInput, WeightsError."""
    settings, spec = profile.serving.chat, load_model(profile.chat, ChatModelSpec)
    if spec.family == REMOTE_FAMILY:
        # The model computes elsewhere, as with ADMINT_CHAT_URL: a replica of it needs no share of a card.
        settings = settings.model_copy(update={"engine": "in_process", "num_gpus": 0.0})
    if settings.engine == "vllm":
        from serving.deployments.chat_vllm import vllm_application  # vLLM is not installed everywhere

        return vllm_application(spec, Library(library_root()).folders(spec)["main"], settings)
    return chat_deployment.options(**replica_options("Chat", settings, IN_PROCESS_CALLS)).bind(
        profile.chat, profile.device
    )


class ChatReplica:
    """The in-process engine of one chat model, on one device."""

    async def __init__(self, model: str, device: str) -> None:  # type: ignore[misc]
        """Load the weights and answer once, so that a replica that counts as ready is ready."""
        begin_replica("Chat")
        self._spec = load_model(model, ChatModelSpec)
        self._lane = Lane(device)
        self._counters = Counters()
        folders = Library(library_root()).folders(self._spec)
        self._engine = await self._lane.run(lambda _: load(self._spec, folders, device), Unwatched())
        self._chat = LocalChat(self._spec, self._stream)
        hello = ChatRequest(messages=(ChatMessage(role="user", content="Hello"),), max_tokens=1)
        await self._stream(hello, Unwatched(), unread)
        end_construction()

    async def answer(self, body: Json) -> AsyncGenerator[Json | Failed, None]:
        """As `LocalChat.chat`, but a ModelError is not raised: it is the last item."""
        async for item in failing_as_data(self._counted(body)):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        return {self._spec.name: self._counters.snapshot(0, 0, 0)}

    async def _counted(self, body: Json) -> AsyncGenerator[Json, None]:
        with self._counters.call():
            async with aclosing(self._chat.chat(body)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _stream(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        def work(watcher: Watcher) -> ChatResult:
            with self._counters.on_device(1):
                return self._engine.stream(request, watcher, write)

        return await self._lane.run(work, watcher)


chat_deployment = serve.deployment(ChatReplica)


async def failing_as_data(chunks: AsyncGenerator[Json, None]) -> AsyncGenerator[Json | Failed, None]:
    """The chunks, then a ModelError if one was raised. Closing it closes `chunks`."""
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                yield chunk
        except ModelError as error:
            yield Failed(error)


class ChatOverHandle:
    """A `models.llm.openai_wire.ChatService` behind the handle of a chat deployment."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def chat(self, body: Json) -> AsyncGenerator[Json, None]:
        """Chunks when `body["stream"]`, else one completion. Closing the generator cancels the call on its replica.

        Raises what the engine raised (InvalidRequest, BudgetExceeded, InferenceFailed), QueueFull, and NotReady, also
        when the replica is lost before the answer is complete: what was received cannot be continued elsewhere.
        """
        items = stream(self._handle, "answer", body)
        try:
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, Failed):
                        raise item.error
                    yield item
        except LOST as error:
            raise NotReady(f"{self._handle.deployment_name} lost the replica that was answering: ask again") from error


async def complete(handle: DeploymentHandle[Any], model: str, request: ChatRequest, watcher: Watcher) -> ChatResult:
    """As `answered`, but an answer that ran out of tokens raises BudgetExceeded."""
    result = await answered(handle, model, request, watcher)
    if result.finish_reason == "length":
        raise out_of_tokens(request, model)
    return result


async def answered(handle: DeploymentHandle[Any], model: str, request: ChatRequest, watcher: Watcher) -> ChatResult:
    """Answer `request` by `model` behind `handle`, as `ChatModel.stream` would.

    A full queue is waited for; an answer whose replica was lost is asked for again, and is the same one where the
    engine keeps to the seed. Raises InvalidRequest, BudgetExceeded, Cancelled, InferenceFailed.
    """
    lost = 0
    while True:
        try:
            return await answer_over(ChatOverHandle(handle), model, request, watcher)
        except QueueFull as full:
            await asyncio.sleep(full.retry_after)
        except NotReady as error:
            lost += 1
            if lost == ATTEMPTS:
                raise InferenceFailed(str(error)) from error
