"""The gateway over real diffusers models with tiny random weights: what HTTP gives is what the engine gives."""

import base64
import hashlib
import io

import numpy as np
import openai
import pytest
from PIL import Image

from models.interfaces import ImageRequest, NoiseSpec, Unwatched
from models.registry import load
from pipelines.media import decode_clip
from tests.support import tiny_clips, tiny_models
from tests.support.gateway_server import WEIGHTS, serve

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

PARTS = {"main": WEIGHTS, "ip_adapter": WEIGHTS}
IMAGE = tiny_models.image_spec("stable-diffusion").model_copy(update={"name": "image", "weights": PARTS})
VIDEO = tiny_clips.video_spec("animatediff", references=3).model_copy(update={"name": "video", "weights": PARTS})


class TinyModels:
    """A loader of real engines from tiny folders; loaded once for all tests."""

    def __init__(self, folders):
        self._folders = folders
        self.loaded = {}

    def _load(self, spec):
        return self.loaded.setdefault(spec.name, load(spec, self._folders, "cpu"))

    image = video = scorer = _load


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    main = tiny_models.save_stable_diffusion(root / "main")
    return TinyModels(
        {
            "main": main,
            "ip_adapter": tiny_models.save_ip_adapter(root / "ip_adapter", main),
            "motion_adapter": tiny_clips.save_motion_adapter(root / "motion_adapter"),
        }
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory, loader):
    with serve(tmp_path_factory.mktemp("server"), loader=loader, specs=(IMAGE, VIDEO)) as server:
        server.call(server.backend.warm_up())
        assert server.http.get("/readyz").status_code == 200
        yield server


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image.b64_json))))


def encoded(picture):
    return base64.b64encode(picture.data).decode()


def test_an_image_over_http_is_the_engines_own_bit_for_bit(client, loader):
    extra = {"seed": 3, "negative_prompt": "dull", "coherence": {"shared_seed": 5, "shared_strength": 0.25}}
    made = client.images.generate(model="image", prompt="a red bottle", size="64x64", extra_body=extra).data[0]
    request = ImageRequest(
        prompt="a red bottle", negative_prompt="dull", width=64, height=64, num_inference_steps=4, guidance_scale=4.0,
        noise=NoiseSpec(seed=3, shared_seed=5, shared_strength=0.25),
    )  # fmt: skip
    own = loader.loaded["image"].generate(request, Unwatched())
    assert np.array_equal(pixels(made), own.image)
    assert made.noise_sha256 == own.noise_sha256


def test_references_of_the_adapter_change_the_image(client):
    def made(**extra):
        body = {"seed": 3, **extra}
        return pixels(client.images.generate(model="image", prompt="a bottle", extra_body=body).data[0])

    plain = made()
    full = made(ip_adapter={"images": [encoded(tiny_models.png(1))], "weight": 1.0})
    late = made(ip_adapter={"images": [encoded(tiny_models.png(1))], "weight": 1.0, "begin_step_percent": 0.5})
    off = made(ip_adapter={"images": [encoded(tiny_models.png(1))], "weight": 0.0})
    assert not np.array_equal(plain, full)
    assert not np.array_equal(full, late)
    assert np.array_equal(plain, off)


def test_latents_are_handed_on_without_the_loss_of_pixels(client):
    first = client.images.generate(
        model="image", prompt="a bottle", extra_body={"seed": 3, "coherence": {"keep_latents": True}}
    ).data[0]

    def next_from(artifact):
        start = {"artifact": artifact, "strength": 0.5}
        body = {"seed": 4, "coherence": {"start": start}}
        return pixels(client.images.generate(model="image", prompt="a bottle", extra_body=body).data[0])

    from_pixels, from_latents = next_from(first.artifact), next_from(first.latents_artifact)
    assert from_pixels.shape == from_latents.shape
    assert not np.array_equal(from_pixels, from_latents)
    assert np.array_equal(from_latents, next_from(first.latents_artifact))


def test_an_edit_under_a_mask_keeps_what_the_mask_keeps(client):
    picture = tiny_models.png(5)
    made = client.images.edit(
        model="image", prompt="snow", image=("a.png", picture.data), mask=("m.png", tiny_models.half_mask().data),
        extra_body={"seed": 1},
    ).data[0]  # fmt: skip
    again = client.images.edit(
        model="image", prompt="snow", image=("a.png", picture.data), mask=("m.png", tiny_models.half_mask().data),
        extra_body={"seed": 2},
    ).data[0]  # fmt: skip
    difference = np.abs(pixels(made).astype(int) - pixels(again)).mean(axis=(0, 2))
    assert difference[:16].mean() < difference[-16:].mean()


def test_what_only_the_engine_can_know_is_refused_in_the_same_shape(client):
    first = client.images.generate(
        model="image", prompt="a bottle", extra_body={"coherence": {"keep_latents": True}}, size="64x64"
    ).data[0]
    body = {"coherence": {"start": {"artifact": first.latents_artifact, "strength": 0.5}}}
    with pytest.raises(openai.UnprocessableEntityError):
        client.images.generate(model="image", prompt="a bottle", size="128x64", extra_body=body)


def test_a_clip_over_http_starts_from_its_keyframe_and_counts_its_steps(server, client):
    made = client.videos.create_and_poll(
        model="video", prompt="a bottle", extra_body={"num_frames": 4, "seed": 6}, poll_interval_ms=100
    )
    assert made.status == "completed", made
    clip = client.videos.download_content(made.id).read()
    assert decode_clip(clip).shape == (4, 64, 64, 3)
    assert hashlib.sha256(clip).hexdigest() == made.artifact
    keyframe = server.http.get(f"/v1/artifacts/{made.first_frame}")
    assert Image.open(io.BytesIO(keyframe.content)).size == (64, 64)
    counters = server.call(server.backend.counters())
    assert counters["video"].denoising_steps > 0
    assert counters["video"].step_seconds > 0
    again = client.videos.create_and_poll(
        model="video", prompt="a bottle", extra_body={"num_frames": 4, "seed": 6}, poll_interval_ms=100
    )
    assert again.noise_sha256 == made.noise_sha256
