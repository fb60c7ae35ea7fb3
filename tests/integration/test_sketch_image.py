"""The packaged image model means what it draws: the judge reads asked products back, references carry over."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.interfaces import AdapterSettings, ImageRequest, NoiseSpec, Reference, Unwatched
from models.registry import load
from models.sketch.training.world import render, sample_spec
from models.sketch.training.world.judge import Judge
from models.spec import ImageModelSpec
from models.weights import Library
from tests.support import tiny_models

SPEC = Path(__file__).parents[2] / "configs/models/sketch-image.yaml"
HELD_OUT = (  # combinations that no training has seen
    ("bottle", "blue", "desert", "a blue bottle on desert dunes"),
    ("bottle", "pink", "kitchen", "a pink bottle on a kitchen counter"),
    ("shoe", "white", "city", "product photo of a white shoe in a night city, cinematic"),
    ("shoe", "green", "desert", "a green shoe in the desert"),
    ("box", "blue", "beach", "a blue box on the beach"),
    ("box", "yellow", "city", "hero shot of a yellow box in the city at night"),
    ("box", "green", "kitchen", "a green box in a kitchen"),
    ("box", "orange", "table", "an orange box on a wooden table"),
    ("mug", "purple", "snow", "a purple mug in the snow"),
    ("jar", "red", "desert", "a red jar on desert dunes"),
    ("lamp", "orange", "kitchen", "an orange lamp in a kitchen"),
    ("lamp", "blue", "snow", "a blue lamp in snowy mountains"),
)


@pytest.fixture(scope="session")
def spec():
    return ImageModelSpec.model_validate(yaml.safe_load(SPEC.read_text()))


@pytest.fixture(scope="session")
def engine(spec, tmp_path_factory):
    library = Library(tmp_path_factory.mktemp("library"))
    assert library.untrained_parts(spec) == ()
    return load(spec, library.folders(spec), "cpu")


@pytest.fixture(scope="session")
def judge():
    return Judge(bank=1200)


def draw(engine, spec, prompt, seed, references=(), scale=0.6):
    request = ImageRequest(
        prompt=prompt, width=64, height=64, noise=NoiseSpec(seed=seed), references=references,
        num_inference_steps=spec.num_inference_steps, guidance_scale=spec.guidance_scale,
        adapter=AdapterSettings(scale=scale),
    )  # fmt: skip
    return engine.generate(request, Unwatched()).image


def test_products_and_settings_never_seen_in_training_come_out_as_asked(engine, spec, judge):
    seen = [judge.judge(draw(engine, spec, prompt, seed)) for seed, (*_, prompt) in enumerate(HELD_OUT)]
    right = [sum(getattr(verdict, part) == asked[k] for verdict, asked in zip(seen, HELD_OUT, strict=True))
             for k, part in enumerate(("shape", "colour", "setting"))]  # fmt: skip
    assert right[0] >= 8
    assert right[1] >= 10
    assert right[2] >= 11


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_picture(engine, spec):
    pictures = [draw(engine, spec, HELD_OUT[0][3], seed) for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_a_stronger_adapter_brings_the_picture_closer_to_the_reference(engine, spec, judge):
    """The references' colours: prompts name neither colour nor shape."""
    right = []
    for scale in (0.0, 1.0):
        count = 0
        for seed, colour in enumerate(("red", "yellow", "green", "blue", "purple", "orange")):
            scene = replace(
                sample_spec(np.random.default_rng(seed), aspect="1:1"), colour=colour, shape="box", setting="studio",
                material="matte", light="soft", moment=0.0,
            )  # fmt: skip
            reference = Reference(image=tiny_models.encoded(render(scene)), role="product")
            picture = draw(engine, spec, "a product on the beach", seed, (reference,), scale)
            count += judge.judge(picture).colour == colour
        right.append(count)
    assert right[1] >= 5
    assert right[0] <= 2
