"""Images that start from an image, from kept latents, or inside a mask, in every family that does so."""

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLFlux2, AutoencoderKLQwenImage
from PIL import Image
from safetensors.torch import load as read_tensors
from safetensors.torch import save

from models.diffusion.latents import pack
from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, EncodedImage, Inpaint, NoiseSpec, StartImage, StartLatents, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import StopAt, distance, image_request, picture, reference

CHANNELS = {
    "stable-diffusion": 4, "stable-diffusion of 16 channels": 16, "stable-diffusion-xl": 4, "flux": 16,
    "flux2-klein": 32, "z-image": 16, "qwen-image": 16, "qwen-image-edit": 16,
}  # fmt: skip
ALONE = ("z-image", "qwen-image")
"""Take no references."""
PLAIN = ("flux", "flux2-klein")
"""Have no guidance, and so no negative prompt."""
NEAREST = {"flux2-klein": 1.0}
"""How near the weakest start comes, as a share of the strongest: of ten steps, [klein]'s last begins in half noise."""
BLACK = tiny_models.encoded(tiny_models.opened(tiny_models.half_mask()).point(lambda value: 0))


pytestmark = pytest.mark.usefixtures("small_references")


@pytest.fixture(scope="module")
def engine_of(tmp_path_factory):
    @cache
    def loaded(family):
        root, kind = tmp_path_factory.mktemp("family"), family.split()[0]
        if kind == family:
            folders = tiny_models.image_folders(kind, root)
        else:
            main = tiny_models.save_stable_diffusion(root / "main", channels=CHANNELS[family])
            folders = {"main": main, "ip_adapter": tiny_models.save_ip_adapter(root / "ip_adapter", main)}
        spec = tiny_models.image_spec(kind, references=0 if kind in ALONE else 3)
        return load(spec.model_copy(update={"max_pixels": 96 * 64}), folders, "cpu")

    return loaded


@pytest.fixture(params=CHANNELS)
def family(request):
    return request.param


@pytest.fixture
def engine(engine_of, family):
    return engine_of(family)


@pytest.fixture(scope="module")
def kept_of(engine_of):
    """A first picture of a family, 96 x 64 in ten steps, with its latents."""
    return cache(lambda family: engine_of(family).generate(wide(keep_latents=True), Unwatched()))


@pytest.fixture
def first(kept_of, family):
    return kept_of(family)


def wide(**changes):
    return image_request(width=96, num_inference_steps=10, **changes)


def decoded(engine, latents):
    """What the VAE alone makes of clean latents."""
    pipeline = engine._pipeline
    with torch.inference_mode():
        pixels = pipeline.vae.decode(as_coded(pipeline, latents), return_dict=False)[0]
        pixels = pixels[:, :, 0] if pixels.ndim == 5 else pixels
        return (pipeline.image_processor.postprocess(pixels, "np")[0] * 255).round().astype("uint8")


def as_coded(pipeline, latents):
    """Clean latents as the VAE of the family codes them."""
    vae, config = pipeline.vae, pipeline.vae.config
    if isinstance(vae, AutoencoderKLFlux2):
        mean, variance = (value.view(1, -1, 1, 1) for value in (vae.bn.running_mean, vae.bn.running_var))
        patches = pipeline._patchify_latents(latents) * torch.sqrt(variance + config.batch_norm_eps) + mean
        return pipeline._unpatchify_latents(patches)
    if isinstance(vae, AutoencoderKLQwenImage):
        mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
        return latents[:, :, None] * std + mean
    return latents / config.scaling_factor + (config.shift_factor or 0)


def clean(engine, image):
    """The clean latents of an image."""
    with torch.inference_mode():
        return engine._clean(tiny_models.opened(image))


def round_trip(engine, image):
    """What the VAE alone makes of the image."""
    return decoded(engine, clean(engine, image))


# --- from an image ----------------------------------------------------------------------------------------------------


