"""A stock user of OpenAI's client: its model names, sizes, lengths and defaults, with nothing of ours in the call."""

import base64
import inspect
import io
import json
from typing import Any

import openai
import pytest
from openai.resources.images import Images
from openai.resources.videos import Videos
from PIL import Image

from models.interfaces import ChatResult
from models.spec import ChatModelSpec
from serving.gateway.openai.absent import ABSENT
from tests.support.gateway_server import COMMON, IMAGE, SPECS, VIDEO, Studio, Studios, serve
from tests.support.tiny_models import png
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

TALKER = ChatModelSpec(name="talker", kind="chat", vision=True, **COMMON)
HELLO = [{"role": "user", "content": "a slogan for a bottle"}]


class Echo:
    """A chat engine that says what it was asked."""

    def __init__(self):
        self.requests = []

    def stream(self, request, watcher, write):
        self.requests.append(request)
        text = '{"a": 1}' if request.json_schema else " ".join(message.content for message in request.messages)
        write(text)
        return ChatResult(text=text, prompt_tokens=1, completion_tokens=1, seconds=0.0)


class Loader(Studios):
    def __init__(self, studio, echo):
        super().__init__(studio)
        self._echo = echo

    def chat(self, spec):
        return self._echo


@pytest.fixture(scope="module")
def echo():
    return Echo()


@pytest.fixture(scope="module")
def server(tmp_path_factory, echo):
    specs = (TALKER, *(spec for spec in SPECS if not isinstance(spec, ChatModelSpec)))
    with serve(tmp_path_factory.mktemp("stock"), loader=Loader(Studio(), echo), specs=specs) as server:
        yield server


def picture(image):
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def finished(client, video_id):
    def ended():
        video = client.videos.retrieve(video_id)
        return video if video.status in ("completed", "failed") else None

    return until(ended, "a video to end", pause=0.02)


# --- pictures ---


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "gpt-image-1", "flux-pro", "black-forest-labs/flux-1.1-pro"])
@pytest.mark.parametrize("size", ["256x256", "1024x1024", "1792x1024", "1024x1536", "auto"])
def test_an_image_of_any_model_and_size_is_made_by_the_nearest_and_the_notes_say_so(client, model, size):
    made = client.images.generate(model=model, prompt="a steel bottle", size=size)
    assert f"{picture(made.data[0]).width}x{picture(made.data[0]).height}" == made.size
    assert (made.model, model in made.notes[0], IMAGE.name in made.notes[0]) == (IMAGE.name, True, True)
    assert (size in "".join(made.notes[1:])) == (size != "auto")


def test_an_image_with_nothing_but_a_prompt_has_no_notes(client):
    assert client.images.generate(prompt="a steel bottle").notes == []


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({"quality": "standard", "n": 1, "response_format": "b64_json"}, []),
        ({"quality": "hd", "style": "vivid"}, ["quality", "style"]),
        ({"quality": "auto", "background": "auto", "moderation": "low", "user": "u-1"}, []),
        ({"quality": "low", "background": "opaque", "output_format": "webp", "output_compression": 50}, ["quality"]),
        ({"output_format": "png", "output_compression": 50}, ["output_compression"]),
        ({"n": 2, "output_format": "jpeg"}, []),
    ],
    ids=lambda fields: ",".join(fields),
)
def test_every_field_of_an_image_is_honoured_or_noted(client, fields, noted):
    made = client.images.generate(model=IMAGE.name, prompt="a bottle", **fields)
    assert [note.split()[0] for note in made.notes] == noted
    assert len(made.data) == fields.get("n", 1)
    assert picture(made.data[0]).format == fields.get("output_format", "png").upper()


def test_fields_that_are_null_were_left_out(server):
    nulls = dict.fromkeys(
        ("model", "n", "size", "quality", "style", "background", "user", "response_format", "output_format",
         "output_compression", "moderation", "stream", "partial_images", "seed", "negative_prompt")
    )  # fmt: skip
    answer = server.http.post("/v1/images/generations", json={"prompt": "a bottle", **nulls})
    assert (answer.status_code, answer.json()["notes"]) == (200, [])
    clip = dict.fromkeys(("model", "seconds", "size", "input_reference", "seed"))
    assert server.http.post("/v1/videos", json={"prompt": "a bottle", **clip}).status_code == 200


