"""The remote chat engine against servers as they are: busy, failing, talkative, half compatible."""

import asyncio
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from models.errors import BrokenAnswer, BudgetExceeded, Cancelled, InferenceFailed, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, Unwatched
from models.llm.openai_chat import TRIES_BROKEN, TRIES_BUSY, OpenAIChat
from models.llm.openai_wire import complete_over
from models.spec import ChatModelSpec
from serving.backends.in_process import LocalChat
from tests.support.waiting import ended

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SOON = {"retry-after-ms": "5"}


class Server(ThreadingHTTPServer):
    """Answers each request by the next entry of `script`, then for ever by the last one."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = []
        self.requests = []

    def handle_error(self, request, client_address):
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        place = min(len(self.server.requests), len(self.server.script)) - 1
        self.server.script[place](self)

    def whole(self, status, media_type, data, headers=()):
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(data)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def says(*pieces, finish="stop"):
    """A stream of deltas; a piece is a text or a whole delta."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        deltas = [piece if isinstance(piece, dict) else {"content": piece} for piece in pieces]
        ends = [(delta, None) for delta in deltas] + ([({}, finish)] if finish else [])
        for delta, reason in ends:
            chunk = {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        if finish:
            handler.wfile.write(b"data: [DONE]\n\n")

    return answer


def refuses(status, message="no", headers=(), **error):
    data = json.dumps({"error": {"message": message, **error}}).encode()
    return lambda handler: handler.whole(status, "application/json", data, headers)


def hangs_up(handler):
    """Closes with a reset, before anything was said."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def breaks_off(handler):
    """Promises more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    chunk = {"choices": [{"delta": {"content": '{"a"'}, "finish_reason": None}]}
    handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
    handler.close_connection = True


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    ended(thread, "the end of the small server")
    server.server_close()


@pytest.fixture
def chat(server):
    spec = ChatModelSpec(
        kind="chat", name="far", family="openai", licence="none", vram_gb=0, vision=False,
        base_url=f"http://127.0.0.1:{server.server_port}/v1", remote_model="m",
    )  # fmt: skip
    chat = OpenAIChat(spec, {}, "cpu")
    yield chat
    chat.close()


def ask(**changes):
    given = {"messages": (ChatMessage(role="user", content="hello"),), "json_schema": SCHEMA, "timeout_seconds": 20.0}
    return ChatRequest(**given | changes)


# --- busy and failing ---


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529, 408])
def test_a_server_that_has_no_time_is_asked_again_after_the_time_it_names(server, chat, status):
    server.script = [refuses(status, headers=SOON), refuses(status, headers=SOON), says('{"a": 1}')]
    assert chat.complete(ask(), Unwatched()).text == '{"a": 1}'
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "tries"), [(429, TRIES_BUSY), (503, TRIES_BROKEN)])
def test_a_server_that_never_has_time_fails_by_name_after_a_bounded_number_of_calls(server, chat, status, tries):
    server.script = [refuses(status, "slow down", SOON)]
    with pytest.raises(InferenceFailed, match=rf"'far' at http.*{status}.*slow down"):
        chat.complete(ask(), Unwatched())
    assert len(server.requests) == tries


