"""The Flux family on tiny real weights: own noise, IP-Adapter, start images, inpainting, cancelling, bare diffusers."""

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from models.diffusion.latents import encode
from models.diffusion.memory import SECOND_TRY
from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest, OutOfMemory, WeightsError
from models.interfaces import (
    AdapterSettings,
    ImageRequest,
    Inpaint,
    NoiseSpec,
    Reference,
    StartImage,
    StartLatents,
    Unwatched,
)
from models.registry import load
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)
STRONG = AdapterSettings(scale=1.0)


def request(**changes):
    plain = {
        "prompt": "a red bottle on a table", "width": 64, "height": 64, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 3.5,
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


def generate(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).image


def notes(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).notes


def distance(one, other):
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def reference(seed, **changes):
    return Reference.model_validate({"image": tiny_models.png(seed), "role": "product"} | changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("flux")
    main = tiny_models.save_flux(root / "main")
    adapter = tiny_models.save_flux_ip_adapter(root / "ip_adapter", main)
    return {"main": main, "ip_adapter": adapter, "image_encoder": adapter / "image_encoder"}


@pytest.fixture(scope="module")
def engine(folders):
    return load(tiny_models.image_spec("flux"), folders, "cpu")


@pytest.fixture(scope="module")
def bare_engine(folders):
    return load(tiny_models.image_spec("flux", references=0), {"main": folders["main"]}, "cpu")


@pytest.fixture(scope="module")
def unguided(tmp_path_factory):
    main = tiny_models.save_flux(tmp_path_factory.mktemp("schnell"), guided=False)
    return load(tiny_models.image_spec("flux", references=0), {"main": main}, "cpu")


class StopAt:
    """Cancels at one step; remembers every report."""

    def __init__(self, step):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


def test_a_request_equals_the_bare_stock_pipeline_and_repeats_its_bits(bare_engine, folders):
    stock = FluxPipeline.from_pretrained(folders["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    noise = draw(NOISE, 16, 8, 8)[None]
    bare = stock(
        "a red bottle on a table", width=64, height=64, num_inference_steps=3, guidance_scale=3.5,
        latents=stock._pack_latents(noise, 1, 16, 8, 8), output_type="np",
    ).images[0]  # fmt: skip
    picture = generate(bare_engine)
    assert np.array_equal(picture, (bare * 255).round().astype("uint8"))
    assert np.array_equal(picture, generate(bare_engine))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (32, 80)])
def test_a_picture_has_the_size_asked_for_and_names_its_noise(engine, width, height):
    result = engine.generate(request(width=width, height=height), Unwatched())
    assert result.image.shape == (height, width, 3)
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 16, height // 8, width // 8))
    assert sum(result.timings.values()) == pytest.approx(result.seconds)


def test_prompt_noise_guidance_and_steps_reach_the_picture(engine):
    plain = generate(engine)
    for changes in (
        {"prompt": "a blue mug"}, {"noise": NoiseSpec(seed=2)}, {"guidance_scale": 8.0}, {"num_inference_steps": 4},
    ):  # fmt: skip
        assert distance(generate(engine, **changes), plain) > 0, changes


def test_out_of_memory_is_answered_by_a_second_try_and_then_by_an_error_that_leaves_the_engine_whole(
    engine, monkeypatch
):
    before, decode, fails = generate(engine), engine._pipeline.vae.decode, [1]

    def run_out(*args, **options):
        if fails and fails.pop():
            raise torch.OutOfMemoryError("out of memory")
        return decode(*args, **options)

    monkeypatch.setattr(engine._pipeline.vae, "decode", run_out)
    assert notes(engine) == (SECOND_TRY,)
    fails += [1, 1]
    with pytest.raises(OutOfMemory, match="no room for 1 image of 64x64"):
        generate(engine)
    assert np.array_equal(generate(engine), before)


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug", references=(reference(4),), adapter=STRONG), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


# --- references -------------------------------------------------------------------------------------------------------


def test_a_reference_changes_the_picture_and_the_same_one_gives_the_same_bits(engine):
    plain = generate(engine)
    one = generate(engine, references=(reference(3),), adapter=STRONG)
    assert distance(one, plain) > 0
    assert distance(one, generate(engine, references=(reference(4),), adapter=STRONG)) > 0
    assert np.array_equal(one, generate(engine, references=(reference(3),), adapter=STRONG))


def test_no_strength_equals_no_reference_and_no_adapter(engine, bare_engine):
    without = generate(bare_engine)
    assert np.array_equal(generate(engine), without)
    assert np.array_equal(generate(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.0)), without)
    assert np.array_equal(generate(engine, references=(reference(3, weight=0.0),)), without)


def test_every_reference_has_its_own_weight(engine):
    def make(*weights):
        chosen = tuple(reference(seed, weight=weight) for seed, weight in zip((3, 4, 5), weights, strict=False))
        return generate(engine, references=chosen, adapter=STRONG)

    pictures = [make(1.0), make(0.5), make(1.0, 1.0), make(1.0, 0.2), make(1.0, 1.0, 1.0)]
    for index, one in enumerate(pictures):
        assert all(distance(one, other) > 0 for other in pictures[index + 1 :]), index
    assert np.array_equal(make(0.0, 1.0), generate(engine, references=(reference(4),), adapter=STRONG))


def test_the_stock_adapter_makes_the_same_of_one_reference(engine, folders):
    stock = FluxPipeline.from_pretrained(folders["main"], local_files_only=True)
    stock.load_ip_adapter(
        str(folders["ip_adapter"]), "ip-adapter.safetensors", local_files_only=True,
        image_encoder_pretrained_model_name_or_path=str(folders["image_encoder"]), image_encoder_dtype=torch.float32,
    )  # fmt: skip
    stock.set_ip_adapter_scale(0.5)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        "a red bottle on a table", width=64, height=64, num_inference_steps=3, guidance_scale=3.5, output_type="np",
        latents=stock._pack_latents(draw(NOISE, 16, 8, 8)[None], 1, 16, 8, 8),
        ip_adapter_image=tiny_models.opened(tiny_models.png(3)),
    ).images[0]  # fmt: skip
    mine = generate(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.5))
    assert np.array_equal(mine, (bare * 255).round().astype("uint8"))


