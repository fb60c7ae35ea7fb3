"""How many pixels one request may ask for: known before anything is queued or loaded."""

import pytest

from models.errors import InvalidRequest
from models.spec import ImageModelSpec, LoraSource, VideoModelSpec, lora_part
from tests.support import tiny_clips, tiny_models

SIZES = {"1:1": (64, 64), "16:9": (160, 96)}


def image(**changes):
    return ImageModelSpec.model_validate(
        tiny_models.image_spec("stable-diffusion").model_dump() | {"sizes": SIZES} | changes
    )


def video(**changes):
    return VideoModelSpec.model_validate(tiny_clips.video_spec("wan").model_dump() | {"sizes": SIZES} | changes)


def test_the_budget_is_four_times_the_largest_default_size_and_length():
    assert image().pixel_budget() == 4 * 160 * 96
    assert video(max_frames=10).pixel_budget() == 4 * 160 * 96 * 10


def test_the_description_may_set_another_budget():
    assert image(max_pixels=5000).pixel_budget() == 5000
    assert video(max_pixels=5000).pixel_budget() == 5000


def test_what_is_within_the_budget_passes_and_one_more_pixel_is_refused_with_the_limit():
    spec = video(max_pixels=64 * 64 * 8)
    spec.check_pixels(64, 64, 8)
    with pytest.raises(InvalidRequest, match=r"64x64 x 9 frames is 36864 pixels.*'tiny-wan' takes at most 32768"):
        spec.check_pixels(64, 64, 9)
    with pytest.raises(InvalidRequest, match=r"^256x256 is 65536 pixels.*smaller size$"):
        image(max_pixels=65535).check_pixels(256, 256)


def test_loras_are_parts_like_the_other_weights():
    source = LoraSource(repository="owner/neon", revision="0" * 40)
    spec = image(weights={"main": source}, loras={"neon": source})
    assert list(spec.parts()) == ["main", lora_part("neon")]
