"""The Flux.2 [klein] family on tiny real weights: several references, own noise, cancelling, bare diffusers."""

import numpy as np
import pytest
from diffusers import Flux2KleinPipeline

from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest
from models.interfaces import AdapterSettings, ImageRequest, Inpaint, NoiseSpec, Reference, StartImage, Unwatched
from models.registry import load
from models.spec import Acceleration
from tests.support import tiny_models

NOISE = NoiseSpec(seed=1, shared_seed=2, shared_strength=0.25)


def request(**changes):
    plain = {
        "prompt": "a red bottle", "width": 64, "height": 64, "noise": NOISE, "num_inference_steps": 3,
        "guidance_scale": 1.0,
    }  # fmt: skip
    return ImageRequest.model_validate(plain | changes)


def generate(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).image


def notes(engine, **changes):
    return engine.generate(request(**changes), Unwatched()).notes


def reference(seed, width=64, height=64, **changes):
    return Reference.model_validate({"image": tiny_models.png(seed, width, height), "role": "product"} | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_flux2_klein(tmp_path_factory.mktemp("klein"))


@pytest.fixture(scope="module")
def engine(folder):
    return load(tiny_models.image_spec("flux2-klein"), {"main": folder}, "cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    main = tiny_models.save_flux2_klein(tmp_path_factory.mktemp("klein-base"), distilled=False)
    return load(tiny_models.image_spec("flux2-klein"), {"main": main}, "cpu")


class StopAt:
    """Cancels at one step; remembers every report."""

    def __init__(self, step):
        self.stop, self.reports = step, []

    def step(self, done, total):
        self.reports.append((done, total))
        if done == self.stop:
            raise Cancelled(f"stopped at step {done}")


def test_a_request_equals_the_bare_stock_pipeline_and_repeats_its_bits(engine, folder):
    stock = Flux2KleinPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        [tiny_models.opened(tiny_models.png(seed)) for seed in (3, 4)], "a red bottle", width=64, height=64,
        num_inference_steps=3, guidance_scale=1.0, output_type="np",
        latents=stock._patchify_latents(draw(NOISE, 32, 8, 8)[None]),
    ).images[0]  # fmt: skip
    picture = generate(engine, references=(reference(3), reference(4)))
    assert np.array_equal(picture, (bare * 255).round().astype("uint8"))
    assert np.array_equal(picture, generate(engine, references=(reference(3), reference(4))))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (32, 80)])
def test_a_picture_has_the_size_asked_for_and_names_its_noise(engine, width, height):
    result = engine.generate(request(width=width, height=height), Unwatched())
    assert result.image.shape == (height, width, 3)
    assert result.noise_sha256 == noise_sha256(draw(NOISE, 32, height // 8, width // 8))
    assert sum(result.timings.values()) == pytest.approx(result.seconds)


def test_prompt_noise_steps_and_every_reference_reach_the_picture(engine):
    pictures = [
        generate(engine), generate(engine, prompt="a blue mug"), generate(engine, noise=NoiseSpec(seed=2)),
        generate(engine, num_inference_steps=4), generate(engine, references=(reference(3),)),
        generate(engine, references=(reference(4),)), generate(engine, references=(reference(3), reference(4))),
        generate(engine, references=(reference(4), reference(3))),
        generate(engine, references=(reference(3), reference(4), reference(5, 96, 64))),
    ]  # fmt: skip
    for index, one in enumerate(pictures):
        assert all(not np.array_equal(one, other) for other in pictures[index + 1 :]), index


def test_a_reference_of_no_strength_is_left_out(engine):
    without = generate(engine, references=(reference(4),))
    assert np.array_equal(generate(engine, references=(reference(3, weight=0.0), reference(4))), without)
    assert np.array_equal(
        generate(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.0)), generate(engine)
    )


def test_guidance_and_a_negative_prompt_reach_the_picture_of_base_weights(base):
    plain = generate(base, guidance_scale=4.0)
    for changes in ({"guidance_scale": 2.0}, {"guidance_scale": 1.0}, {"negative_prompt": "dark"}):
        assert not np.array_equal(generate(base, **({"guidance_scale": 4.0} | changes)), plain), changes
    assert notes(base, guidance_scale=4.0, negative_prompt="dark") == ()


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine):
    before = generate(engine)
    watcher = StopAt(1)
    with pytest.raises(Cancelled):
        engine.generate(request(prompt="a mug", references=(reference(4),)), watcher)
    assert watcher.reports == [(0, 3), (1, 3)]
    assert np.array_equal(generate(engine), before)


def test_what_had_no_effect_is_said(engine):
    assert notes(engine, references=(reference(3),)) == ()
    weak = (reference(3, weight=0.5), reference(4, role="style"))
    weighed, style, settings = notes(engine, references=weak, adapter=AdapterSettings(scale=0.8, blocks="layout"))
    assert weighed.startswith("reference 1 acts in full, not with weight 0.5")
    assert style.startswith("reference 2 is a style reference")
    assert settings.startswith("the adapter settings (scale 0.8, blocks layout) had no effect")
    assert np.array_equal(generate(engine, references=weak), generate(engine, references=(reference(3), reference(4))))
    guidance, negative = notes(engine, guidance_scale=4.0, negative_prompt="dark")
    assert guidance.startswith("guidance_scale 4 had no effect")
    assert negative.startswith("the negative prompt 'dark' had no effect")
    assert np.array_equal(generate(engine, guidance_scale=4.0), generate(engine))
    assert "reads the first 512" in notes(engine, prompt="bottle " * 80)[0]


@pytest.mark.parametrize("cache", [
    {"class": "TaylorSeerCacheConfig", "cache_interval": 2, "disable_cache_before_step": 1},
    {"class": "PyramidAttentionBroadcastConfig", "spatial_attention_block_skip_range": 2},
])  # fmt: skip
def test_a_cache_changes_the_picture_but_not_a_deterministic_one_and_survives_a_stopped_call(engine, folder, cache):
    spec = tiny_models.image_spec("flux2-klein").model_copy(update={"acceleration": Acceleration(cache=cache)})
    cached = load(spec, {"main": folder}, "cpu")
    approximate = generate(cached, num_inference_steps=6)
    exact = generate(engine, num_inference_steps=6)
    assert not np.array_equal(approximate, exact)
    with pytest.raises(Cancelled):
        cached.generate(request(num_inference_steps=6), StopAt(3))
    assert np.array_equal(generate(cached, num_inference_steps=6), approximate)
    assert np.array_equal(generate(cached, num_inference_steps=6, deterministic=True), exact)


def test_a_cache_that_does_not_fit_the_blocks_is_refused_when_the_model_is_loaded(folder):
    first_block = Acceleration(cache={"class": "FirstBlockCacheConfig", "threshold": 0.05})
    spec = tiny_models.image_spec("flux2-klein").model_copy(update={"acceleration": first_block})
    with pytest.raises(InvalidRequest, match="use another cache, such as TaylorSeerCacheConfig"):
        load(spec, {"main": folder}, "cpu")


@pytest.mark.parametrize(("changes", "message"), [
    ({"height": 72}, "multiples of 16; the nearest such size is 64x64"),
    ({"references": (reference(2), reference(3, 64, 48))}, "reference 2 is 64x48; .* scale or crop it"),
    ({"references": (reference(2, weight=0.0), reference(3, 640, 64))}, "reference 2 is 640x64"),
    ({"start": StartImage(image=tiny_models.png(5), strength=0.5)}, "give that image as a reference instead"),
    ({"inpaint": Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask())}, "has no masks"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        generate(engine, **changes)
