"""The packaged CLIP model as scorer: it tells what it was trained to tell, on what no training has seen."""

import numpy as np
import pytest
import torch

from configs.settings import load_model
from models.errors import WeightsError
from models.registry import load
from models.sketch.training.world import caption, render, sample_spec
from models.spec import ScorerModelSpec
from models.weights import Library
from quality.engine import measure
from quality.stream import Shot

PAIRS = 24


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    spec = load_model("sketch-clip", ScorerModelSpec)
    return load(spec, Library(tmp_path_factory.mktemp("library")).folders(spec), "cpu")


@pytest.fixture(scope="module")
def world():
    """Pictures that training did not see, and what each shows in words."""
    rng = np.random.default_rng(7)
    specs = [sample_spec(rng, "heldout", "1:1") for _ in range(PAIRS)]
    return [np.asarray(render(spec)) for spec in specs], [caption(spec, named=1.0) for spec in specs]


def seen(encoder, pictures):
    return encoder.features(torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()))


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(encoder, world):
    pictures, _ = world
    together, alone = seen(encoder, pictures), seen(encoder, pictures[:1])
    assert together.shape[0] == PAIRS
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(PAIRS), abs=1e-5)
    assert together[0] == pytest.approx(alone[0], abs=1e-4)


def test_a_picture_is_nearer_to_its_own_words_than_to_those_of_others(encoder, world):
    pictures, captions = world
    texts = np.stack([encoder.text(text)[0] for text in captions])
    cosines = seen(encoder, pictures) @ texts.T
    own, others = np.diag(cosines), cosines[~np.eye(PAIRS, dtype=bool)].reshape(PAIRS, -1)
    assert (own > others.mean(axis=1)).mean() > 0.9
    assert own.mean() > others.mean() + 0.2


def test_alignment_tells_the_asked_product_from_another(encoder, world):
    pictures, captions = world

    def aligned(prompt):
        shot = Shot(prompt=prompt, backbones={"clip": encoder})
        (score,) = measure(["keyframe_alignment"], pictures[:1], shot)
        assert (score.metric_id, score.fidelity, score.backbone) == ("toy.keyframe_alignment", "toy", "sketch-clip")
        return score.raw

    assert aligned(captions[0]) > np.mean([aligned(text) for text in captions[1:]])


def test_a_text_beyond_the_model_is_cut_and_told(encoder):
    assert encoder.text("a red bottle")[1] is False
    assert encoder.text("a red bottle " * 40)[1] is True


def test_a_folder_that_is_no_clip_model_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(
        '{"repository": "x", "revision": "1", "files": {"model.safetensors": {"size": 0, "sha256": "0"}}}'
    )
    with pytest.raises(WeightsError, match="sketch-clip"):
        load(load_model("sketch-clip", ScorerModelSpec), {"main": tmp_path}, "cpu")