def test_transparency_is_refused_in_one_sentence(client):
    with pytest.raises(openai.UnprocessableEntityError, match="no model here draws transparency") as caught:
        client.images.generate(model="gpt-image-1", prompt="a bottle", background="transparent")
    assert (caught.value.code, caught.value.param) == ("unsupported", "background")


def test_images_come_as_events_to_who_asks_for_a_stream(client):
    events = list(client.images.generate(model=IMAGE.name, prompt="a bottle", stream=True, partial_images=2, n=2))
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert picture(events[0]).size == (64, 64)
    assert (events[0].size, events[0].output_format) == ("64x64", "png")
    assert "partial_images" in events[0].notes[0]
    edited = list(client.images.edit(model=IMAGE.name, prompt="in snow", image=png(1).data, stream=True))
    assert [event.type for event in edited] == ["image_edit.completed"]


def test_an_error_in_a_stream_of_images_is_its_last_event(server, client):
    server.backend._engines[IMAGE.name]._studio.fail_with = openai.OpenAIError("kernel")
    try:
        with pytest.raises(openai.APIError, match="the server failed"):
            list(client.images.generate(model=IMAGE.name, prompt="a bottle", stream=True))
    finally:
        server.backend._engines[IMAGE.name]._studio.fail_with = None
    with pytest.raises(openai.UnprocessableEntityError):
        client.images.generate(model=IMAGE.name, prompt="", stream=True)


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "auto"])
def test_an_edit_of_openais_sizes_is_made(client, size):
    made = client.images.edit(
        model="gpt-image-1", prompt="in snow", image=[("a.png", png(1).data, "image/png")], size=size, quality="high"
    )
    assert picture(made.data[0]).size in ((64, 64), (80, 48))
    assert (size in "".join(made.notes)) == (size != "auto")


# --- clips ---


@pytest.mark.parametrize(
    ("model", "seconds", "size"),
    [
        ("sora-2", "4", "720x1280"), ("sora-2-pro", "8", "1792x1024"), ("kling-v1.5", "12", "1024x1792"),
        ("openai/sora-2", "4", "1280x720"),
    ],
)  # fmt: skip
def test_a_clip_of_any_model_size_and_length_is_made_by_the_nearest_and_the_notes_say_so(client, model, seconds, size):
    ordered = client.videos.create(model=model, prompt="a bottle in rain", seconds=seconds, size=size)
    made = finished(client, ordered.id)
    assert (made.status, made.model, made.seconds) == ("completed", VIDEO.name, "2.125")
    assert made.size in ("80x48", "48x80")
    assert (int(size.split("x")[0]) < int(size.split("x")[1])) == (made.size == "48x80")
    for said in (model, seconds, size):
        assert said in " ".join(ordered.notes)
    assert made.notes == ordered.notes


def test_a_clip_with_nothing_but_a_prompt_is_polled_downloaded_listed_and_deleted(client):
    made = client.videos.create_and_poll(prompt="a bottle in rain", poll_interval_ms=20)
    assert (made.status, made.notes) == ("completed", [])
    assert client.videos.download_content(made.id).read()[4:8] == b"ftyp"
    sheet = Image.open(io.BytesIO(client.videos.download_content(made.id, variant="spritesheet").read()))
    width, height = (int(side) for side in made.size.split("x"))
    assert sheet.size == (4 * width, 4 * height)
    thumbnail = Image.open(io.BytesIO(client.videos.download_content(made.id, variant="thumbnail").read()))
    assert thumbnail.size == (width, height)
    assert made.id in [video.id for video in client.videos.list()]
    assert client.videos.delete(made.id).deleted


# --- chat ---


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "o3-mini", "claude-3-5-sonnet", "meta/llama-3:70b"])
def test_a_chat_model_of_elsewhere_is_answered_by_the_nearest(client, model):
    made = client.chat.completions.create(model=model, messages=HELLO)
    assert (made.model, made.choices[0].message.content) == ("talker", "a slogan for a bottle")
    assert model in made.notes[0]
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert model in chunks[0].notes[0]
    assert not any(hasattr(chunk, "notes") for chunk in chunks[1:])
    with pytest.raises(openai.NotFoundError, match="the nearest is 'talker'") as caught:
        client.chat.completions.create(model=model, messages=HELLO, extra_body={"strict": True})
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "fields",
    [
        {"max_completion_tokens": 5}, {"stop": ["\n"]}, {"stop": None}, {"tools": None, "tool_choice": None},
        {"tools": [], "parallel_tool_calls": True}, {"logprobs": False}, {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}}, {"temperature": 0, "top_p": 1, "seed": None},
        {"frequency_penalty": 0.0, "presence_penalty": 0.0}, {"user": "me", "metadata": {}, "store": True},
        {"reasoning_effort": "low", "verbosity": "low"}, {"functions": [], "function_call": "auto"},
    ],
    ids=lambda fields: ",".join(fields),
)  # fmt: skip
def test_what_clients_send_without_meaning_anything_is_taken(client, fields):
    made = client.chat.completions.create(model="talker", messages=HELLO, **fields)
    assert made.choices[0].finish_reason == "stop"
    assert len(getattr(made, "notes", [])) == (2 if "verbosity" in fields else 0)