def test_less_strength_stays_nearer_to_the_start_image(engine, family):
    start = tiny_models.png(5)
    alone = round_trip(engine, start)
    pictures = [
        picture(engine, num_inference_steps=10, start=StartImage(image=start, strength=strength))
        for strength in (0.1, 0.5, 0.9)
    ]
    distances = [distance(each, alone) for each in pictures]
    assert distances == sorted(distances)
    share = NEAREST.get(family, 0.6)
    assert distances[0] < share * distances[2]
    assert distances[0] < share * distance(picture(engine), alone)


def test_full_strength_equals_a_start_from_noise(engine):
    full = StartImage(image=tiny_models.png(5), strength=1.0)
    assert np.array_equal(picture(engine, start=full), picture(engine))


def test_image_to_image_repeats_its_bits_and_depends_on_noise_start_and_reference(engine, family):
    def make(seed=1, start=5, **changes):
        image = StartImage(image=tiny_models.png(start), strength=0.5)
        return picture(engine, start=image, noise=NoiseSpec(seed=seed), **changes)

    assert np.array_equal(make(), make())
    referred: dict[str, Any] = {"references": (reference(3),), "adapter": AdapterSettings(scale=1.0)}
    for changes in ({"seed": 2}, {"start": 6}, *([] if family in ALONE else [referred])):
        assert distance(make(), make(**changes)) > 0, changes


@pytest.mark.parametrize(
    ("family", "steps"),
    [
        ("stable-diffusion", 1),
        ("stable-diffusion-xl", 1),
        ("flux", 2),
        ("z-image", 2),
        ("flux2-klein", 2),
        ("qwen-image", 2),
    ],
)
def test_the_watcher_hears_of_as_many_steps_as_run(engine, steps):
    watcher = StopAt()
    engine.generate(image_request(start=StartImage(image=tiny_models.png(5), strength=0.3)), watcher)
    assert watcher.reports == [(done, steps) for done in range(steps + 1)]


def test_an_undecodable_start_image_is_refused(engine):
    with pytest.raises(InvalidRequest, match="the start image cannot be decoded"):
        picture(engine, start=StartImage(image=EncodedImage(data=b"no image"), strength=0.5))


# --- from kept latents ------------------------------------------------------------------------------------------------


def from_latents(engine, latents, strength, **changes):
    return engine.generate(wide(start=StartLatents(data=latents, strength=strength), **changes), Unwatched())


def test_kept_latents_are_those_that_the_image_was_decoded_from(engine, first, family):
    kept = read_tensors(first.latents)["latents"]
    assert kept.shape == (CHANNELS[family], 8, 12)
    assert kept.dtype == torch.float32
    assert np.array_equal(decoded(engine, kept[None]), first.image)


def test_keeping_latents_does_not_change_the_picture_and_is_not_done_unasked(engine, first):
    plain = engine.generate(wide(), Unwatched())
    assert np.array_equal(plain.image, first.image)
    assert plain.latents is None


def test_less_strength_stays_nearer_to_the_first_image(engine, first, family):
    pictures = [
        from_latents(engine, first.latents, strength, noise=NoiseSpec(seed=2)).image for strength in (0.1, 0.5, 0.9)
    ]
    distances = [distance(each, first.image) for each in pictures]
    assert distances == sorted(distances)
    assert 0 < distances[0] < NEAREST.get(family, 0.5) * distances[-1]
    other = from_latents(engine, first.latents, 0.5, noise=NoiseSpec(seed=9)).image
    assert distance(pictures[1], other) > 0


def test_a_start_from_latents_equals_a_start_from_an_image_with_the_same_latents(engine):
    """Latents that the VAE makes of an image, handed over as latents, give the bits of a start from that image."""
    image = tiny_models.png(5, 96, 64)
    by_latents = from_latents(engine, pack(clean(engine, image)[0]), 0.5).image
    by_image = engine.generate(wide(start=StartImage(image=image, strength=0.5)), Unwatched()).image
    assert np.array_equal(by_latents, by_image)


