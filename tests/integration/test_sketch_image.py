"""The packaged image model means what it draws: the judge reads asked products back, references carry over."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from models.interfaces import AdapterSettings, ImageRequest, NoiseSpec, Reference, StartImage, Unwatched
from models.registry import load
from models.sketch.training.world import render_reference, sample_spec
from models.sketch.training.world.judge import Judge
from models.spec import ImageModelSpec
from models.weights import Library
from tests.support import tiny_models

SPEC = Path(__file__).parents[2] / "configs/models/sketch-image.yaml"
ASKED = ("shape", "colour", "setting", "time")
HELD_OUT = (  # combinations of product, colour and setting that no training has seen
    ("bottle", "blue", "desert", "noon", "a blue bottle on desert dunes at noon"),
    ("bottle", "pink", "kitchen", "morning", "a pink bottle on a kitchen counter in soft morning light"),
    ("shoe", "white", "city", "night", "product photo of a white shoe in the city at night, cinematic"),
    ("shoe", "green", "desert", "evening", "a green shoe in the desert at golden hour"),
    ("box", "blue", "beach", "noon", "a blue box on the beach in bright daylight"),
    ("box", "yellow", "city", "night", "hero shot of a yellow box in the city after dark"),
    ("box", "green", "kitchen", "morning", "a green box in a kitchen in the early morning"),
    ("box", "orange", "table", "evening", "an orange box on a wooden table in warm evening light"),
    ("mug", "purple", "snow", "noon", "a purple mug in the snow on a sunny day"),
    ("jar", "red", "desert", "night", "a red jar on desert dunes under the moon"),
    ("lamp", "orange", "kitchen", "evening", "an orange lamp in a kitchen in the evening"),
    ("lamp", "blue", "snow", "night", "a blue lamp in snowy mountains late at night"),
)
SIZES = ((128, 128), (96, 160), (160, 96))


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


def draw(engine, spec, prompt, seed, references=(), scale=0.6, size=(128, 128)):
    request = ImageRequest(
        prompt=prompt, width=size[0], height=size[1], noise=NoiseSpec(seed=seed), references=references,
        num_inference_steps=spec.num_inference_steps, guidance_scale=spec.guidance_scale,
        adapter=AdapterSettings(scale=scale),
    )  # fmt: skip
    return engine.generate(request, Unwatched()).image


def test_products_settings_and_hours_never_seen_in_training_come_out_as_asked(engine, spec, judge):
    seen = [
        judge.judge(draw(engine, spec, prompt, seed, size=SIZES[seed % 3]))
        for seed, (*_, prompt) in enumerate(HELD_OUT)
    ]
    right = {
        name: sum(getattr(verdict, name) == asked[k] for verdict, asked in zip(seen, HELD_OUT, strict=True))
        for k, name in enumerate(ASKED)
    }
    assert right["shape"] >= 10, right
    assert right["colour"] >= 11, right
    assert right["setting"] >= 11, right
    assert right["time"] >= 10, right


def test_the_same_seed_draws_the_same_bits_and_another_seed_another_picture(engine, spec):
    pictures = [draw(engine, spec, HELD_OUT[0][-1], seed) for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def product(seed, **changes):
    scene = replace(sample_spec(np.random.default_rng(seed), aspect="1:1"), moment=0.0, turn=0.0, **changes)
    return scene, Reference(
        image=tiny_models.encoded(render_reference(scene, np.random.default_rng(seed))), role="product"
    )


def test_a_stronger_adapter_brings_the_picture_closer_to_the_reference(engine, spec, judge):
    """What the references show: prompts name neither colour nor shape."""
    scenes = [
        product(seed, colour=colour, shape=shape, material="matte")
        for seed, (colour, shape) in enumerate(
            (
                ("red", "mug"),
                ("yellow", "bottle"),
                ("green", "jar"),
                ("blue", "shoe"),
                ("purple", "box"),
                ("orange", "lamp"),
            )
        )
    ]
    right = {}
    for scale in (0.0, 1.0):
        seen = [
            (scene, judge.judge(draw(engine, spec, "a product on the beach", seed, (reference,), scale)))
            for seed, (scene, reference) in enumerate(scenes)
        ]
        right[scale] = [sum(getattr(v, name) == getattr(s, name) for s, v in seen) for name in ("colour", "shape")]
    assert min(right[1.0]) >= 5, right
    assert max(right[0.0]) <= 3, right


def test_a_product_at_the_end_of_a_portrait_is_seen_whole(engine, spec, judge):
    """References condition as the encoder's own preprocessing says: squeezed, never cut to their central square."""
    colours = ("red", "blue", "green", "purple")
    right = 0
    for seed, colour in enumerate(colours):
        scene, _ = product(seed, colour=colour, shape="box", material="matte")
        photograph = render_reference(scene, np.random.default_rng(seed))
        portrait = Image.new("RGB", (128, 256), photograph.getpixel((2, 2)))
        portrait.paste(photograph, (0, 128))
        reference = Reference(image=tiny_models.encoded(portrait), role="product")
        right += judge.judge(draw(engine, spec, "a product on the beach", seed, (reference,), 1.0)).colour == colour
    assert right >= 3


def with_ends(ends, width, height):
    """White, with a red square in its middle, and other first and last fifths along the longer side."""
    picture = np.full((height, width, 3), 255, np.uint8)
    middle = np.s_[height // 2 - 30 : height // 2 + 30, width // 2 - 30 : width // 2 + 30]
    picture[middle] = (220, 20, 20)
    along = picture if height >= width else picture.transpose(1, 0, 2)
    along[: len(along) // 5] = along[-(len(along) // 5) :] = ends
    return Reference(image=tiny_models.encoded(Image.fromarray(picture)), role="product")


@pytest.mark.parametrize(("width", "height"), [(400, 100), (100, 178)])
def test_the_whole_of_a_photo_conditions_and_not_its_central_square(engine, spec, width, height):
    white, blue = (
        draw(engine, spec, "a bottle", 3, (with_ends(ends, width, height),), scale=1.0)
        for ends in ((255, 255, 255), (20, 20, 220))
    )
    assert not np.array_equal(white, blue)


def test_an_edit_shows_the_whole_picture_and_says_what_surrounds_it(engine, spec):
    wide = np.full((100, 320, 3), (20, 160, 20), np.uint8)
    wide[:, :64] = wide[:, -64:] = (20, 20, 220)
    start = StartImage(image=tiny_models.encoded(Image.fromarray(wide)), strength=0.1)
    request = ImageRequest(
        prompt="a bottle", width=160, height=96, noise=NoiseSpec(seed=1), start=start, num_inference_steps=10,
        guidance_scale=spec.guidance_scale,
    )  # fmt: skip
    result = engine.generate(request, Unwatched())
    inside = result.image[24:72].astype(int)
    assert ((inside[..., 2] > 130) & (inside[..., 0] < 110)).mean() == pytest.approx(0.4, abs=0.08)
    assert "the image is 320x100 and lies whole in the middle of 160x96" in result.notes[0]