def test_the_adapter_acts_only_between_its_begin_and_end(engine):
    def make(begin, end):
        settings = AdapterSettings(scale=1.0, begin_step_percent=begin, end_step_percent=end)
        return generate(engine, references=(reference(3),), adapter=settings)

    pictures = [make(0.0, 1.0), make(0.0, 0.5), make(0.5, 1.0), generate(engine)]
    for index, one in enumerate(pictures):
        assert all(distance(one, other) > 0 for other in pictures[index + 1 :]), index
    assert np.array_equal(make(0.5, 0.5), generate(engine))


def test_a_style_reference_is_used_whole_and_the_result_says_so(engine):
    style = (reference(3, role="style"),)
    assert np.array_equal(generate(engine, references=style), generate(engine, references=(reference(3),)))
    assert notes(engine, references=style) == (
        "the style reference acts on content too: Flux's layers for style alone are not known",
    )


# --- start images and inpainting --------------------------------------------------------------------------------------


def round_trip(engine, image):
    """What the VAE alone makes of the image."""
    pipeline = engine._pipeline
    with torch.inference_mode():
        latents = encode(pipeline.vae, pipeline.image_processor.preprocess(tiny_models.opened(image)))
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        return (pipeline.image_processor.postprocess(decoded, "np")[0] * 255).round().astype("uint8")


def test_less_strength_stays_nearer_to_the_start_image(engine):
    start = tiny_models.png(5)
    pictures = [
        generate(engine, num_inference_steps=10, start=StartImage(image=start, strength=strength))
        for strength in (0.1, 0.5, 0.9)
    ]
    distances = [distance(picture, round_trip(engine, start)) for picture in pictures]
    assert distances == sorted(distances)
    assert distances[0] < distances[2] / 2


