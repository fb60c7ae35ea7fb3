"""Latent hand-off: what one image kept is what another starts from, without the round trip through pixels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as read_tensors
from safetensors.torch import save

from models.diffusion.latents import encode, pack
from models.errors import InvalidRequest
from models.interfaces import EncodedImage, ImageRequest, NoiseSpec, StartImage, StartLatents, Unwatched
from models.registry import load
from tests.support import tiny_models


def request(**changes):
    plain = {
        "prompt": "a red bottle", "width": 96, "height": 64, "noise": NoiseSpec(seed=1), "num_inference_steps": 10,
        "guidance_scale": 4.0,
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def engine(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    xl = request.param.endswith("xl")
    main = (tiny_models.save_stable_diffusion_xl if xl else tiny_models.save_stable_diffusion)(root / "main")
    spec = tiny_models.image_spec(request.param, references=0)
    return load(spec.model_copy(update={"max_pixels": 96 * 64}), {"main": main}, "cpu")


@pytest.fixture(scope="module")
def first(engine):
    return engine.generate(request(keep_latents=True), Unwatched())


def distance(one, other):
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def start(engine, latents, strength, **changes):
    return engine.generate(request(start=StartLatents(data=latents, strength=strength), **changes), Unwatched())


def test_kept_latents_are_those_that_the_image_was_decoded_from(engine, first):
    kept = read_tensors(first.latents)["latents"]
    assert kept.shape == (4, 8, 12)
    assert kept.dtype == torch.float32
    pipeline = engine._pipeline
    with torch.inference_mode():
        decoded = pipeline.vae.decode(kept[None] / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        pixels = (pipeline.image_processor.postprocess(decoded, "np")[0] * 255).round().astype("uint8")
    assert np.array_equal(pixels, first.image)


def test_keeping_latents_does_not_change_the_picture_and_is_not_done_unasked(engine, first):
    plain = engine.generate(request(), Unwatched())
    assert np.array_equal(plain.image, first.image)
    assert plain.latents is None


def test_less_strength_stays_nearer_to_the_first_image(engine, first):
    pictures = [start(engine, first.latents, strength, noise=NoiseSpec(seed=2)).image for strength in (0.1, 0.5, 0.9)]
    distances = [distance(picture, first.image) for picture in pictures]
    assert distances == sorted(distances)
    assert 0 < distances[0] < distances[-1] / 2


def test_the_hand_off_equals_a_start_from_an_image_with_the_same_latents(engine):
    """Latents that the VAE makes of an image, handed over as latents, give the bits of a start from that image."""
    picture = tiny_models.png(5, 96, 64)
    pipeline = engine._pipeline
    with torch.inference_mode():
        latents = encode(pipeline.vae, pipeline.image_processor.preprocess(tiny_models.opened(picture)))
    by_latents = start(engine, pack(latents[0]), 0.5).image
    by_image = engine.generate(request(start=StartImage(image=picture, strength=0.5)), Unwatched()).image
    assert np.array_equal(by_latents, by_image)


def test_the_hand_off_is_closer_than_the_way_through_pixels(engine, first):
    buffer = io.BytesIO()
    Image.fromarray(first.image).save(buffer, "PNG")
    through_pixels = StartImage(image=EncodedImage(data=buffer.getvalue()), strength=0.1)
    by_image = engine.generate(request(start=through_pixels), Unwatched()).image
    assert distance(start(engine, first.latents, 0.1).image, first.image) < distance(by_image, first.image)


def test_latents_can_be_kept_from_a_start_and_handed_on(engine, first):
    second = start(engine, first.latents, 0.5, keep_latents=True)
    assert start(engine, second.latents, 0.5).image.shape == first.image.shape


@pytest.mark.parametrize(("data", "message"), [
    (b"no safetensors", "cannot be read"),
    (save({"z": torch.zeros(4, 8, 12)}), r"hold \['z'\]"),
    (save({"latents": torch.zeros(4, 8, 12, dtype=torch.float64)}), "not one float32 tensor"),
    (save({"latents": torch.zeros(4, 8, 12), "more": torch.zeros(1)}), "not one float32 tensor"),
    (save({"latents": torch.zeros(4, 8, 8)}), r"shape \(4, 8, 8\).*starts from \(4, 8, 12\)"),
    (save({"latents": torch.full((4, 8, 12), torch.inf)}), "not finite"),
])  # fmt: skip
def test_latents_that_do_not_suit_are_refused_with_the_reason(engine, data, message):
    with pytest.raises(InvalidRequest, match=message):
        start(engine, data, 0.5)
