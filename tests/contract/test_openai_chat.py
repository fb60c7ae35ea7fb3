"""The official OpenAI client against `/v1/chat/completions` over a real server, on a real, untrained model."""

import base64
import json

import openai
import pytest

from models.errors import InferenceFailed
from models.llm.transformers_chat import TransformersChat
from models.sketch.build import build
from tests.support.gateway_server import IMAGE, serve
from tests.support.tiny_language_models import chat_spec
from tests.support.tiny_models import png

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 3, "maxLength": 12},
        "score": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": ["title", "score"],
    "additionalProperties": False,
}
ANSWER = {"type": "json_schema", "json_schema": {"name": "ad", "schema": SCHEMA, "strict": True}}
HELLO = [{"role": "user", "content": "an ad for a bottle"}]
SEES, BLIND, BREAKS = chat_spec(name="sees", vision=True), chat_spec(name="blind"), chat_spec(name="breaks")


class Breaking:
    """An engine that fails after its first piece."""

    def stream(self, request, watcher, write):
        write("so far so")
        raise InferenceFailed("the kernel has a bug")


class Engines:
    """A loader of one untrained LLaVA under two descriptions, and of an engine that fails."""

    def __init__(self, folder):
        self._folder = folder

    def chat(self, spec):
        return Breaking() if spec is BREAKS else TransformersChat(spec, {"main": self._folder}, "cpu")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    build("llm", folder)
    specs = (SEES, BLIND, BREAKS, IMAGE)
    with serve(tmp_path_factory.mktemp("chat"), loader=Engines(folder), specs=specs, working=False) as server:
        yield server


def ask(client, **changes):
    return client.chat.completions.create(
        **{"model": "sees", "messages": HELLO, "max_tokens": 60, "temperature": 1.0} | changes
    )


def picture(seed=1):
    return f"data:image/png;base64,{base64.b64encode(png(seed).data).decode()}"


def with_picture(url):
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def test_a_completion_under_a_schema_validates(client):
    for seed in range(3):
        made = ask(client, response_format=ANSWER, seed=seed)
        (choice,) = made.choices
        data = json.loads(choice.message.content)
        assert set(data) == {"title", "score"}
        assert 3 <= len(data["title"]) <= 12
        assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
        assert (made.object, made.model) == ("chat.completion", "sees")


def test_the_stream_is_the_whole_answer_in_pieces(client):
    whole = ask(client, response_format=ANSWER, seed=5)
    chunks = list(ask(client, response_format=ANSWER, seed=5, stream=True, stream_options={"include_usage": True}))
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_events_end_with_done(server):
    body = {"model": "sees", "messages": HELLO, "max_tokens": 3, "stream": True}
    answer = server.http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert not json.loads(answer.text.split("\n\n")[-3].removeprefix("data: ")).get("usage")


def test_an_answer_that_ran_out_of_tokens_says_length(client):
    made = ask(client, max_tokens=5)
    assert (made.choices[0].finish_reason, made.usage.completion_tokens) == ("length", 5)
    assert ask(client, max_tokens=50, max_completion_tokens=4).usage.completion_tokens == 4


def test_a_stop_string_ends_the_answer_before_it(client):
    free = ask(client, max_tokens=40, seed=3).choices[0].message.content
    stop = free[8:11]
    whole = ask(client, max_tokens=40, seed=3, stop=stop)
    assert whole.choices[0].message.content == free[: free.index(stop)]
    assert whole.choices[0].finish_reason == "stop"
    chunks = ask(client, max_tokens=40, seed=3, stop=[stop], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_without_a_seed_answers_differ(client):
    assert len({ask(client, max_tokens=20).choices[0].message.content for _ in range(3)}) == 3


def test_pictures_are_seen(client):
    answers = {
        ask(client, messages=with_picture(picture(seed)), temperature=0, max_tokens=20).choices[0].message.content
        for seed in (1, 2)
    }
    assert len(answers) == 2


def test_any_json_is_json(client):
    made = ask(client, response_format={"type": "json_object"}, max_tokens=400, seed=2)
    if made.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(made.choices[0].message.content), dict)
    else:
        assert made.choices[0].message.content.startswith("{")