def test_tools_are_refused_in_one_sentence_unless_they_must_not_be_called(client):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with pytest.raises(openai.UnprocessableEntityError, match="it calls no tools; ask for JSON"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=tools)
    assert client.chat.completions.create(model="talker", messages=HELLO, tools=tools, tool_choice="none").notes


def test_an_answer_can_be_sent_back_as_it_came(client, echo):
    first = client.chat.completions.create(model="talker", messages=HELLO).choices[0].message
    extras: dict[str, Any] = {**dict.fromkeys(("tool_calls", "function_call", "audio", "refusal")), "annotations": []}
    again = [*HELLO, {**first.model_dump(), **extras}, {"role": "user", "content": "shorter"}]
    assert "shorter" in client.chat.completions.create(model="talker", messages=again).choices[0].message.content
    empty = [*HELLO, {"role": "assistant", "content": None, "tool_calls": []}, *HELLO]
    client.chat.completions.create(model="talker", messages=empty)
    assert [message.role for message in echo.requests[-1].messages] == ["user", "assistant", "user"]


def test_the_developer_is_the_system_and_pictures_may_say_their_detail(client, echo):
    url = f"data:image/png;base64,{base64.b64encode(png(1).data).decode()}"
    text = {"type": "text", "text": "what is it?"}
    parts = [text, {"type": "image_url", "image_url": {"url": url, "detail": "high"}}]
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]
    client.chat.completions.create(model="gpt-4o", messages=messages)
    system, user = echo.requests[-1].messages
    assert (system.role, len(user.images)) == ("system", 1)
    parts = [text, {"type": "image_url", "image_url": url}]  # the short form of some clients
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert len(echo.requests[-1].messages[0].images) == 1


def test_parsed_and_streamed_helpers_of_the_client_work(client):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "ad", "schema": schema}}
    assert json.loads(client.chat.completions.create(model="gpt-4o", messages=HELLO, response_format=form)
                      .choices[0].message.content) == {"a": 1}  # fmt: skip
    with client.chat.completions.stream(
        model="gpt-4o", messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "a slogan for a bottle"
    assert final.usage.total_tokens == 2


# --- what is not served ---


@pytest.mark.parametrize("address", sorted(ABSENT))
def test_an_address_of_openais_that_is_not_served_says_what_to_do_instead(server, address):
    path = address.replace("{unread_id}", "v")
    for method in ("GET", "POST"):
        answer = server.http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "is not served here: " in answer.json()["error"]["message"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_every_call_of_the_clients_for_images_and_videos_works_or_says_why_not(client):
    """A call that a later client adds must be decided on, too."""
    refused = {
        "create_variation": lambda: client.images.create_variation(image=png(1).data),
        "remix": lambda: client.videos.remix("video", prompt="in snow"),
        "edit_video": lambda: client.videos.edit(prompt="in snow", video=png(1).data),
        "extend": lambda: client.videos.extend(prompt="on", seconds="4", video=png(1).data),
        "create_character": lambda: client.videos.create_character(name="Anna", video=png(1).data),
        "get_character": lambda: client.videos.get_character("anna"),
    }
    for call in refused.values():
        with pytest.raises(openai.NotFoundError, match="is not served here: "):
            call()
    with pytest.raises(openai.NotFoundError, match="/v1/chat/completions"):
        client.responses.create(model="gpt-4o", input="hello")
    works = {"generate", "edit", "create", "create_and_poll", "poll", "retrieve", "list", "delete", "download_content"}
    calls = {
        name
        for resource in (Images, Videos)
        for name, value in inspect.getmembers(resource)
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert calls - works - set(refused) == set()
