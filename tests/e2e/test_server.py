"""`admint serve` with the embedded profile, as a user runs it: official client, a killed server, an orderly stop."""

import base64
import io
import json
import os
import re
import signal
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.support.command import REPOSITORY, admint, start_admint
from tests.support.program import free_port
from tests.support.serve_command import start_server
from tests.support.waiting import until

REFERENCE = REPOSITORY / "examples" / "water-bottle" / "references"
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
"""OpenAI's own service ends; its client's methods for videos stay what other servers speak."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home):
    server = start_server(home)
    yield server
    if server.program.running:
        server.stop()


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def picture(data):
    return Image.open(io.BytesIO(base64.b64decode(data.b64_json)))


def finished(client, video_id):
    """The video once it has ended; every state on the way."""
    states = []

    def ended():
        video = client.videos.retrieve(video_id)
        states.append((video.status, video.progress))
        return video if video.status not in ("queued", "in_progress") else None

    return until(ended, lambda: f"the end of a video that is {states[-1]}", pause=0.1), states


def test_the_server_says_what_it_serves_and_that_it_is_ready(server, client):
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    ready = httpx.get(f"{server.url}/readyz")
    assert ready.status_code == 200, ready.text
    assert {"sketch-author", "sketch-image", "sketch-video"} <= {model.id for model in client.models.list()}


def test_metrics_tell_of_every_model_who_waits_and_what_it_did(server):
    scraped = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.api_key}"}).text
    for model in ("sketch-author", "sketch-image", "sketch-video"):
        assert f'admint_model_waiting{{model="{model}"}} 0.0' in scraped
        assert f'admint_model_device_seconds_total{{model="{model}"}}' in scraped


def test_an_image_comes_back_and_the_same_seed_gives_the_same_one(client):
    ask = {"model": "sketch-image", "prompt": "a red bottle on a beach", "size": "96x160"}
    one, two = (
        client.images.generate(**ask, response_format="b64_json", extra_body={"seed": 7}).data[0] for _ in range(2)
    )
    assert picture(one).size == (96, 160)
    assert picture(one).tobytes() == picture(two).tobytes()


def test_references_edit_an_image(client):
    files = [(path.name, path.read_bytes(), "image/png") for path in sorted(REFERENCE.iterdir())[:2]]
    made = client.images.edit(model="sketch-image", image=files, prompt="a bottle in a forest", size="128x128")
    assert picture(made.data[0]).size == (128, 128)


def test_chat_answers_in_the_schema_that_is_asked_for(client):
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="sketch-author",
        messages=[{"role": "user", "content": "red or blue?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        max_tokens=60,
    )
    assert json.loads(answer.choices[0].message.content) in ({"colour": "red"}, {"colour": "blue"})


def test_chat_streams(client):
    chunks = client.chat.completions.create(
        model="sketch-author", messages=[{"role": "user", "content": "hello"}], max_tokens=8, stream=True
    )
    assert [chunk for chunk in chunks if chunk.choices][-1].choices[0].finish_reason in ("stop", "length")


def test_a_video_is_queued_runs_with_real_progress_and_can_be_downloaded(client):
    video = client.videos.create(model="sketch-video", prompt="a red bottle on a beach", size="96x160", seconds="1")
    done, states = finished(client, video.id)
    assert done.status == "completed", done.error
    progress = [percent for _, percent in states]
    assert progress == sorted(progress)
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"


def test_a_stock_user_of_openais_client_gets_pictures_clips_and_answers(client):
    """Nothing of ours in the calls: model names, sizes and lengths are OpenAI's."""
    prompt = "a red bottle on the beach"
    drawn = client.images.generate(model="dall-e-3", prompt=prompt, size="1024x1024", quality="standard", n=1)
    assert (picture(drawn.data[0]).size, drawn.size, drawn.model) == ((128, 128), "128x128", "sketch-image")
    assert [word in " ".join(drawn.notes) for word in ("dall-e-3", "1024x1024")] == [True, True]
    base = (REFERENCE / "product-1.png").read_bytes()
    edited = client.images.edit(model="gpt-image-1", image=base, prompt=prompt, size="1024x1536")
    assert picture(edited.data[0]).size == (96, 160)
    streamed = list(client.images.generate(model="gpt-image-1", prompt=prompt, stream=True, partial_images=1))
    assert [event.type for event in streamed] == ["image_generation.completed"]
    clip = client.videos.create_and_poll(model="sora-2", prompt=prompt, seconds="4", size="720x1280")
    assert (clip.status, clip.size, clip.seconds, clip.model) == ("completed", "96x160", "2", "sketch-video")
    assert [word in " ".join(clip.notes) for word in ("sora-2", "4 seconds", "720x1280")] == [True] * 3
    sheet = client.videos.download_content(clip.id, variant="spritesheet").read()
    assert Image.open(io.BytesIO(sheet)).size == (4 * 96, 4 * 160)
    said = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a slogan"}])
    assert said.choices[0].message.content
    assert "gpt-4o" in said.notes[0]