def test_image_to_image_repeats_its_bits_and_depends_on_noise_start_and_reference(engine):
    def make(seed=1, start=5, **changes):
        image = StartImage(image=tiny_models.png(start), strength=0.5)
        return generate(engine, start=image, noise=NoiseSpec(seed=seed), **changes)

    assert np.array_equal(make(), make())
    for changes in ({"seed": 2}, {"start": 6}, {"references": (reference(3),), "adapter": STRONG}):
        assert distance(make(), make(**changes)) > 0, changes


def test_full_strength_equals_a_start_from_noise(engine):
    assert np.array_equal(generate(engine, start=StartImage(image=tiny_models.png(5), strength=1.0)), generate(engine))


def test_kept_latents_start_the_next_picture_where_this_one_ended(engine):
    kept = engine.generate(request(keep_latents=True), Unwatched())
    assert engine.generate(request(), Unwatched()).latents is None
    assert np.array_equal(kept.image, generate(engine))

    def resume(strength, **changes):
        start = StartLatents(data=kept.latents, strength=strength)
        return generate(engine, num_inference_steps=10, start=start, **changes)

    assert distance(resume(0.1), kept.image) < distance(resume(0.9), kept.image)
    assert np.array_equal(resume(0.5), resume(0.5))
    assert distance(resume(0.5), resume(0.5, noise=NoiseSpec(seed=9))) > 0
    with pytest.raises(InvalidRequest, match="use latents of the same model and size"):
        generate(engine, width=96, start=StartLatents(data=kept.latents, strength=0.5))


def test_the_watcher_hears_of_as_many_steps_as_run(engine):
    watcher = StopAt(None)
    engine.generate(request(num_inference_steps=4, start=StartImage(image=tiny_models.png(5), strength=0.3)), watcher)
    assert watcher.reports == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_keeps_the_black_part_and_follows_noise_prompt_and_reference(engine, strength):
    image = tiny_models.png(5)
    black = tiny_models.encoded(tiny_models.opened(tiny_models.half_mask()).point(lambda value: 0))
    kept = generate(engine, inpaint=Inpaint(image=image, mask=black, strength=strength))
    assert distance(kept, round_trip(engine, image)) < 1
    half = Inpaint(image=image, mask=tiny_models.half_mask(), strength=strength)
    painted = generate(engine, inpaint=half)
    assert np.array_equal(painted, generate(engine, inpaint=half))
    assert distance(painted[:, :16], kept[:, :16]) < distance(painted[:, 48:], kept[:, 48:])
    for changes in (
        {"noise": NoiseSpec(seed=4)}, {"prompt": "a mug"}, {"references": (reference(3),), "adapter": STRONG},
    ):  # fmt: skip
        assert distance(generate(engine, inpaint=half, **changes), painted) > 0, changes


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 72}, "multiples of 16; the nearest such size is 64x64"),
    ({"references": (reference(3),), "adapter": AdapterSettings(blocks="style")}, "use blocks 'all'"),
    ({"start": StartImage(image=tiny_models.png(5), strength=0.0)}, "runs no step; use at least 0.334"),
    ({"start": StartImage(image=tiny_models.png(5), strength=0.5),
      "inpaint": Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask())}, "give one of them"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)


def test_references_without_an_adapter_are_refused(bare_engine):
    with pytest.raises(InvalidRequest, match="takes no reference images"):
        generate(bare_engine, references=(reference(3),))


def test_a_spec_with_references_needs_the_weights_of_the_adapter_and_its_encoder(folders):
    for missing in ("ip_adapter", "image_encoder"):
        with pytest.raises(WeightsError, match=missing):
            load(tiny_models.image_spec("flux"), {k: v for k, v in folders.items() if k != missing}, "cpu")


def test_what_had_no_effect_is_said(engine, unguided):
    assert notes(engine) == ()
    assert "the negative prompt 'blurry' had no effect" in notes(engine, negative_prompt="blurry")[0]
    assert notes(unguided, guidance_scale=0.0) == ()
    assert "guidance_scale 3.5 had no effect" in notes(unguided)[0]
    assert np.array_equal(generate(unguided), generate(unguided, guidance_scale=0.0))
    long = "bottle " * 60
    assert "reads the first 256: shorten 'bottle" in notes(unguided, prompt=long, guidance_scale=0.0)[0]
    assert notes(engine, prompt=long) == ()