def test_the_one_token_of_an_answer_has_its_log_probabilities_streamed_or_whole(client):
    asked = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 5}
    (choice,) = ask(client, **asked).choices
    (token,) = choice.logprobs.content
    assert token.token == choice.message.content and bytes(token.bytes).decode() == token.token
    values = [one.logprob for one in token.top_logprobs]
    assert values == sorted(values, reverse=True) and len(values) == 5 and token.logprob == values[0]
    chunks = [chunk.choices[0] for chunk in ask(client, **asked, stream=True)]
    (told,) = [chunk for chunk in chunks if chunk.logprobs is not None]
    assert told.logprobs.model_dump() == choice.logprobs.model_dump()
    assert told.delta.content == choice.message.content
    assert "".join(chunk.delta.content or "" for chunk in chunks) == choice.message.content
    (alone,) = ask(client, **asked | {"top_logprobs": 0}).choices
    assert alone.logprobs.content[0].top_logprobs == []


def test_what_only_keeps_books_is_taken(client):
    assert ask(client, user="me", metadata={"a": "b"}, store=False, n=1, max_tokens=2, presence_penalty=0)


@pytest.mark.parametrize(
    "field",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"n": 2},
        {"frequency_penalty": 0.5},
        {"logit_bias": {"1": 5}},
        {"extra_body": {"top_k": 3}},
        {"temperature": 3.0},
        {"max_tokens": 0},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"response_format": {"type": "grammar"}},
    ],
    ids=lambda field: next(iter(field)),
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_cannot_honour_is_refused_by_name(client, field, stream):
    name = next(iter(field.get("extra_body", field)))
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(client, **field, stream=stream)
    assert f"'{name}" in refused.value.message
    assert (refused.value.param or "").split(".")[0] == name


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role", "must be 'system'"),
        ({"messages": [{"content": "x"}]}, "messages.0.role", "is missing"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0", "only text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text", "is missing"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "must be "),
        ({"temperature": 3}, "temperature", "must be less than or equal to 2"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"stop": ["}"], "response_format": {"type": "json_object"}}, "stop", "would cut"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
    ],
)
def test_a_refusal_names_the_field_as_it_was_sent(client, changes, param, says):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(client, **changes)
    assert refused.value.param == param
    assert says in refused.value.message
    assert "tuple" not in refused.value.message


def test_a_refusal_does_not_repeat_what_was_said(client):
    secret = "my secret " * 20
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(client, messages=[{"role": "user", "content": [{"type": "text", "text": secret, "more": 1}]}])
    assert "my secret" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA", "data:text/plain;base64,QQ=="],
)
def test_addresses_and_what_is_no_picture_are_refused(client, url):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(client, messages=with_picture(url))
    assert "messages.0.content.1" in refused.value.message


def test_a_blind_model_refuses_pictures(client):
    with pytest.raises(openai.UnprocessableEntityError, match="takes no images"):
        ask(client, model="blind", messages=with_picture(picture()))


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="seees")
    assert refused.value.code == "model_not_found"
    assert "blind" in refused.value.message


def test_an_image_model_is_told_apart(client):
    with pytest.raises(openai.UnprocessableEntityError, match="makes images: ask /v1/images/generations"):
        ask(client, model=IMAGE.name)


def test_adapters_need_an_engine_that_has_them(client):
    with pytest.raises(openai.UnprocessableEntityError, match="adapter"):
        ask(client, model="sees:brand")


def test_an_engine_that_fails_is_a_server_error(client):
    with pytest.raises(openai.InternalServerError, match="the kernel has a bug"):
        ask(client, model="breaks")


def test_an_error_on_the_way_is_an_event_and_the_end(client):
    chunks = ask(client, model="breaks", stream=True)
    seen: list[str | None] = []
    with pytest.raises(openai.APIError, match="the kernel has a bug"):
        seen.extend(chunk.choices[0].delta.content for chunk in chunks)
    assert seen == ["", "so far so"]


def test_hanging_up_stops_the_engine(server, client):
    chunks = ask(client, max_tokens=5000, stream=True)
    next(chunks)
    chunks.close()
    # The lane takes one call at a time: this one is answered because the other was stopped.
    assert ask(client, max_tokens=2).usage.completion_tokens == 2
    assert server.call(server.backend.counters())["sees"].cancellations == 1
