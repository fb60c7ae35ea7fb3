"""The in-process language model as a Serve deployment, under real Ray."""

import asyncio
import json

import pytest

from models.errors import Cancelled, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, Unwatched

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "minLength": 3, "maxLength": 12}},
    "required": ["title"],
    "additionalProperties": False,
}
MODEL = "sketch-chat"


@pytest.fixture(scope="session")
def chat_handle(ray_session):
    from ray import serve

    from configs.settings import load_profile
    from serving.deployments.chat import chat_application

    profile = load_profile("sketch").model_copy(update={"chat": MODEL})
    yield serve.run(chat_application(profile), name="in-process", route_prefix=None)
    serve.delete("in-process")


def ask(**changes):
    messages = (ChatMessage(role="user", content="an ad for a bottle"),)
    return ChatRequest(**{"messages": messages, "json_schema": SCHEMA, "max_tokens": 60} | changes)


def body(**changes):
    return {"model": MODEL, "messages": [{"role": "user", "content": "a bottle"}], "max_tokens": 20} | changes


async def all_of(chunks):
    return [chunk async for chunk in chunks]


@pytest.fixture
def chat(chat_handle):
    from serving.deployments.chat import ChatOverHandle

    return ChatOverHandle(chat_handle)


async def test_the_pipelines_requests_are_answered_over_a_handle(chat_handle):
    from serving.deployments.chat import complete

    first, again = [await complete(chat_handle, MODEL, ask(seed=4), Unwatched()) for _ in range(2)]
    assert first.text == again.text
    assert 3 <= len(json.loads(first.text)["title"]) <= 12
    assert first.prompt_tokens > 0


async def test_an_answer_streams_through_the_handle(chat):
    chunks = await all_of(chat.chat(body(stream=True, seed=1)))
    (whole,) = await all_of(chat.chat(body(seed=1)))
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]


async def test_the_error_of_a_request_at_fault_keeps_its_class(chat):
    with pytest.raises(InvalidRequest, match="'tools'"):
        await all_of(chat.chat(body(tools=[{"type": "function"}])))


async def test_a_stopped_answer_frees_the_replica(chat_handle):
    from serving.deployments.chat import complete

    class StopAtThird:
        def step(self, done, total):
            if done == 3:
                raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        await complete(chat_handle, MODEL, ask(json_schema=None, max_tokens=4000, temperature=2.0), StopAtThird())
    assert (await complete(chat_handle, MODEL, ask(), Unwatched())).text
    counters = (await chat_handle.counters.remote())[MODEL]
    assert counters.cancellations == 1


async def test_an_answer_whose_replica_dies_is_asked_for_again(chat_handle):
    import ray

    from serving.deployments.chat import complete

    killed = asyncio.Event()

    class KillAtSecond:
        def step(self, done, total):
            if done == 2 and not killed.is_set():
                killed.set()
                names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
                (replica,) = [name for name in names if "in-process#Chat" in name]
                ray.kill(ray.get_actor(replica, namespace="serve"))

    expected = await complete(chat_handle, MODEL, ask(seed=6), Unwatched())
    again = await complete(chat_handle, MODEL, ask(seed=6), KillAtSecond())
    assert killed.is_set()
    assert again.text == expected.text
