"""`/v1/scores`: dimensions of uploaded or earlier videos, with reasons where there is no value, and their list."""

import hashlib
import io

import numpy as np
import openai
import pytest
from PIL import Image

from configs.settings import library_root, load_model
from models.interfaces import Audio
from models.sketch.training.world import reference_array, render_array, sample_spec
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines import media
from pipelines.media import encode_clip, encode_png
from quality.registry import DIMENSIONS, UNAVAILABLE
from serving.gateway.services import Limits
from serving.profile_models import LibraryLoader
from tests.security.test_reference_images import HEIC
from tests.support.gateway_server import VIDEO, serve
from tests.support.sounds import RATE, babble


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


# --- what was asked, protocols, pictures ---


def still(kind):
    """A file of `kind`."""
    if kind == "HEIF":
        return HEIC
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(data, kind)
    return data.getvalue()


def test_length_and_ratio_are_held_against_what_was_asked(server, clip):
    fields = {"dimensions": "ad.duration,ad.ratio", "duration": "1.5", "aspect_ratio": "2:1", "overlays": "0-1=SALE"}
    length, ratio = server.http.post("/v1/scores", files={"file": ("c.mp4", clip)}, data=fields).json()["data"]
    assert (length["raw"], ratio["raw"]) == (4, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("duration", "0", "greater than 0"),
        ("aspect_ratio", "tall", "'tall' is no ratio: write width:height"),
        ("overlays", "3-1=SALE", "'3-1=SALE' ends before it starts"),
        ("protocol", "short", "'auto', 'custom', 'standard' or 'long2s'"),
    ],
)
def test_what_cannot_have_been_asked_is_refused_by_its_name(server, clip, field, value, message):
    answer = server.http.post("/v1/scores", files={"file": ("c.mp4", clip)}, data={field: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"].partition(".")[0]) == (422, field)
    assert message in error["message"]


def test_the_protocol_is_chosen_as_by_the_command(server):
    frames = np.random.default_rng(2).integers(0, 256, (48, 32, 48, 3), dtype=np.uint8)
    files = {"file": ("a red wall-0.mp4", encode_clip(frames, 8))}
    for fields, protocol in (({}, "long2s"), ({"protocol": "custom"}, "custom"), ({"protocol": "standard"}, None)):
        fields |= {"dimensions": "temporal_flickering"}
        (score,) = server.http.post("/v1/scores", files=files, data=fields).json()["data"]
        if protocol is None:
            assert "static" in score["impl_id"] + score["protocol"]
        else:
            assert score["protocol"] == protocol


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "AVIF", "HEIF"])
def test_a_picture_is_measured_as_a_picture_and_no_film_of_one_frame(server, kind):
    if kind == "HEIF":
        pytest.importorskip("pi_heif")
    data = still(kind)
    fields = {"dimensions": "temporal_flickering,technical.exposure"}
    (score,) = server.http.post("/v1/scores", files={"file": (f"still.{kind}", data)}, data=fields).json()["data"]
    assert score["metric_id"] == "admint.technical.exposure"
    assert score["source_sha256"] == hashlib.sha256(data).hexdigest()
    files = [("file[]", ("still", data)), ("file[]", ("cut", data[: len(data) // 2]))]
    whole, cut = server.http.post("/v1/scores", files=files, data=fields).json()["data"]
    assert whole["data"] == [score] and "damaged or cut off" in cut["reason"]
    refused = server.http.post("/v1/scores", files=files[:1], data={"dimensions": "temporal_flickering"})
    assert "no dimension that was named is measured on pictures" in refused.json()["data"][0]["reason"]


# --- several files, references, sound ---


def picture(colour):
    return media.encode_png(np.full((64, 64, 3), colour, np.uint8))


def test_several_files_are_rows_in_their_order_and_a_bad_one_has_its_reason(server, clip):
    files = [("file", ("good.mp4", clip)), ("file", ("bad.mp4", b"not a film" * 100)), ("file", ("again.mp4", clip))]
    answer = server.http.post("/v1/scores", files=files, data={"dimensions": "temporal_flickering,technical"})
    assert answer.status_code == 200, answer.text
    good, bad, again = answer.json()["data"]
    assert [row["filename"] for row in (good, bad, again)] == ["good.mp4", "bad.mp4", "again.mp4"]
    assert good["sha256"] == hashlib.sha256(clip).hexdigest() and good["reason"] is None
    assert [score["metric_id"] for score in good["data"]] == ["vbench.temporal_flickering", "admint.technical"]
    assert again["data"] == good["data"]
    assert bad["data"] == [] and "not an MP4 file" in bad["reason"]


def test_a_list_of_one_is_still_a_list(server, clip):
    answer = server.http.post("/v1/scores", files=[("file[]", ("c.mp4", clip))], data={"dimensions": "technical"})
    (row,) = answer.json()["data"]
    assert row["filename"] == "c.mp4" and len(row["data"]) == 1


def test_more_files_than_a_request_may_have_are_refused_unread(server, clip):
    answer = server.http.post("/v1/scores", files=[("file", (f"{number}.mp4", clip)) for number in range(9)])
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "file")
    assert "8" in answer.json()["error"]["message"]


def test_all_files_together_have_the_bytes_that_one_may_have(tmp_path, clip):
    with serve(tmp_path, limits=Limits(video_bytes=2 * 2**20)) as small:
        padded = clip + (600_000).to_bytes(4, "big") + b"free" + bytes(600_000 - 8)
        files = [("file", (f"{number}.mp4", padded)) for number in range(6)]
        assert small.http.post("/v1/scores", files=files).status_code == 413
        answer = small.http.post("/v1/scores", files=files[:2], data={"dimensions": "technical"})
        assert answer.status_code == 200, answer.text


def test_references_are_decoded_and_measured_against(server):
    blue = encode_clip(np.full((8, 64, 64, 3), (30, 60, 200), np.uint8), 8)
    fields = {"dimensions": "product_colour"}
    values = []
    for colour in ((30, 60, 200), (220, 60, 30)):
        files = [("file", ("c.mp4", blue)), ("reference", ("bottle.png", picture(colour)))]
        (score,) = server.http.post("/v1/scores", files=files, data=fields).json()["data"]
        values.append(score["raw"])
    assert values[0] < 3 < 30 < values[1]
    files = [("file", ("c.mp4", blue)), ("reference", ("s.png", picture((0, 0, 0))))]
    (score,) = server.http.post("/v1/scores", files=files, data={**fields, "reference_roles": "style"}).json()["data"]
    assert score["raw"] is None, "a style is no product"


class Observer:
    """Networks whose weights are here."""

    def scorer(self, spec):
        return LibraryLoader(Library(library_root()), "cpu").scorer(spec)


def test_the_second_at_which_a_product_is_first_seen_is_told_by_its_reference(tmp_path):
    rng = np.random.default_rng(5)
    spec = sample_spec(rng, "heldout", "1:1")
    shown, photograph = render_array(spec), encode_png(reference_array(spec, rng))
    film = encode_clip(np.stack([np.full_like(shown, 90)] * 8 + [shown] * 8), 8)
    files = [("file", ("film.mp4", film)), ("reference", ("product.png", photograph))]
    scorers = {"dinov2_base": load_model("sketch-observer", ScorerModelSpec)}
    with serve(tmp_path, loader=Observer(), specs=(), scorers=scorers, working=False) as server:
        (score,) = server.http.post("/v1/scores", files=files, data={"dimensions": "ad.first_product"}).json()["data"]
        assert (score["metric_id"], score["raw"], score["frames_used"]) == ("toy.ad.first_product", 1.0, 3)
        (score,) = server.http.post("/v1/scores", files=files[:1], data={"dimensions": "ad.first_product"}).json()[
            "data"
        ]
        assert score["reason"] == "needs a picture of the product as a reference"


@pytest.mark.parametrize("data", [b"GIF89a" + bytes(99), b"no picture at all"])
def test_a_reference_that_is_no_picture_is_refused(server, clip, data):
    files = [("file", ("c.mp4", clip)), ("reference", ("r.png", data))]
    answer = server.http.post("/v1/scores", files=files, data={"dimensions": "product_colour"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "reference")


def test_the_sound_of_an_upload_is_measured(server):
    wave = 0.1 * np.sin(np.arange(48_000) * 2 * np.pi * 997 / 48_000).astype(np.float32)
    film = encode_clip(np.full((8, 64, 64, 3), 90, np.uint8), 8, audio=Audio(np.stack([wave, wave]), 48_000))
    (score,) = server.http.post("/v1/scores", files={"file": film}, data={"dimensions": "ad.loudness"}).json()["data"]
    assert score["raw"] == pytest.approx(-20.0, abs=0.3), "BS.1770: 0 dBFS at 997 Hz in two channels is 0 LUFS"


def test_speech_in_an_upload_is_heard_with_its_curve(tmp_path):
    voice = np.concatenate([np.zeros(2 * RATE, np.float32), babble(2)])
    film = encode_clip(np.full((32, 64, 64, 3), 90, np.uint8), 8, audio=Audio(voice[None], RATE))
    scorers = {"silero_vad": load_model("silero-vad", ScorerModelSpec)}
    with serve(tmp_path, loader=Observer(), specs=(), scorers=scorers, working=False) as server:
        fields = {"dimensions": "ad.speech,ad.first_speech", "series": "true"}
        share, first = server.http.post("/v1/scores", files={"file": film}, data=fields).json()["data"]
    assert (share["raw"], first["raw"]) == (pytest.approx(0.5, abs=0.05), pytest.approx(2, abs=0.1))
    assert share["series"]["seconds"] == [0, 1, 2, 3]
    assert share["series"]["values"][0] == 0 and share["series"]["values"][3] > 0.9


def test_the_list_of_dimensions_says_what_is_missing_here(server):
    listed = {one["name"]: one for one in server.http.get("/v1/scores/dimensions").json()["data"]}
    assert set(listed) == {*DIMENSIONS, *UNAVAILABLE}
    assert listed["technical"]["missing"] is None and listed["technical"]["label"] == "classical"
    assert "`scorers` in the profile" in listed["subject_consistency"]["missing"]
    assert listed["motion_smoothness"]["label"] is None
