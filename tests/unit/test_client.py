"""The command line's side of a server: addresses, refusals, events, models, and what is said when it ends early."""

import json
from pathlib import Path

import httpx
import pytest

from models.errors import Cancelled
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput, NotFound, StepFailed
from serving.cli.main import exit_code
from serving.client.errors import refusal, refusal_of
from serving.client.events import read_event
from serving.client.http import Backoff, event_data, server_address
from serving.client.model_client import served_model
from serving.client.run import Job, Note, check_folder, read_note, write_note
from serving.errors import ServingError, Unauthenticated, Unreachable
from serving.gateway.openai.models import model_object
from serving.gateway.problems import CODES
from tests.support.gateway_server import CHAT, IMAGE, SPECS, VIDEO

SERVER = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8000", SERVER),
        (" http://127.0.0.1:8000/ ", SERVER),
        ("https://Ads.Example.org/studio/", "https://ads.example.org/studio"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_has_one_form(text, address):
    assert server_address(text) == address


@pytest.mark.parametrize("text", ["localhost:8000", "ftp://host", "http://", "http://host:port", "http://host?x=1", ""])
def test_what_is_no_address_is_refused_by_name(text):
    with pytest.raises(BadInput, match="--server"):
        server_address(text)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(BadInput, match="admint login") as caught:
        server_address("http://anna:hidden@host")
    assert "hidden" not in str(caught.value)


# --- refusals ---


EXITS = {
    "unauthorized": 2, "forbidden": 2, "not_found": 2, "conflict": 6, "weights_unusable": 5, "storage_failed": 4,
}  # fmt: skip


@pytest.mark.parametrize(("code", "status"), CODES.items())
def test_every_code_of_the_gateway_becomes_an_error_with_its_exit_code(code, status):
    error = refusal_of(SERVER, {"code": code, "message": "why"}, 0)
    expected = EXITS.get(code, 2 if status in (400, 404, 405, 413, 415, 416, 422) else 3)
    assert exit_code(error) == (3 if code == "budget_exceeded" else expected)
    assert "why" in str(error) or "admint login" in str(error)


@pytest.mark.parametrize("code", ["unauthorized", "forbidden"])
def test_who_may_not_is_told_how_to_log_in(code):
    assert f"admint login --server {SERVER}" in str(refusal_of(SERVER, {"code": code, "message": "no"}, 0))


def test_a_full_queue_says_when_to_try_again():
    answer = httpx.Response(
        429, json={"error": {"code": "queue_full", "message": "full"}}, headers={"Retry-After": "30"}
    )
    assert str(refusal(SERVER, answer)) == "full; try again in 30 s"


@pytest.mark.parametrize("answer", [httpx.Response(404, text="<html>"), httpx.Response(502, json=["x"])])
def test_an_answer_of_something_else_says_to_check_the_address(answer):
    assert "check the address" in str(refusal(SERVER, answer))


# --- the connection ---


async def test_without_patience_the_first_failure_is_the_last():
    with pytest.raises(Unreachable, match="gone"):
        await Backoff(0.0).after(Unreachable("gone"))


async def test_patience_waits_and_gives_up_in_the_end():
    backoff = Backoff(0.5)
    await backoff.after(Unreachable("gone"))
    with pytest.raises(Unreachable):
        for _ in range(10):
            await backoff.after(Unreachable("gone"))
    backoff.renew()
    await backoff.after(Unreachable("gone"))


async def test_events_are_read_whatever_stands_between_them():
    async def lines():
        for line in (": keep", "", "event: notice", "id: 3", 'data: {"a":', "data: 1}", "", "data: last", ""):
            yield line

    heard = []
    assert [data async for data in event_data(lines(), lambda: heard.append(1))] == ['{"a":\n1}', "last"]
    assert len(heard) == 9


def test_the_end_of_a_login_in_the_middle_of_a_stream_is_said():
    ended = {"error": {"message": "the credentials of this stream have ended", "code": "unauthorized"}}
    with pytest.raises(Unauthenticated, match="admint login"):
        read_event(json.dumps(ended), SERVER)


@pytest.mark.parametrize("data", ["no json", "3", '{"seq": 1, "kind": "unheard_of"}'])
def test_an_event_that_cannot_be_read_is_our_error(data):
    with pytest.raises(ServingError, match="cannot read"):
        read_event(data, SERVER)


# --- models ---


def served():
    return [model_object(spec).model_dump(mode="json") for spec in SPECS]


def test_a_model_is_described_as_its_server_says():
    chat = served_model(SERVER, served(), ChatModelSpec, None)
    image = served_model(SERVER, served(), ImageModelSpec, None)
    video = served_model(SERVER, served(), VideoModelSpec, VIDEO.name)
    assert (chat.name, chat.vision) == (CHAT.name, False)
    for ours, its in ((image, IMAGE), (video, VIDEO)):
        assert (ours.name, ours.sizes, ours.references) == (its.name, its.sizes, its.references)
        assert (ours.num_inference_steps, ours.guidance_scale) == (its.num_inference_steps, its.guidance_scale)
        assert (ours.pixel_budget(), ours.size_multiple) == (its.pixel_budget(), its.size_multiple)
    assert (video.native_fps, video.max_frames, video.frame_multiple) == (8, 17, 4)
    assert (video.first_frame, video.camera_moves) == (VIDEO.first_frame, VIDEO.camera_moves)


def test_a_model_that_is_not_served_is_refused_with_those_that_are():
    with pytest.raises(BadInput, match="painter, mixer"):
        served_model(SERVER, served(), ImageModelSpec, "flux-pro")
    with pytest.raises(BadInput, match="image model: its image models are none"):
        served_model(SERVER, [], ImageModelSpec, None)


# --- when it ends early ---


def test_who_stops_following_is_told_how_to_come_back():
    job = Job(SERVER, Path("my ads"))
    assert job.stopped() == "stopped"
    job.generation_id = "g-1"
    assert f"admint attach g-1 --server {SERVER} --output 'my ads'" in job.stopped()
    assert "admint attach g-1" in str(job.failed(Unreachable("gone")))
    assert job.failed(NotFound("no generation")) is None


def test_what_failed_there_is_tried_again_from_its_folder(tmp_path):
    job = Job(SERVER, tmp_path, "g-1")
    assert job.failed(StepFailed("x")) is None
    write_note(tmp_path, Note(server=SERVER, generation_id="g-1"))
    for error in (StepFailed("x"), Cancelled("x")):
        assert f"admint pipeline --resume {tmp_path}" in str(job.failed(error))


def test_a_folder_takes_the_result_of_its_own_generation_only(tmp_path):
    mine, other = (Note(server=SERVER, generation_id=name) for name in ("g-1", "g-2"))
    check_folder(tmp_path, mine)
    write_note(tmp_path, mine)
    check_folder(tmp_path, mine)
    with pytest.raises(BadInput, match="another run"):
        check_folder(tmp_path, other)
    (tmp_path / ".admint" / "server.json").write_text("{}")
    with pytest.raises(BadInput, match="damaged"):
        read_note(tmp_path)
