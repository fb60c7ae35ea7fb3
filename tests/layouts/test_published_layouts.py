"""Every shipped description loads from the published layout of its weights, and makes one result with two references.

Widths are tiny and weights random; class names, file names, shards, variants, precisions and adapters are as published.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch

from configs.settings import load_model_specs
from models.interfaces import LoraUse, Unwatched
from models.registry import SERVED_FAMILY, load
from tests.layouts.published import make, publish, small
from tests.support import tiny_models
from tests.support.engine_calls import image_request, video_request

SPECS = load_model_specs()
FOREIGN = [
    name
    for name, spec in SPECS.items()
    if any(not source.repository.startswith("embedded:") for source in spec.weights.values())
]
PICTURES = [name for name in FOREIGN if SPECS[name].kind in ("image", "video")]


def described(name, dtype):
    return small(SPECS[name], **({} if dtype is None else {"dtype": dtype}))


@pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning")  # what diffusers' own SDXL call does
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")  # its Helios scheduler does
@pytest.mark.parametrize("dtype", ["float32", None], ids=["float32", "as described"])
@pytest.mark.parametrize("name", PICTURES)
def test_a_description_loads_and_makes_from_the_published_layout(name, dtype, tmp_path):
    spec = described(name, dtype)
    folders = publish(spec, tmp_path).folders(spec)
    pixels = make(load(spec, folders, "cpu"), spec)
    assert pixels.shape[-3:] == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 0


def test_the_pair_of_loras_that_wan_describes_loads_and_acts(tmp_path):
    spec = described("wan2.2-i2v-a14b", "float32")
    engine = load(spec, publish(spec, tmp_path).folders(spec), "cpu")
    plain, fast = (
        engine.generate(video_request(first_frame=tiny_models.png(1), loras=loras), Unwatched()).frames
        for loras in ((), (LoraUse(name="fast"),))
    )
    assert not np.array_equal(plain, fast)


@pytest.mark.parametrize("name", ["qwen-image", "qwen-image-edit-2511"])
def test_the_lora_of_four_steps_loads_acts_under_its_own_schedule_and_leaves_nothing(name, tmp_path):
    spec = described(name, "float32")
    engine: Any = load(spec, publish(spec, tmp_path).folders(spec), "cpu")

    def picture(*loras):
        return engine.generate(image_request(loras=loras), Unwatched()).image

    plain, shift = picture(), engine._pipeline.scheduler.config.max_shift
    fast, distilled = picture(LoraUse(name="fast")), engine._pipeline.scheduler.config
    assert (shift, distilled.max_shift, distilled.shift_terminal) == (0.9, pytest.approx(math.log(3)), None)
    assert not np.array_equal(plain, fast)
    assert np.array_equal(picture(), plain)


@pytest.mark.parametrize("dtype", ["float32", None], ids=["float32", "as described"])
def test_the_scorer_loads_and_embeds_from_the_published_layout(dtype, tmp_path):
    spec = SPECS["clip-vit-l-14"]
    spec = spec if dtype is None else spec.model_copy(update={"dtype": dtype})
    encoder: Any = load(spec, publish(spec, tmp_path).folders(spec), "cpu")
    vectors = encoder.features(torch.zeros((1, 3, 40, 60), dtype=torch.uint8))
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-3)


def test_what_this_tier_cannot_load_is_served_by_vllm_or_is_a_chat_model():
    """vLLM's vision models do not run on a CPU: those descriptions are checked by name alone."""
    left = {name for name in FOREIGN if name not in PICTURES and SPECS[name].kind != "scorer"}
    assert all(SPECS[name].family in (SERVED_FAMILY, "llava") for name in left)
