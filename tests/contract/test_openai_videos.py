"""`/v1/videos`, driven by the official client: stored before it starts, shown as it is, cancelled within a step."""

import base64
import hashlib
import io
import json

import openai
import pytest
from PIL import Image

from models.errors import InferenceFailed
from models.interfaces import NoiseSpec, VideoRequest
from pipelines.media import decode_clip
from serving.gateway.services import Limits
from tests.support.gateway_server import IMAGE, MIXER, VIDEO, serve
from tests.support.tiny_models import png
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


WIDE = base64.b64encode(png(1, 160, 48).data).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("videos")) as server:
        yield server


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """A server whose generations nobody runs."""
    with serve(tmp_path_factory.mktemp("idle"), working=False) as server:
        yield server


@pytest.fixture(autouse=True)
def forget_requests(server, idle):
    for each in (server, idle):
        each.studio.requests.clear()
        each.studio.fail_with = None


def official(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


@pytest.fixture(scope="module")
def client(server):
    with official(server) as client:
        yield client


@pytest.fixture(scope="module")
def idle_client(idle):
    with official(idle) as client:
        yield client


def finished(client, video_id, *statuses):
    """Poll until the video is in one of `statuses`."""

    def ended():
        video = client.videos.retrieve(video_id)
        return video if video.status in statuses else None

    return until(ended, f"a video to be {' or '.join(statuses)}", pause=0)


def clip_requests(server):
    return [request for request in server.studio.requests if isinstance(request, VideoRequest)]


# --- a clip from order to file ---


def test_a_clip_is_made_and_downloaded(server, client):
    made = client.videos.create_and_poll(
        model=VIDEO.name, prompt="a bottle in rain", seconds="2", size="80x48", extra_body={"seed": 5},
        poll_interval_ms=50,
    )  # fmt: skip
    assert (made.status, made.progress, made.size, made.seconds) == ("completed", 100, "80x48", "2.125")
    assert (made.num_frames, made.fps, made.seed, made.error) == (17, 8, 5, None)
    assert made.completed_at >= made.created_at
    clip = client.videos.download_content(made.id).read()
    assert hashlib.sha256(clip).hexdigest() == made.artifact
    assert decode_clip(clip).shape == (17, 48, 80, 3)
    (request,) = clip_requests(server)
    assert (request.width, request.height, request.num_frames, request.noise.seed) == (80, 48, 17, 5)
    assert request.prompt == "a bottle in rain"
    thumbnail = client.videos.download_content(made.id, variant="thumbnail")
    assert Image.open(io.BytesIO(thumbnail.read())).size == (80, 48)


def test_superset_fields_reach_both_models(server, client):
    extra = {
        "num_frames": 5, "negative_prompt": "dull", "num_inference_steps": 2, "guidance_scale": 1.5, "seed": 3,
        "camera": "push_in", "deterministic": True, "fps": 8,
        "coherence": {"shared_seed": 9, "shared_strength": 0.5, "shared_cutoff": 0.2},
        "ip_adapter": {"images": [base64.b64encode(png(1).data).decode()], "weight": 0.4, "method": "style"},
    }  # fmt: skip
    made = client.videos.create(model=VIDEO.name, prompt="a bottle", extra_body=extra)
    assert finished(client, made.id, "completed", "failed").status == "completed"
    (request,) = clip_requests(server)
    assert (request.num_frames, request.num_inference_steps, request.guidance_scale) == (5, 2, 1.5)
    assert (request.negative_prompt, request.camera, request.deterministic) == ("dull", "push_in", True)
    assert request.noise == NoiseSpec(seed=3, shared_seed=9, shared_strength=0.5, shared_cutoff=0.2)
    assert (request.adapter.scale, request.adapter.blocks, len(request.references)) == (0.4, "style", 1)


def test_a_clip_starts_from_the_picture_that_is_uploaded(server, client):
    made = client.videos.create(
        model=VIDEO.name, prompt="a bottle", input_reference=("first.png", png(4).data, "image/png"),
        extra_body={"num_frames": 5},
    )  # fmt: skip
    done = finished(client, made.id, "completed", "failed")
    (request,) = server.studio.requests  # no keyframe was drawn
    assert hashlib.sha256(request.first_frame.data).hexdigest() == done.first_frame
    assert server.http.get(f"/v1/artifacts/{done.first_frame}").status_code == 200


def test_a_clip_starts_from_an_earlier_image_by_its_id_in_json(server, client):
    image = client.images.generate(model=IMAGE.name, prompt="a bottle").data[0]
    body = {"prompt": "a bottle", "num_frames": 5, "input_reference": {"file_id": image.artifact}}
    made = server.http.post("/v1/videos", json=body).json()
    assert finished(client, made["id"], "completed", "failed").first_frame == image.artifact


def test_a_range_of_the_file_can_be_read(server, client):
    made = client.videos.create(model=VIDEO.name, prompt="a bottle", extra_body={"num_frames": 5})
    finished(client, made.id, "completed")
    url = f"/v1/videos/{made.id}/content"
    whole = server.http.get(url)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    size = len(whole.content)
    part = server.http.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    assert server.http.get(url, headers={"Range": "bytes=-5"}).content == whole.content[-5:]
    assert server.http.get(url, headers={"Range": f"bytes={size - 1}-"}).content == whole.content[-1:]
    beyond = server.http.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert server.http.get(url, headers={"Range": "bytes=0-1,3-4"}).status_code == 200
    assert server.http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


# --- seen from outside while it waits and runs ---


def test_queued_clips_have_a_position_and_no_progress(idle, idle_client):
    first = idle_client.videos.create(model=VIDEO.name, prompt="one")
    second = idle_client.videos.create(model=VIDEO.name, prompt="two")
    assert (first.status, first.progress) == ("queued", 0)
    assert second.queue_position == first.queue_position + 1
    assert idle_client.videos.delete(first.id).status == "cancelled"
    assert idle_client.videos.retrieve(second.id).queue_position == first.queue_position
    idle_client.videos.delete(second.id)


def test_progress_follows_the_denoising_steps(server, client):
    with server.studio.holding(2):
        made = client.videos.create(
            model=VIDEO.name, prompt="a bottle", input_reference=("f.png", png(4).data, "image/png")
        )
        server.studio.until_held()
        video = finished_progress(client, made.id)
        assert (video.status, video.progress, video.queue_position) == ("in_progress", 50, None)
    assert finished(client, made.id, "completed").progress == 100


def finished_progress(client, video_id):
    """Poll until the engine's pulse has written the progress."""

    def begun():
        video = client.videos.retrieve(video_id)
        return video if video.progress else None

    return until(begun, "the progress of a video", pause=0)


def test_a_delete_stops_a_running_clip_and_frees_the_lane(server, client):
    with server.studio.holding(1):
        made = client.videos.create(model=VIDEO.name, prompt="a bottle")
        server.studio.until_held()
        answer = client.videos.delete(made.id)
        assert (answer.id, answer.deleted) == (made.id, False)
        assert finished(client, made.id, "cancelled").error is None
    after = client.videos.create(model=VIDEO.name, prompt="next", extra_body={"num_frames": 5})
    assert finished(client, after.id, "completed", "failed").status == "completed"


def test_a_second_delete_forgets_what_has_ended(idle_client):
    made = idle_client.videos.create(model=VIDEO.name, prompt="a bottle")
    assert idle_client.videos.delete(made.id).deleted is False
    assert idle_client.videos.retrieve(made.id).status == "cancelled"
    assert idle_client.videos.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        idle_client.videos.retrieve(made.id)


def test_a_failed_clip_says_why(server, client):
    server.studio.fail_with = InferenceFailed("kernel broke")
    made = client.videos.create(model=VIDEO.name, prompt="a bottle")
    failed = finished(client, made.id, "failed")
    assert failed.error.code == "generation_failed"
    assert "kernel broke" in failed.error.message
    with pytest.raises(openai.ConflictError) as caught:
        client.with_options(max_retries=2).videos.download_content(made.id)
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_list_is_paged_in_both_orders(tmp_path):
    with serve(tmp_path, working=False) as server, official(server) as client:
        made = [client.videos.create(model=VIDEO.name, prompt=f"number {index}").id for index in range(3)]
        assert client.videos.list(limit=2, order="asc").has_more
        assert [video.id for video in client.videos.list(limit=2, order="asc")] == made  # follows the pages
        assert [video.id for video in client.videos.list(order="desc")] == made[::-1]
        assert [video.id for video in client.videos.list(after=made[1], order="asc").data] == made[2:]


def test_an_ordered_clip_survives_a_restart(tmp_path):
    with serve(tmp_path, working=False) as first, official(first) as client:
        made = client.videos.create(model=VIDEO.name, prompt="a bottle", extra_body={"num_frames": 5})
    with serve(tmp_path) as second, official(second) as client:
        assert finished(client, made.id, "completed", "failed").status == "completed"


def test_an_order_stands_when_the_worker_cannot_be_told(idle, idle_client, monkeypatch):
    monkeypatch.setattr(type(idle.services.notifier), "wake", _unreachable)
    monkeypatch.setattr(type(idle.services.notifier), "cancel", _unreachable)
    made = idle_client.videos.create(model=VIDEO.name, prompt="a bottle")
    assert made.status == "queued"
    assert idle_client.videos.delete(made.id).status == "cancelled"


async def _unreachable(*_):
    raise ConnectionError("no replica")


def test_without_a_size_a_clip_has_the_shape_of_its_first_frame(client):
    def size(reference):
        return client.videos.create(model=VIDEO.name, prompt="x", extra_body={"input_reference": reference}).size

    assert size(WIDE) == "80x48"
    assert size(base64.b64encode(png(1, 48, 160).data).decode()) == "48x80"


# --- refusals ---


@pytest.mark.parametrize(
    ("extra", "param", "says"),
    [
        ({"seconds": "4", "strict": True}, "seconds", "at most 2.125 s"),
        ({"seconds": "soon"}, "seconds", "number"),
        ({"num_frames": 21}, "num_frames", "at most 17"),
        ({"num_frames": 6}, "num_frames", "4 x k + 1"),
        ({"num_frames": 5, "seconds": "2"}, "num_frames", "give one"),
        ({"fps": 24}, "fps", "8 frames per second"),
        ({"camera": "orbit"}, "camera", "static, push_in"),
        ({"camera": "upside_down"}, "camera", "push_in"),
        ({"size": "60x64", "strict": True}, "size", "multiples of 16"),
        ({"size": "160x128", "strict": True}, "size", "at most 278528"),
        ({"size": "4096x4096", "strict": True}, "size", "pixels"),
        ({"model": "kling-v1.5", "strict": True}, "model", VIDEO.name),
        ({"lora": {"name": "toon"}}, "lora", "choose from none"),
        ({"input_reference": "0" * 64}, "input_reference", "no artifact"),
        ({"input_reference": "AAAA"}, "input_reference", "first frame 'input_reference' is not a JPEG"),
        ({"input_reference": WIDE, "size": "48x80", "strict": True}, "input_reference", "160x48 and does not fill"),
        ({"input_reference": {"image_url": "https://example.com/a.png"}}, "input_reference", "not fetched"),
        ({"model": IMAGE.name}, "model", "/v1/images/generations"),
        ({"model": "nothing"}, "model", VIDEO.name),
        ({"prompt": ""}, "prompt", "at least 1"),
        ({"flow_shift": 3}, "flow_shift", "unknown field"),
        ({"coherence": {"start": {}}}, "coherence.start", "unknown field"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_no_row(idle, extra, param, says):
    before = idle.http.get("/v1/videos").json()["data"]
    answer = idle.http.post("/v1/videos", json={"prompt": "a bottle", **extra})
    assert answer.status_code in (404, 422)
    error = answer.json()["error"]
    assert error["param"].startswith(param)
    assert says in error["message"]
    assert idle.http.get("/v1/videos").json()["data"] == before


def test_a_full_queue_is_429_with_retry_after(tmp_path):
    limits = Limits(waiting_generations=1, retry_after_seconds=7)
    with serve(tmp_path, working=False, limits=limits) as server, official(server) as client:
        client.videos.create(model=VIDEO.name, prompt="one")
        with pytest.raises(openai.RateLimitError) as caught:
            client.videos.create(model=VIDEO.name, prompt="two")
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.code == "queue_full"


def test_an_unknown_video_is_not_found_on_every_address(idle):
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = idle.http.request(method, f"/v1/videos/nothing{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert idle.http.get("/v1/videos?after=nothing").status_code == 404


def test_a_body_that_is_neither_json_nor_a_form_is_415(idle):
    answer = idle.http.post("/v1/videos", content=b"prompt=x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    broken = idle.http.post("/v1/videos", content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "bad_request")
    listed = idle.http.post("/v1/videos", content=json.dumps([1]), headers={"Content-Type": "application/json"})
    assert listed.status_code == 422


def test_the_image_model_of_a_keyframe_sets_its_limits_too(tmp_path):
    """The clip may be 48x80 x 5, but its keyframe is drawn by the first image model."""
    small = MIXER.model_copy(update={"max_pixels": 1000})
    with serve(tmp_path, specs=(small, VIDEO), working=False) as server:
        answer = server.http.post("/v1/videos", json={"prompt": "a bottle", "size": "48x80"})
        assert answer.status_code == 422
        assert MIXER.name in answer.json()["error"]["message"]


# --- sent twice ---


def test_an_order_sent_twice_under_one_key_is_one_clip(idle):
    body = {"model": VIDEO.name, "prompt": "a bottle", "seed": 4}
    answers = [idle.http.post("/v1/videos", json=body, headers={"Idempotency-Key": "clip-1"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    other = idle.http.post("/v1/videos", json={**body, "seed": 5}, headers={"Idempotency-Key": "clip-1"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")