@pytest.mark.parametrize("after", ["300", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_wait_that_is_longer_than_the_requests_seconds_is_not_begun(server, chat, after):
    server.script = [refuses(429, headers={"retry-after": after})]
    with pytest.raises(InferenceFailed, match=r"waited for \d+ s, and timeout_seconds is 20"):
        chat.complete(ask(), Unwatched())
    assert len(server.requests) == 1


def test_an_account_without_money_is_not_asked_again(server, chat):
    server.script = [refuses(429, "You exceeded your current quota", code="insufficient_quota")]
    with pytest.raises(InferenceFailed, match="quota"):
        chat.complete(ask(), Unwatched())
    assert len(server.requests) == 1


def test_a_cancel_is_heard_while_it_waits(server, chat):
    server.script = [refuses(429, headers={"retry-after": "15"})]

    class Watcher:
        calls = 0

        def step(self, done, total):
            self.calls += 1
            if self.calls == 3:
                raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        chat.complete(ask(), Watcher())
    assert len(server.requests) == 1


def test_a_connection_that_is_reset_is_made_again(server, chat):
    server.script = [hangs_up, says('{"a": 1}')]
    assert chat.complete(ask(), Unwatched()).text == '{"a": 1}'


@pytest.mark.parametrize("odd", [breaks_off, says('{"a"', finish=None), says('{"a"', finish="error")])
def test_an_answer_that_breaks_off_is_a_broken_answer_which_agents_ask_for_again(server, chat, odd):
    server.script = [odd]
    with pytest.raises(BrokenAnswer):
        chat.complete(ask(), Unwatched())
    assert len(server.requests) == 1


def test_an_error_in_the_stream_is_tried_again_as_long_as_nothing_was_said(server, chat):
    def overloaded(handler):
        handler.whole(200, "text/event-stream", b'data: {"error": {"message": "overloaded"}}\n\n')

    server.script = [overloaded, says('{"a": 1}')]
    assert chat.complete(ask(), Unwatched()).text == '{"a": 1}'


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_says_where_the_key_comes_from(server, chat, status):
    server.script = [refuses(status, "bad key")]
    with pytest.raises(InferenceFailed, match="ADMINT_OPENAI_API_KEY"):
        chat.complete(ask(), Unwatched())


def test_a_web_page_is_taken_for_a_wrong_address(server, chat):
    server.script = [lambda handler: handler.whole(200, "text/html; charset=utf-8", b"<html>welcome</html>")]
    with pytest.raises(InferenceFailed, match="is its base_url right"):
        chat.complete(ask(), Unwatched())


# --- talkative ---


@pytest.mark.parametrize(
    "odd",
    [
        says("<think>hm, {\"a\": 2}?</think>", '{"a": 1}'),
        says("```json\n", '{"a": 1}', "\n```"),
        says("Sure! Here it is:\n", '{"a": 1}', "\nEnjoy."),
        says({"content": [{"type": "text", "text": '{"a": '}, {"type": "text", "text": "1}"}]}),
        says({"role": "assistant", "content": None}, {"reasoning_content": "hm"}, '{"a": 1}'),
        says({"reasoning_content": 'so: {"a": 1}'}),
        says('{"a": 1}', finish="length"),
        says('{"a": 1}', finish=None),
        says('{"a": 1}', finish="STOP"),
        says('{"a": 1}', finish="tool_calls"),
    ],
    ids=["thoughts", "fence", "prose", "parts", "reasoning", "all reasoning", "blanks", "no end", "STOP", "tools"],
)  # fmt: skip
def test_json_that_is_whole_is_found_whatever_is_around_it(server, chat, odd):
    server.script = [odd]
    result = chat.complete(ask(), Unwatched())
    assert (result.text, result.finish_reason) == ('{"a": 1}', "stop")


def test_a_server_that_does_not_stream_is_read_whole(server, chat):
    message = {"role": "assistant", "content": '{"a": 1}'}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    server.script = [lambda handler: handler.whole(200, "application/json", json.dumps(whole).encode())]
    result = chat.complete(ask(), Unwatched())
    assert (result.text, result.prompt_tokens, result.completion_tokens) == ('{"a": 1}', 3, 0)


@pytest.mark.parametrize("odd", [says(""), says("no idea"), says('{"a": ')], ids=["empty", "prose", "cut"])
def test_what_is_no_json_is_a_broken_answer(server, chat, odd):
    server.script = [odd]
    with pytest.raises(BrokenAnswer, match="'far' at http"):
        chat.complete(ask(), Unwatched())


def test_an_answer_that_ran_out_of_tokens_is_told_apart(server, chat):
    server.script = [says('{"a": ', finish="length")]
    with pytest.raises(BudgetExceeded):
        chat.complete(ask(), Unwatched())


def test_the_two_halves_of_a_character_come_together_and_a_half_alone_is_replaced(server, chat):
    server.script = [says("a \ud83d", "\ude00 b \ud83d c")]
    assert chat.complete(ask(json_schema=None), Unwatched()).text == "a \U0001f600 b \N{REPLACEMENT CHARACTER} c"


# --- half compatible ---


def test_a_server_that_refuses_schemas_is_told_the_schema_in_words_from_then_on(server, chat):
    refusal = refuses(400, "response_format type 'json_schema' is not supported", param="response_format.type")
    server.script = [refusal, says('{"a": 1}')]
    first, second = chat.complete(ask(), Unwatched()), chat.complete(ask(), Unwatched())
    assert "takes no response_format" in first.notes[0]
    assert "in words" in first.notes[0]
    assert second.notes == ()
    assert ["response_format" in body for body in server.requests] == [True, False, False]
    assert json.dumps(SCHEMA) in server.requests[1]["messages"][-1]["content"]
    assert server.requests[1]["messages"][-1]["content"].startswith("hello")


def test_a_server_that_ignores_schemas_is_told_the_schema_in_words_the_next_time(server, chat):
    server.script = [says("Sure, I can do that."), says('{"a": 1}')]
    with pytest.raises(BrokenAnswer):
        chat.complete(ask(), Unwatched())
    assert "in words" in chat.complete(ask(), Unwatched()).notes[0]
    assert json.dumps(SCHEMA) in server.requests[1]["messages"][-1]["content"]
    assert "response_format" in server.requests[1]


def test_a_server_that_wants_other_fields_gets_them(server, chat):
    server.script = [
        refuses(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", param="max_tokens"),
        refuses(400, "Unsupported value: 'temperature' does not support 0.7", param="temperature"),
        refuses(422, "extra fields not permitted: seed"),
        says('{"a": 1}'),
    ]
    result = chat.complete(ask(max_tokens=77), Unwatched())
    assert len(result.notes) == 3
    last = server.requests[-1]
    assert last["max_completion_tokens"] == 77
    assert not {"max_tokens", "temperature", "seed"} & set(last)


def test_what_it_refuses_else_is_a_refusal_with_its_own_words(server, chat):
    server.script = [refuses(400, "the context has 4096 tokens")]
    with pytest.raises(InvalidRequest, match="the context has 4096 tokens"):
        chat.complete(ask(), Unwatched())
    assert len(server.requests) == 1


# --- served on ---


@pytest.fixture
def served(chat):
    """The engine behind OpenAI's protocol, as a replica serves it."""

    async def stream(request, watcher, write):
        return await asyncio.to_thread(chat.stream, request, watcher, write)

    return LocalChat(chat._spec, stream)


async def test_an_answer_among_the_thoughts_reaches_who_asks_over_the_wire(server, served):
    server.script = [says({"reasoning_content": 'so: {"a": 1}'})]
    assert (await complete_over(served, "far", ask(), Unwatched())).text == '{"a": 1}'


async def test_notes_travel_with_the_answer(server, served):
    server.script = [refuses(400, "no json_schema here"), says('{"a": 1}')]
    assert "in words" in (await complete_over(served, "far", ask(), Unwatched())).notes[0]
    server.script = [refuses(400, "unknown field: seed"), says("hello")]
    server.requests.clear()
    body = {"model": "far", "messages": [{"role": "user", "content": "hi"}]}
    (whole,) = [item async for item in served.chat(body)]
    assert whole["choices"][0]["message"]["content"] == "hello"
    assert "takes no seed" in whole["notes"][0]


async def test_what_broke_off_is_broken_for_who_asks_over_the_wire_too(server, served):
    server.script = [says("no idea")]
    with pytest.raises(BrokenAnswer):
        await complete_over(served, "far", ask(), Unwatched())