def test_a_picture_under_an_idempotency_key_is_the_same_file_whoever_draws_beside_it(client):
    headers = {"Idempotency-Key": "order-17"}
    one, two = (client.images.generate(prompt="a mug", extra_headers=headers).data[0].artifact for _ in range(2))
    assert one == two


def test_it_says_what_loads_until_all_of_it_is_ready(server):
    loaded = re.findall(r"loading (\w+) (\d) of 6: ready after", server.program.said)
    assert {name for name, _ in loaded} == {"Chat", "Image", "Video", "Scorer", "Pipeline", "Gateway"}
    assert [number for _, number in loaded] == list("123456")


def test_a_request_that_failed_is_a_line_on_the_terminal_with_its_id(server):
    httpx.get(f"{server.url}/v1/videos/nowhere", headers={**server.headers, "X-Request-ID": "what-a-caller-names"})
    said = server.program.until_says("[what-a-caller-names]")
    assert re.search(r"INFO Gateway \[what-a-caller-names\] GET /v1/videos/nowhere 404 ", said)
    assert server.api_key not in server.program.said


def test_nothing_listens_beyond_loopback(server):
    processes = [psutil.Process(server.program.pid), *psutil.Process(server.program.pid).children(recursive=True)]
    listening = {
        (process.name(), ip_address(one.laddr.ip.removeprefix("::ffff:")))
        for process in processes
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert {name for name, _ in listening} >= {"raylet", "gcs_server"}
    assert not {(name, str(address)) for name, address in listening if not address.is_loopback}


def test_what_a_server_writes_is_closed_to_others(server, home):
    def open_to_others(folder):
        return [path for path in folder.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o077]

    assert not open_to_others(home)
    environment = psutil.Process(server.program.pid).children()[0].environ()
    token = Path(environment["RAY_AUTH_TOKEN_PATH"])
    assert environment["RAY_AUTH_MODE"] == "token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert (token.parent / "ray").is_dir()


def test_two_servers_on_one_machine_do_not_meet(server, client, tmp_path):
    other = start_server(tmp_path)
    try:
        assert httpx.get(f"{other.url}/v1/models", headers=server.headers).status_code == 401
        assert httpx.get(f"{other.url}/readyz").status_code == 200
        assert httpx.get(f"{server.url}/readyz").status_code == 200
    finally:
        code = other.stop()
    assert code == 130, other.program.said
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    ("moment", "number", "code"), [("starting profile", signal.SIGTERM, 0), ("loading ", signal.SIGINT, 130)]
)
def test_a_server_that_is_told_to_end_while_it_starts_ends_in_order(tmp_path, moment, number, code):
    variables = {"ADMINT_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with start_admint("serve", "--port", str(free_port()), env=variables) as program:
        program.until_says(moment)
        os.kill(program.pid, number)
        assert program.end() == code, program.said
    assert "Traceback" not in program.said
    assert "SIGTERM received" not in program.said


def test_a_killed_server_loses_no_video_and_the_next_one_finishes_them(server, client, home):
    videos = [client.videos.create(model="sketch-video", prompt="a mug", size="96x160", seconds="2") for _ in range(2)]
    server.program.kill()
    again = start_server(home)
    try:
        with again.client() as later:
            assert [finished(later, video.id)[0].status for video in videos] == ["completed", "completed"]
    finally:
        code = again.stop()
    assert code == 130, again.program.said


def test_a_taken_port_is_one_clear_line(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = admint("serve", "--port", str(taken.getsockname()[1]))
    assert failed.returncode == 2
    assert "choose another --port" in failed.stderr
    assert "Traceback" not in failed.stderr
