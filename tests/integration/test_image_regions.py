"""A mask keeps the references of a picture to a region, on tiny real weights and at sizes whose halves leave a rest."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.diffusion.references import Region
from models.errors import InvalidRequest
from models.interfaces import AdapterSettings, EncodedImage, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import image_request, reference

SIZES = [(64, 64), (80, 48), (72, 104)]
"""Latents of 8x8, 10x6 and 9x13: the last two are halved with a rest."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_models.image_folders("stable-diffusion", tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="module")
def engine(folders):
    spec = tiny_models.image_spec("stable-diffusion").model_copy(update={"reference_mask": True, "batch_pixels": 10**6})
    return load(spec, folders, "cpu")


def flat(grey, size=(64, 64)):
    return tiny_models.encoded(Image.new("L", size, grey))


def request(mask=None, size=(64, 64), references=1):
    return image_request(
        width=size[0], height=size[1], num_inference_steps=2, adapter=AdapterSettings(scale=1.0, mask=mask),
        references=tuple(reference(seed) for seed in range(references)),
    )  # fmt: skip


def generate(engine, *args, **kwargs):
    return engine.generate(request(*args, **kwargs), Unwatched()).image.astype(int)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("references", [1, 3])
def test_a_white_mask_is_no_mask_and_a_black_one_no_reference(engine, size, references):
    everywhere, nowhere = (generate(engine, flat(grey, size), size, references) for grey in (255, 0))
    assert np.abs(everywhere - generate(engine, None, size, references)).max() <= 1
    assert np.abs(nowhere - generate(engine, None, size, 0)).max() <= 1
    assert np.abs(everywhere - nowhere).max() > 1


@pytest.mark.parametrize("size", SIZES)
def test_references_act_where_the_mask_is_white(engine, size):
    middle = size[0] // 2
    changed = np.abs(generate(engine, tiny_models.half_mask(*size), size) - generate(engine, None, size, 0))
    assert changed[:, middle:].mean() > changed[:, :middle].mean()


class MasksOfALayer(nn.Module):
    def forward(self, hidden_states, ip_adapter_masks=None):
        return ip_adapter_masks


@pytest.mark.parametrize(("columns", "rows"), [(10, 6), (5, 3), (3, 2), (2, 1), (1, 1)])
def test_every_layer_gets_the_mask_in_its_own_size(columns, rows):
    layer = MasksOfALayer()
    region = Region([layer], slots=3)
    region.keep_to(tiny_models.half_mask(80, 48), 80, 48, 8)
    queries = torch.zeros(2, rows * columns, 4)
    one, *others = layer(queries)
    assert (one.shape, len(others)) == ((1, 1, 1, rows * columns), 2)
    assert one.mean() == pytest.approx(0.5, abs=0.01)
    folded = one.reshape(rows, columns)
    assert columns == 1 or (folded[:, 0].max() == 0 and folded[:, -1].min() == 1)
    region.forget()
    assert layer(queries) is None


def test_a_layer_whose_places_no_halving_gives_is_refused_by_a_sentence():
    layer = MasksOfALayer()
    region = Region([layer], slots=1)
    region.keep_to(tiny_models.half_mask(80, 48), 80, 48, 8)
    with pytest.raises(InvalidRequest, match=r"looks at 7 places, and halving this picture gives 60, 15, 6, 2, 1"):
        layer(torch.zeros(2, 7, 4))


def test_a_mask_does_not_reach_the_next_call(engine):
    before = generate(engine)
    generate(engine, tiny_models.half_mask())
    assert np.array_equal(generate(engine), before)


def test_requests_share_a_batch_only_under_the_same_mask(engine):
    left, right = request(flat(200)), request(flat(100))
    assert engine.batch_key(left) == engine.batch_key(request(flat(200)))
    assert len({engine.batch_key(each) for each in (left, right, request())}) == 3
    (together, _) = engine.generate_batch([left, left], [Unwatched(), Unwatched()])
    assert np.abs(together.image.astype(int) - generate(engine, flat(200))).max() <= 1


def test_a_mask_that_cannot_be_read_is_refused_and_leaves_nothing_behind(engine):
    before = generate(engine)
    with pytest.raises(InvalidRequest, match="the mask of the references cannot be decoded"):
        generate(engine, EncodedImage(data=b"x"))
    assert np.array_equal(generate(engine), before)


def test_a_model_that_keeps_references_to_no_region_refuses_a_mask(folders):
    plain = load(tiny_models.image_spec("stable-diffusion"), folders, "cpu")
    with pytest.raises(InvalidRequest, match="cannot keep its references to a region"):
        generate(plain, flat(255))