def test_a_start_from_latents_is_closer_than_the_way_through_pixels(engine, first):
    buffer = io.BytesIO()
    Image.fromarray(first.image).save(buffer, "PNG")
    through_pixels = StartImage(image=EncodedImage(data=buffer.getvalue()), strength=0.1)
    by_image = engine.generate(wide(start=through_pixels), Unwatched()).image
    assert distance(from_latents(engine, first.latents, 0.1).image, first.image) < distance(by_image, first.image)


def test_latents_can_be_kept_from_a_start_and_handed_on(engine, first):
    second = from_latents(engine, first.latents, 0.5, keep_latents=True)
    assert from_latents(engine, second.latents, 0.5).image.shape == first.image.shape


@pytest.mark.parametrize("family", ["stable-diffusion"])
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
        from_latents(engine, data, 0.5)


def test_latents_of_another_size_are_refused(engine, first):
    with pytest.raises(InvalidRequest, match="use latents of the same model and size"):
        picture(engine, start=StartLatents(data=first.latents, strength=0.5))


# --- inside a mask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl"])
def test_inpainting_repaints_the_white_part_and_keeps_the_black_one(engine, strength, monkeypatch):
    image, vae, seen = tiny_models.png(5), engine._pipeline.vae, []
    decode = vae.decode

    def remember(latents, **options):
        seen.append(latents)
        return decode(latents, **options)

    monkeypatch.setattr(vae, "decode", remember)
    inpaint = Inpaint(image=image, mask=tiny_models.half_mask(), strength=strength)
    painted = picture(engine, inpaint=inpaint, guidance_scale=8.0)
    monkeypatch.undo()
    # In latents, because the random VAE mixes the whole picture in its norms and its attention.
    change = (seen[0] * vae.config.scaling_factor - clean(engine, image)).abs()
    assert float(change[..., :4].max()) < 1e-5
    assert float(change[..., 4:].min()) > 1e-5
    kept = round_trip(engine, image)
    assert distance(painted[:, :16], kept[:, :16]) < distance(painted[:, 48:], kept[:, 48:])


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_an_all_black_mask_gives_the_image_back(engine, strength):
    image = tiny_models.png(5)
    painted = picture(engine, inpaint=Inpaint(image=image, mask=BLACK, strength=strength))
    assert distance(painted, round_trip(engine, image)) < 1


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_keeps_the_black_part_and_follows_prompt_noise_strength_and_reference(engine, family, strength):
    inpaint = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(), strength=strength)
    plain = picture(engine, inpaint=inpaint)
    assert np.array_equal(picture(engine, inpaint=inpaint), plain)
    kept = round_trip(engine, inpaint.image)
    assert distance(plain[:, :16], kept[:, :16]) < distance(plain[:, 48:], kept[:, 48:])
    changes: list[dict[str, Any]] = [
        {"prompt": "a blue mug"}, {"noise": NoiseSpec(seed=4)},
        {"inpaint": inpaint.model_copy(update={"strength": 0.75})},
    ]  # fmt: skip
    if family not in ALONE:
        changes.append({"references": (reference(3),), "adapter": AdapterSettings(scale=1.0)})
    if family not in PLAIN:
        changes.append({"negative_prompt": "dark"})
    for each in changes:
        assert distance(picture(engine, **({"inpaint": inpaint} | each)), plain) > 0, each


def test_weak_inpainting_stays_nearer_to_the_image(engine):
    image, mask = tiny_models.png(5), tiny_models.half_mask()
    kept = round_trip(engine, image)[:, 40:]
    weak, strong = (
        picture(engine, num_inference_steps=10, inpaint=Inpaint(image=image, mask=mask, strength=s))[:, 40:]
        for s in (0.2, 1.0)
    )
    assert distance(weak, kept) < distance(strong, kept)
