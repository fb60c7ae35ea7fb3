"""What only the Flux.2 [klein] family does: references as images, masks, guidance of base weights, caches and notes."""

import numpy as np
import pytest
from diffusers import Flux2KleinInpaintPipeline

from models.diffusion.noise import draw
from models.errors import Cancelled, InvalidRequest
from models.interfaces import AdapterSettings, Inpaint, Unwatched
from models.registry import load
from models.spec import Acceleration
from tests.support import tiny_models
from tests.support.engine_calls import NOISE, StopAt, assert_all_differ, image_request, picture, reference


def generate(engine, **changes):
    return picture(engine, **{"guidance_scale": 1.0} | changes)


def notes(engine, **changes):
    return engine.generate(image_request(**{"guidance_scale": 1.0} | changes), Unwatched()).notes


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


def test_the_order_of_references_reaches_the_picture(engine):
    orders = ((reference(3), reference(4)), (reference(4), reference(3)))
    assert_all_differ([generate(engine, references=references) for references in orders])


@pytest.mark.parametrize("strength", [0.75, 1.0])
@pytest.mark.parametrize("references", [(), (reference(3),)], ids=["alone", "with a reference"])
def test_inpainting_equals_the_stock_pipeline(engine, folder, strength, references, monkeypatch):
    inpaint = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(), strength=strength)
    ours = generate(engine, inpaint=inpaint, references=references)
    stock = Flux2KleinInpaintPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    noise = stock._patchify_latents(draw(NOISE, 32, 8, 8)[None])
    # Given as `latents` it would not be mixed with the picture.
    monkeypatch.setattr(
        "diffusers.pipelines.flux2.pipeline_flux2_klein_inpaint.randn_tensor", lambda *args, **options: noise
    )
    bare = stock(
        "a red bottle", tiny_models.opened(inpaint.image), *(tiny_models.opened(each.image) for each in references),
        mask_image=tiny_models.opened(inpaint.mask), strength=strength, num_inference_steps=4, guidance_scale=1.0,
        width=64, height=64, output_type="np",
    ).images[0]  # fmt: skip
    assert np.array_equal(ours, (bare * 255).round().astype("uint8"))


def test_several_references_of_different_sizes_act_beside_a_mask(engine):
    inpaint = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask())
    several = (reference(3), reference(4, 96, 64))
    assert_all_differ([generate(engine, inpaint=inpaint, references=several[:count]) for count in range(3)])


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
        cached.generate(image_request(num_inference_steps=6, guidance_scale=1.0), StopAt(3))
    assert np.array_equal(generate(cached, num_inference_steps=6), approximate)
    assert np.array_equal(generate(cached, num_inference_steps=6, deterministic=True), exact)


def test_a_cache_that_does_not_fit_the_blocks_is_refused_when_the_model_is_loaded(folder):
    first_block = Acceleration(cache={"class": "FirstBlockCacheConfig", "threshold": 0.05})
    spec = tiny_models.image_spec("flux2-klein").model_copy(update={"acceleration": first_block})
    with pytest.raises(InvalidRequest, match="use another cache, such as TaylorSeerCacheConfig"):
        load(spec, {"main": folder}, "cpu")
