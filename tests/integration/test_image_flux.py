"""What only the Flux family does: its IP-Adapter, and what it says about guidance and negative prompts."""

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from models.diffusion.noise import draw
from models.interfaces import AdapterSettings, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import NOISE, assert_all_differ, distance, image_request, picture, reference

STRONG = AdapterSettings(scale=1.0)


def notes(engine, **changes):
    return engine.generate(image_request(**changes), Unwatched()).notes


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_models.image_folders("flux", tmp_path_factory.mktemp("flux"))


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


def test_a_reference_changes_the_picture_and_the_same_one_gives_the_same_bits(engine):
    plain = picture(engine)
    one = picture(engine, references=(reference(3),), adapter=STRONG)
    assert distance(one, plain) > 0
    assert distance(one, picture(engine, references=(reference(4),), adapter=STRONG)) > 0
    assert np.array_equal(one, picture(engine, references=(reference(3),), adapter=STRONG))


def test_no_strength_equals_no_reference_and_no_adapter(engine, bare_engine):
    without = picture(bare_engine)
    assert np.array_equal(picture(engine), without)
    assert np.array_equal(picture(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.0)), without)
    assert np.array_equal(picture(engine, references=(reference(3, weight=0.0),)), without)


def test_every_reference_has_its_own_weight(engine):
    def make(*weights):
        chosen = tuple(reference(seed, weight=weight) for seed, weight in zip((3, 4, 5), weights, strict=False))
        return picture(engine, references=chosen, adapter=STRONG)

    pictures = [make(1.0), make(0.5), make(1.0, 1.0), make(1.0, 0.2), make(1.0, 1.0, 1.0)]
    assert_all_differ(pictures)
    assert np.array_equal(make(0.0, 1.0), picture(engine, references=(reference(4),), adapter=STRONG))


def test_the_stock_adapter_makes_the_same_of_one_reference(engine, folders):
    stock = FluxPipeline.from_pretrained(folders["main"], local_files_only=True)
    stock.load_ip_adapter(
        str(folders["ip_adapter"]), "ip-adapter.safetensors", local_files_only=True,
        image_encoder_pretrained_model_name_or_path=str(folders["image_encoder"]), image_encoder_dtype=torch.float32,
    )  # fmt: skip
    stock.set_ip_adapter_scale(0.5)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        "a red bottle", width=64, height=64, num_inference_steps=4, guidance_scale=4.0, output_type="np",
        latents=stock._pack_latents(draw(NOISE, 16, 8, 8)[None], 1, 16, 8, 8),
        ip_adapter_image=tiny_models.opened(tiny_models.png(3)),
    ).images[0]  # fmt: skip
    mine = picture(engine, references=(reference(3),), adapter=AdapterSettings(scale=0.5))
    assert np.array_equal(mine, (bare * 255).round().astype("uint8"))


def test_the_adapter_acts_only_between_its_begin_and_end(engine):
    def make(begin, end):
        settings = AdapterSettings(scale=1.0, begin_step_percent=begin, end_step_percent=end)
        return picture(engine, references=(reference(3),), adapter=settings)

    pictures = [make(0.0, 1.0), make(0.0, 0.5), make(0.5, 1.0), picture(engine)]
    assert_all_differ(pictures)
    assert np.array_equal(make(0.5, 0.5), picture(engine))


def test_a_style_reference_is_used_whole_and_the_result_says_so(engine):
    style = (reference(3, role="style"),)
    assert np.array_equal(picture(engine, references=style), picture(engine, references=(reference(3),)))
    assert notes(engine, references=style) == (
        "the style reference acts on content too: Flux's layers for style alone are not known",
    )


def test_what_had_no_effect_is_said(engine, unguided):
    assert notes(engine) == ()
    assert "the negative prompt 'blurry' had no effect" in notes(engine, negative_prompt="blurry")[0]
    assert notes(unguided, guidance_scale=0.0) == ()
    assert "guidance_scale 4 had no effect" in notes(unguided)[0]
    assert np.array_equal(picture(unguided), picture(unguided, guidance_scale=0.0))
    long = "bottle " * 60
    assert "reads the first 256: shorten 'bottle" in notes(unguided, prompt=long, guidance_scale=0.0)[0]
    assert notes(engine, prompt=long) == ()
