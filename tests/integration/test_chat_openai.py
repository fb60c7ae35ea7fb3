"""The remote chat engine against a small local server that speaks the OpenAI streaming protocol."""

import io
import json
import math
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from configs.settings import load_profile
from models.errors import BudgetExceeded, Cancelled, InferenceFailed, InvalidRequest
from models.interfaces import ChatMessage, ChatRequest, EncodedImage, Unwatched
from models.llm.openai_chat import OpenAIChat
from models.spec import ChatModelSpec
from pipelines.scoring import ScoreRequest
from serving.scores.local import scorers_of
from tests.support.waiting import ended

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pieces = ['{"a"', ": ", "1}"]
        self.finish_reason = "stop"
        self.first_token = None
        self.status = 200
        self.stall = threading.Event()
        self.stall_after = None
        self.requests = []
        self.keys = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        self.server.keys.append(self.headers["Authorization"])
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/event-stream" if self.server.status == 200 else "application/json")
        self.end_headers()
        if self.server.status != 200:
            self.wfile.write(json.dumps({"error": {"message": "no such model"}}).encode())
            return
        for index, piece in enumerate(self.server.pieces):
            if index == self.server.stall_after:
                self.server.stall.wait(30)
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            if self.server.first_token is not None:
                tokens = [{"token": token, "logprob": value} for token, value in self.server.first_token.items()]
                choice["logprobs"] = {"content": [{"token": piece, "logprob": 0.0, "top_logprobs": tokens}]}
            self.event([choice])
        if self.server.finish_reason:
            self.event([{"index": 0, "delta": {}, "finish_reason": self.server.finish_reason}])
            self.event([], usage={"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14})
            self.wfile.write(b"data: [DONE]\n\n")

    def event(self, choices, usage=None):
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        try:
            self.wfile.write(f"data: {json.dumps(chunk | {'usage': usage})}\n\n".encode())
            self.wfile.flush()
        except OSError:
            return  # the client went away, as a cancel does


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stall.set()
    server.shutdown()
    ended(thread, "the end of the small server")
    server.server_close()


@pytest.fixture
def chat(server):
    chat = OpenAIChat(spec(server), {}, "cpu")
    yield chat
    chat.close()


def spec(server, **changes):
    fields = {
        "kind": "chat",
        "name": "far",
        "family": "openai",
        "licence": "none",
        "vram_gb": 0,
        "vision": True,
        "base_url": f"http://127.0.0.1:{server.server_port}/v1",
        "remote_model": "org/model",
    }
    return ChatModelSpec(**fields | changes)


def ask(**changes):
    return ChatRequest(**{"messages": (ChatMessage(role="user", content="hello"),), "seed": 7} | changes)


class StopAt:
    def __init__(self, at):
        self.at = at
        self.steps = []

    def step(self, done, total):
        self.steps.append((done, total))
        if done == self.at:
            raise Cancelled("stopped by the test")


def test_json_is_asked_for_by_schema_and_the_pieces_come_together(server, chat):
    result = chat.complete(ask(json_schema=SCHEMA, temperature=0.5, top_p=0.9, max_tokens=50), Unwatched())
    assert (result.text, result.prompt_tokens, result.completion_tokens) == ('{"a": 1}', 11, 3)
    (sent,) = server.requests
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (sent["model"], sent["seed"], sent["temperature"], sent["top_p"]) == ("org/model", 7, 0.5, 0.9)
    assert (sent["max_tokens"], sent["stream"]) == (50, True)


def test_a_profiles_chat_model_on_a_server_is_asked_there_and_one_that_tells_no_odds_is_the_reason(
    server, tmp_path, monkeypatch
):
    server.pieces, server.finish_reason = ["Yes"], "length"
    server.first_token = {"Yes": math.log(0.6), " no": math.log(0.2)}
    monkeypatch.setenv("ADMINT_CHAT_URL", f"http://127.0.0.1:{server.server_port}/v1")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    request = ScoreRequest(data=file.getvalue(), media="image", dimensions=("vqascore.text",), prompt="a cup")
    with closing(scorers_of(load_profile("gpu-24gb"))) as scorers:
        (found,) = scorers.measured(request, Unwatched())
        server.first_token = None
        (untold,) = scorers.measured(request, Unwatched())
    assert found.raw == pytest.approx(0.75)
    sent = server.requests[0]
    assert (sent["logprobs"], sent["top_logprobs"], sent["max_tokens"], sent["temperature"]) == (True, 20, 1, 0.0)
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url", "text"]
    assert (found.backbone, found.fidelity, found.device, found.weights_sha256) == (
        "qwen3-vl-4b",
        "like",
        "remote",
        None,
    )
    assert untold.reason == "the chat model 'qwen3-vl-4b' tells no log-probabilities of what it says"


def test_images_travel_as_data_urls(server, chat):
    message = ChatMessage(role="user", content="look", images=(EncodedImage(data=PNG),))
    chat.complete(ask(messages=(message,)), Unwatched())
    image, text = server.requests[0]["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert text == {"type": "text", "text": "look"}


def test_the_key_comes_from_the_environment_alone(server, monkeypatch):
    monkeypatch.setenv("ADMINT_OPENAI_API_KEY", "from-the-environment")
    chat = OpenAIChat(spec(server), {}, "cpu")
    chat.complete(ask(), Unwatched())
    chat.close()
    assert server.keys == ["Bearer from-the-environment"]


def test_a_cancel_takes_effect_between_two_pieces(server, chat):
    watcher = StopAt(1)
    server.stall_after = 1
    with pytest.raises(Cancelled):
        chat.complete(ask(), watcher)
    assert watcher.steps == [(0, 1024), (1, 1024)]


def test_an_answer_cut_short_names_the_token_budget(server, chat):
    server.finish_reason = "length"
    with pytest.raises(BudgetExceeded, match=r"max_tokens=1024: raise max_tokens"):
        chat.complete(ask(), Unwatched())


def test_a_server_that_stalls_names_the_time_budget(server, chat):
    server.stall_after = 1
    with pytest.raises(BudgetExceeded, match=r"timeout_seconds=0.2"):
        chat.complete(ask(timeout_seconds=0.2), Unwatched())


def test_an_answer_that_is_no_json_is_a_failure_that_quotes_it(server, chat):
    server.pieces = ["Sure! Here", " it is"]
    with pytest.raises(InferenceFailed, match=r"'Sure! Here it is'.*response_format"):
        chat.complete(ask(json_schema=SCHEMA), Unwatched())


def test_a_stream_that_just_ends_is_a_failure(server, chat):
    server.finish_reason = None
    with pytest.raises(InferenceFailed, match=r"before the answer was complete"):
        chat.complete(ask(), Unwatched())


@pytest.mark.parametrize(("status", "error"), [(400, InvalidRequest), (422, InvalidRequest), (404, InferenceFailed)])
def test_a_refusal_keeps_the_servers_own_words(server, chat, status, error):
    server.status = status
    with pytest.raises(error, match=r"'far' at http.*no such model"):
        chat.complete(ask(), Unwatched())


def test_a_server_that_is_not_there_is_a_failure_that_names_its_address(server):
    chat = OpenAIChat(spec(server, base_url="http://127.0.0.1:9/v1"), {}, "cpu")
    with pytest.raises(InferenceFailed, match=r"127.0.0.1:9/v1 cannot be reached"):
        chat.complete(ask(), Unwatched())
    chat.close()


def test_images_are_refused_by_a_model_without_vision_and_odd_files_by_every_model(server, chat):
    blind = OpenAIChat(spec(server, vision=False), {}, "cpu")
    message = ChatMessage(role="user", content="look", images=(EncodedImage(data=b"GIF89a"),))
    with pytest.raises(InvalidRequest, match=r"takes no images"):
        blind.complete(ask(messages=(message,)), Unwatched())
    with pytest.raises(InvalidRequest, match=r"no PNG, JPEG or WebP"):
        chat.complete(ask(messages=(message,)), Unwatched())
    blind.close()
    assert server.requests == []


def test_a_description_without_an_address_is_refused(server):
    with pytest.raises(InvalidRequest, match=r"'base_url' and 'remote_model'"):
        OpenAIChat(spec(server, base_url=None), {}, "cpu")
