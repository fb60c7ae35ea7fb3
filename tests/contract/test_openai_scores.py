"""`POST /v1/scores`: dimensions of an uploaded or earlier video, with reasons where there is no value."""

import numpy as np
import openai
import pytest

from pipelines.media import encode_clip
from quality.registry import DIMENSIONS, UNAVAILABLE
from tests.support.gateway_server import VIDEO, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("scores")) as server:
        yield server


@pytest.fixture(scope="module")
def clip():
    frames = np.random.default_rng(1).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    return encode_clip(frames, 8)


def test_an_uploaded_video_is_scored_in_the_dimensions_asked_for(server, clip):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        answer = client.post(
            "/scores", cast_to=dict, body={"dimensions": ["temporal_flickering"]}, files={"file": ("c.mp4", clip)},
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )  # fmt: skip
    (score,) = answer["data"]
    assert score["metric_id"].endswith("temporal_flickering")
    assert 0.0 < score["raw"] < 1.0
    assert score["frames_used"] > 0


def test_the_series_of_a_score_is_given_where_it_is_asked_for(server, clip):
    fields = {"dimensions": "temporal_flickering", "series": "true"}
    answer = server.http.post("/v1/scores", data=fields, files={"file": ("c.mp4", clip)}).json()
    series = answer["data"][0]["series"]
    assert (len(series["values"]), series["seconds"][0]) == (7, 0.125)
    assert np.mean(series["values"]) == pytest.approx(answer["data"][0]["raw"])


def test_without_names_every_dimension_answers_with_a_value_or_a_reason(server, clip):
    answer = server.http.post("/v1/scores", files={"file": ("c.mp4", clip)}, timeout=120).json()
    assert len(answer["data"]) == len({*DIMENSIONS, *UNAVAILABLE})
    assert all((score["raw"] is None) != (score["reason"] is None) for score in answer["data"])


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_clip_of_this_server_is_scored_by_its_artifact(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        made = client.videos.create_and_poll(
            model=VIDEO.name, prompt="a bottle", extra_body={"num_frames": 5}, poll_interval_ms=50
        )
    clip_id = server.http.get(f"/v1/videos/{made.id}").json()["artifact"]
    body = {"artifact": clip_id, "dimensions": ["temporal_flickering"]}
    answer = server.http.post("/v1/scores", json=body).json()
    image = server.http.post("/v1/images/generations", json={"prompt": "a bottle"}).json()["data"][0]["artifact"]
    assert answer["sha256"] == clip_id
    assert answer["data"][0]["reason"] is None
    refused = server.http.post("/v1/scores", json={"artifact": image})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "artifact")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"artifact": "0" * 64, "dimensions": ["sparkle"]}, "dimensions"),
        ({"artifact": "0" * 64, "dimensions": []}, "dimensions"),
        ({"artifact": "xyz"}, "artifact"),
        ({"dimensions": ["temporal_flickering"]}, "body"),
    ],
)
def test_what_cannot_be_scored_is_refused(server, body, param):
    answer = server.http.post("/v1/scores", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param


def test_an_unknown_artifact_is_404(server):
    assert server.http.post("/v1/scores", json={"artifact": "0" * 64}).status_code == 404


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_video_that_is_cut_off_is_refused(server, clip, kept):
    answer = server.http.post("/v1/scores", files={"file": ("c.mp4", clip[: int(len(clip) * kept)])})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "file")
    assert "cut off" in answer.json()["error"]["message"]


def test_a_damaged_video_is_refused(server, clip):
    middle = len(clip) // 2
    answer = server.http.post(
        "/v1/scores", files={"file": ("c.mp4", clip[:middle] + bytes(900) + clip[middle + 900 :])}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "file")


def test_a_file_that_is_no_mp4_is_refused(server):
    answer = server.http.post("/v1/scores", files={"file": ("c.mp4", b"not a film" * 100)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "file")
    assert "MP4" in answer.json()["error"]["message"]
