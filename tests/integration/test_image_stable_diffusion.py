"""Image engines on tiny real weights: determinism, start images, inpainting, sizes, cancelling, and bare diffusers."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from models.diffusion.latents import encode
from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest, WeightsError
from models.interfaces import EncodedImage, ImageRequest, Inpaint, NoiseSpec, Reference, StartImage, Unwatched
from models.registry import FAMILIES, load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)
STOCK = {"stable-diffusion": StableDiffusionPipeline, "stable-diffusion-xl": StableDiffusionXLPipeline}


def request(**changes):
    plain = {
        "prompt": "a red bottle on a table", "negative_prompt": "blurry", "width": 64, "height": 64, "noise": NOISE,
        "num_inference_steps": 4, "guidance_scale": 4.0,
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


def generate(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).image


def distance(one, other):
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def folders_of(family, root):
    save = tiny_models.save_stable_diffusion if family == "stable-diffusion" else tiny_models.save_stable_diffusion_xl
    main = save(root / "main")
    return {"main": main, "ip_adapter": tiny_models.save_ip_adapter(root / "ip_adapter", main)}


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folders(family, tmp_path_factory):
    return folders_of(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def engine(family, folders):
    return load(tiny_models.image_spec(family), folders, "cpu")


class StopAt:
    """Cancels at one step; remembers every report."""

    def __init__(self, step):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


def test_the_same_request_gives_the_same_bits(engine):
    assert np.array_equal(generate(engine), generate(engine))


@pytest.mark.parametrize(("negative", "stock_negative"), [("blurry", "blurry"), ("", None)])
def test_a_pipeline_request_equals_the_bare_stock_pipeline(family, folders, negative, stock_negative):
    engine = load(tiny_models.image_spec(family, references=0), folders, "cpu")
    stock = STOCK[family].from_pretrained(folders["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    result = engine.generate(request(negative_prompt=negative), Unwatched())
    bare = stock(
        "a red bottle on a table", negative_prompt=stock_negative, width=64, height=64, num_inference_steps=4,
        guidance_scale=4.0, latents=draw(NOISE, 4, 8, 8)[None], output_type="np",
    ).images[0]  # fmt: skip
    assert np.array_equal(result.image, (bare * 255).round().astype("uint8"))


def test_prompt_seed_guidance_and_negative_prompt_reach_the_picture(engine):
    plain = generate(engine)
    for changes in (
        {"prompt": "a blue mug"}, {"negative_prompt": "dark"}, {"guidance_scale": 8.0}, {"guidance_scale": 1.0},
        {"noise": NoiseSpec(seed=2)}, {"num_inference_steps": 5},
    ):  # fmt: skip
        assert distance(generate(engine, **changes), plain) > 0, changes


def test_remembered_texts_and_images_do_not_change_the_result(family, folders, engine):
    reference = Reference(image=tiny_models.png(8), role="product")
    first = generate(engine, references=(reference,))
    again = generate(engine, references=(reference,))
    fresh = generate(load(tiny_models.image_spec(family), folders, "cpu"), references=(reference,))
    assert np.array_equal(first, again)
    assert np.array_equal(first, fresh)


def test_the_result_names_its_noise_and_its_time(engine):
    result = engine.generate(request(width=96), Unwatched())
    assert result.image.shape == (64, 96, 3)
    assert result.image.dtype == np.uint8
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 4, 8, 12))
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert sum(result.timings.values()) == pytest.approx(result.seconds)


@pytest.mark.parametrize("size", [(96, 64), (64, 104), (128, 72)])
def test_sizes_need_not_be_square(engine, size):
    width, height = size
    assert generate(engine, width=width, height=height).shape == (height, width, 3)


@pytest.mark.parametrize("size", [(60, 64), (64, 65)])
def test_a_size_off_the_grid_is_refused_with_the_nearest_one(engine, size):
    with pytest.raises(InvalidRequest, match=r"multiples of 8; the nearest such size is 64x64"):
        generate(engine, width=size[0], height=size[1])


# --- image to image ---------------------------------------------------------------------------------------------------


def test_less_strength_stays_nearer_to_the_start_image(engine):
    start = tiny_models.png(5)
    pure = generate(engine)
    pictures = [
        generate(engine, num_inference_steps=10, start=StartImage(image=start, strength=strength))
        for strength in (0.1, 0.5, 0.9)
    ]
    round_trip = vae_round_trip(engine, start)
    distances = [distance(picture, round_trip) for picture in pictures]
    assert distances == sorted(distances)
    assert distances[0] < distance(pure, round_trip) / 2


def test_full_strength_equals_a_start_from_noise(engine):
    full = StartImage(image=tiny_models.png(5), strength=1.0)
    assert np.array_equal(generate(engine, start=full), generate(engine))


def test_image_to_image_repeats_its_bits_and_depends_on_noise_and_start(engine):
    def make(seed=1, start=5):
        image = StartImage(image=tiny_models.png(start), strength=0.5)
        return generate(engine, start=image, noise=NoiseSpec(seed=seed))

    assert np.array_equal(make(), make())
    assert distance(make(), make(seed=2)) > 0
    assert distance(make(), make(start=6)) > 0


def test_a_strength_that_runs_no_step_is_refused_with_the_least_that_does(engine):
    with pytest.raises(InvalidRequest, match=r"runs no step; use at least 0\.250"):
        generate(engine, start=StartImage(image=tiny_models.png(5), strength=0.2))


def test_an_undecodable_start_image_is_refused(engine):
    with pytest.raises(InvalidRequest, match="the start image cannot be decoded"):
        generate(engine, start=StartImage(image=EncodedImage(data=b"no image"), strength=0.5))


# --- inpainting -------------------------------------------------------------------------------------------------------


def vae_round_trip(engine, image):
    """What the VAE alone makes of the image."""
    pipeline = engine._pipeline
    with torch.inference_mode():
        pixels = pipeline.image_processor.preprocess(tiny_models.opened(image))
        latents = encode(pipeline.vae, pixels) / pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(latents, return_dict=False)[0]
        return (pipeline.image_processor.postprocess(decoded, "np")[0] * 255).round().astype("uint8")


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_repaints_the_white_part_and_keeps_the_black_one(engine, strength, monkeypatch):
    image = tiny_models.png(5)
    vae, decoded = engine._pipeline.vae, []
    decode = vae.decode

    def remember(latents, **options):
        decoded.append(latents)
        return decode(latents, **options)

    monkeypatch.setattr(vae, "decode", remember)
    inpaint = Inpaint(image=image, mask=tiny_models.half_mask(), strength=strength)
    painted = generate(engine, inpaint=inpaint, guidance_scale=8.0)
    monkeypatch.undo()
    # In latents, because the random VAE mixes the whole picture in its norms and its attention.
    pixels = engine._pipeline.image_processor.preprocess(tiny_models.opened(image))
    with torch.inference_mode():
        change = (decoded[0] * vae.config.scaling_factor - encode(vae, pixels)).abs()
    assert float(change[..., :4].max()) < 1e-5
    assert float(change[..., 4:].min()) > 1e-5
    kept = vae_round_trip(engine, image)
    assert distance(painted[:, :16], kept[:, :16]) < distance(painted[:, 48:], kept[:, 48:])


def test_an_all_black_mask_gives_the_image_back(engine):
    image = tiny_models.png(5)
    black = tiny_models.encoded(tiny_models.opened(tiny_models.half_mask()).point(lambda value: 0))
    painted = generate(engine, inpaint=Inpaint(image=image, mask=black, strength=0.75))
    assert distance(painted, vae_round_trip(engine, image)) < 1


def test_inpainting_follows_prompt_negative_prompt_noise_and_strength(engine):
    inpaint = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask())
    plain = generate(engine, inpaint=inpaint)
    assert np.array_equal(generate(engine, inpaint=inpaint), plain)
    for changes in (
        {"prompt": "a blue mug"}, {"negative_prompt": "dark"}, {"noise": NoiseSpec(seed=4)},
        {"inpaint": inpaint.model_copy(update={"strength": 0.5})},
    ):  # fmt: skip
        assert distance(generate(engine, **({"inpaint": inpaint} | changes)), plain) > 0, changes


def test_weak_inpainting_stays_nearer_to_the_image(engine):
    image, mask = tiny_models.png(5), tiny_models.half_mask()
    kept = vae_round_trip(engine, image)[:, 40:]
    weak, strong = (
        generate(engine, num_inference_steps=10, inpaint=Inpaint(image=image, mask=mask, strength=s))[:, 40:]
        for s in (0.2, 1.0)
    )
    assert distance(weak, kept) < distance(strong, kept)


def test_a_start_image_and_an_inpainting_exclude_each_other(engine):
    image = tiny_models.png(5)
    with pytest.raises(InvalidRequest, match="give one of them"):
        generate(
            engine,
            start=StartImage(image=image, strength=0.5),
            inpaint=Inpaint(image=image, mask=tiny_models.half_mask()),
        )


# --- cancelling, turns, loading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [
    {}, {"start": StartImage(image=tiny_models.png(5), strength=0.75)},
    {"inpaint": Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(), strength=0.75)},
    {"references": (Reference(image=tiny_models.png(3), role="character"),)},
])  # fmt: skip
def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine, changes):
    before = generate(engine, **changes)
    watcher = StopAt(2)
    with pytest.raises(Cancelled):
        engine.generate(request(**changes), watcher)
    assert watcher.reports[-1][0] == 2
    assert np.array_equal(generate(engine, **changes), before)
    assert np.array_equal(generate(engine), generate(engine))


def test_a_call_cancelled_before_its_first_step_does_not_start(engine):
    watcher = StopAt(0)
    with pytest.raises(Cancelled):
        engine.generate(request(), watcher)
    assert watcher.reports == [(0, 4)]


class CancelsAnother:
    """Holds the lane at step 1 until a second call, cancelled while it waits, has come back."""

    def __init__(self, engine):
        self.engine, self.second = engine, StopAt(0)

    def step(self, done, total):
        if done == 1:
            with ThreadPoolExecutor(1) as thread, pytest.raises(Cancelled):
                thread.submit(self.engine.generate, request(), self.second).result()


def test_a_call_can_be_cancelled_while_it_waits_for_its_turn(engine):
    watcher = CancelsAnother(engine)
    assert np.array_equal(engine.generate(request(), watcher).image, generate(engine))
    assert watcher.second.reports == [(0, 4)]


def test_every_step_is_reported_once(engine):
    watcher = StopAt(None)
    engine.generate(request(), watcher)
    assert watcher.reports == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_concurrent_calls_take_turns_and_get_their_own_pictures(engine):
    prompts = ["a red bottle", "a blue mug", "a green lamp"]
    alone = [generate(engine, prompt=prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as threads:
        together = list(threads.map(lambda prompt: generate(engine, prompt=prompt), prompts))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("scheduler", [
    {"class": "DPMSolverMultistepScheduler"}, {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
    {"class": "EulerAncestralDiscreteScheduler"}, {"class": "PNDMScheduler", "skip_prk_steps": True},
], ids=lambda scheduler: scheduler["class"])  # fmt: skip
def test_the_scheduler_of_the_spec_is_used_and_repeats_its_bits(family, folders, scheduler):
    engine: Any = load(tiny_models.image_spec(family, references=0, scheduler=scheduler), folders, "cpu")
    assert type(engine._pipeline.scheduler).__name__ == scheduler["class"]
    for changes in ({}, {"start": StartImage(image=tiny_models.png(5), strength=0.5)}):
        assert np.array_equal(generate(engine, **changes), generate(engine, **changes))


def test_an_unknown_scheduler_class_is_refused(family, folders):
    with pytest.raises(InvalidRequest, match="'MagicScheduler'"):
        load(tiny_models.image_spec(family, references=0, scheduler={"class": "MagicScheduler"}), folders, "cpu")


def test_a_missing_part_and_an_empty_folder_are_named(family, folders, tmp_path):
    with pytest.raises(WeightsError, match="needs the weight part 'ip_adapter'"):
        load(tiny_models.image_spec(family), {"main": folders["main"]}, "cpu")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(tiny_models.image_spec(family), {"main": tmp_path, "ip_adapter": tmp_path}, "cpu")


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"unknown family 'sculptor'.*animatediff, "):
        load(tiny_models.image_spec("sculptor"), {}, "cpu")
    assert {"stable-diffusion", "stable-diffusion-xl", "animatediff", "wan", "llava", "openai"} <= set(FAMILIES)
