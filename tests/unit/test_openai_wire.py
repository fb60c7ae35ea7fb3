"""The pipeline's requests over any chat service: what comes back, and what each way of failing becomes."""

import asyncio
import json

import pytest

from models.errors import BudgetExceeded, Cancelled, InferenceFailed, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, EncodedImage, Unwatched
from models.llm.openai_serving import Reply, read_body
from models.llm.openai_wire import bare_json, complete_over, request_body
from tests.support.tiny_language_models import chat_spec
from tests.support.waiting import for_ever, within

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


def ask(**changes):
    return ChatRequest(**{"messages": (ChatMessage(role="user", content="hello"),), "seed": 7} | changes)


class Service:
    """Says what it was made with, then waits for ever if told to; remembers how it was left."""

    def __init__(self, pieces, finish_reason="stop", usage=None, stalls=False, error=None):
        self.pieces, self.finish_reason, self.usage = pieces, finish_reason, usage
        self.stalls, self.error = stalls, error
        self.bodies = []
        self.called = asyncio.Event()
        self.closed = False

    async def chat(self, body):
        self.bodies.append(body)
        self.called.set()
        reply = Reply(body["model"])
        try:
            yield reply.opening()
            for piece in self.pieces:
                yield reply.piece(piece)
            if self.stalls:
                await for_ever()
            if self.error is not None:
                raise self.error
            if self.finish_reason:
                yield reply.end(self.finish_reason)
            if self.usage:
                yield {"choices": [], "usage": self.usage}
        finally:
            self.closed = True


class Watcher:
    def __init__(self, stop_at=None):
        self.steps, self.stop_at = [], stop_at

    def step(self, done, total):
        self.steps.append((done, total))
        if done == self.stop_at:
            raise Cancelled("stopped by the test")


async def test_the_pieces_come_together_and_the_watcher_follows():
    service = Service(['{"a"', ": ", "1}"], usage={"prompt_tokens": 11, "completion_tokens": 3})
    watcher = Watcher()
    result = await complete_over(service, "m", ask(json_schema=SCHEMA, max_tokens=50), watcher)
    assert (result.text, result.prompt_tokens, result.completion_tokens) == ('{"a": 1}', 11, 3)
    assert watcher.steps[0] == (0, 50)
    assert watcher.steps[-1] == (3, 50)
    assert service.closed


@pytest.mark.parametrize(
    ("service", "error", "says"),
    [
        (Service(["a"], "length"), BudgetExceeded, "max_tokens=1024"),
        (Service(["a"], None), InferenceFailed, "ended the stream"),
        (Service(["a"], "content_filter"), InferenceFailed, "content_filter"),
        (Service(["not JSON"]), InferenceFailed, "asked for JSON"),
        (Service(["a"], error=InvalidRequest("too long")), InvalidRequest, "too long"),
    ],
    ids=["out of tokens", "broken off", "filtered", "no JSON", "refused"],
)
async def test_every_failure_is_a_typed_error(service, error, says):
    with pytest.raises(error, match=says):
        await complete_over(service, "m", ask(json_schema=SCHEMA), Unwatched())
    assert service.closed


async def test_time_runs_out_and_closes_the_call():
    service = Service(["a"], stalls=True)
    with pytest.raises(BudgetExceeded, match=r"timeout_seconds=0\.05"):
        await complete_over(service, "m", ask(timeout_seconds=0.05), Unwatched())
    assert service.closed


async def test_a_watcher_closes_the_call():
    service = Service(["a", "b", "c"], stalls=True)
    with pytest.raises(Cancelled):
        await complete_over(service, "m", ask(), Watcher(stop_at=2))
    assert service.closed


async def test_a_cancelled_caller_closes_the_call():
    service = Service(["a"], stalls=True)
    task = asyncio.create_task(complete_over(service, "m", ask(), Unwatched()))
    await within(service.called.wait(), "the service to be called")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.closed


def test_a_request_survives_the_way_over_the_wire():
    image = EncodedImage(data=PNG)
    request = ask(
        messages=(
            ChatMessage(role="system", content="You write."),
            ChatMessage(role="user", content="look", images=(image, image)),
            ChatMessage(role="assistant", content="seen"),
        ),
        json_schema=SCHEMA, temperature=0.3, top_p=0.8, max_tokens=77,
    )  # fmt: skip
    served = read_body(request_body(request, "tiny"), chat_spec(vision=True))
    assert served.request == request
    assert (served.stream, served.include_usage) == (True, True)


def test_stop_strings_survive_too():
    request = ask(stop=("a", "bc"))
    assert read_body(request_body(request, "tiny"), chat_spec()).request == request


@pytest.mark.parametrize(
    "wrapped",
    [
        '{"a": 1}', '  {"a": 1}\n', '\ufeff{"a": 1}', '```json\n{"a": 1}\n```', '```\n{"a": 1}\n```', '{"a": 1}\n```',
        'Sure! {"a": 1}', '{"a": 1} Enjoy {it}.', 'Use {braces}: {"a": 1}', 'As said in [1]: {"a": 1}',
        '<think>{"a": 2, "b": "longer"}</think>{"a": 1}', 'thoughts without a beginning</think>\n\n{"a": 1}',
        "<thinking>x</thinking>\n```json\n{\"a\": 1}\n```", '"{\\"a\\": 1}"', 'draft {"a"\nfinal {"a": 1}',
        '<|channel|>analysis<|message|>hm<|channel|>final<|message|>{"a": 1}',
    ],
)  # fmt: skip
def test_json_is_found_in_what_servers_put_around_it(wrapped):
    assert bare_json(wrapped) == '{"a": 1}'


@pytest.mark.parametrize("text", ["", "no JSON", "{", "[", '{"a": ', "{" * 5000, '"a text"', "true", '[{"a": 1}]', "3"])
def test_a_text_without_an_object_of_its_own_stays_as_it_is(text):
    assert bare_json(text) == text


def test_line_breaks_within_strings_are_read():
    assert json.loads(bare_json('{"a": "one\ntwo"}')) == {"a": "one\ntwo"}
