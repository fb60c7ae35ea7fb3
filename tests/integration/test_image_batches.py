"""Batches on tiny real weights: each item is what it is alone, and what befalls one leaves the others alone."""

import numpy as np
import pytest

from models.errors import Cancelled, InvalidRequest
from models.interfaces import (
    AdapterSettings,
    EncodedImage,
    ImageResult,
    Inpaint,
    NoiseSpec,
    Reference,
    StartImage,
    Unwatched,
)
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import StopAt, image_request

ROUNDING = 2
"""Levels of 255 that a pixel may differ by: another shape sums in another order."""


def request(**changes):
    return image_request(**{"negative_prompt": "blurry"} | changes)


def spec_of(family, **changes):
    return tiny_models.image_spec(family).model_copy(update={"batch_pixels": 8 * 64 * 64} | changes)


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folders(family, tmp_path_factory):
    return tiny_models.image_folders(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def engine(family, folders):
    return load(spec_of(family), folders, "cpu")


def together(engine, requests, watchers=None):
    return engine.generate_batch(requests, watchers or [Unwatched() for _ in requests])


def difference(one, other):
    """The most that a pixel differs."""
    return np.abs(one.image.astype(int) - other.image.astype(int)).max()


def assert_as_alone(engine, requests, outcomes):
    for one, outcome in zip(requests, outcomes, strict=True):
        alone = engine.generate(one, Unwatched())
        assert isinstance(outcome, ImageResult), outcome
        assert outcome.noise_sha256 == alone.noise_sha256
        assert difference(outcome, alone) <= ROUNDING


def different(count):
    colours = ["red", "blue", "green"]
    return [
        request(prompt=f"a {colours[n % 3]} bottle", negative_prompt="" if n == 1 else "dark", noise=NoiseSpec(seed=n))
        for n in range(count)
    ]


def test_each_item_is_as_alone_with_its_own_noise_prompt_and_negative_prompt(engine):
    requests = different(3)
    outcomes = together(engine, requests)
    assert_as_alone(engine, requests, outcomes)
    assert difference(outcomes[0], outcomes[1]) > 10 * ROUNDING


def test_each_item_has_its_own_references(engine):
    def with_reference(seed, picture):
        references = (
            Reference(image=tiny_models.png(picture), role="product"),
            Reference(image=tiny_models.png(picture + 1), role="style", weight=0.5),
        )
        return request(noise=NoiseSpec(seed=seed), references=references)

    requests = [with_reference(1, 5), with_reference(1, 7), with_reference(2, 5)]
    outcomes = together(engine, requests)
    assert_as_alone(engine, requests, outcomes)
    assert difference(outcomes[0], outcomes[1]) > 10 * ROUNDING


def test_items_without_guidance_are_as_alone(engine):
    requests = [one.model_copy(update={"guidance_scale": 1.0}) for one in different(2)]
    assert_as_alone(engine, requests, together(engine, requests))


def test_a_scheduler_that_adds_noise_draws_each_item_its_own(family, folders):
    spec = spec_of(family, scheduler={"class": "EulerAncestralDiscreteScheduler"})
    engine = load(spec, folders, "cpu")
    requests = different(2)
    assert_as_alone(engine, requests, together(engine, requests))


def test_notes_and_kept_latents_are_per_item(engine):
    long = request(prompt="a bottle " * 60)
    first, second = together(engine, [long, request(keep_latents=True)])
    assert "shorten" in first.notes[0]
    assert second.notes == ()
    assert first.latents is None
    assert second.latents


def test_a_cancelled_item_ends_alone_and_the_others_finish(engine):
    requests = different(3)
    watchers = [StopAt(), StopAt(2), StopAt()]
    outcomes = together(engine, requests, watchers)
    assert isinstance(outcomes[1], Cancelled)
    assert watchers[1].reports[-1] == (2, 4)
    assert watchers[0].reports == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert_as_alone(engine, [requests[0], requests[2]], [outcomes[0], outcomes[2]])


def test_a_batch_of_cancelled_items_stops_at_that_step(engine):
    watchers = [StopAt(1), StopAt(2)]
    outcomes = together(engine, different(2), watchers)
    assert [type(outcome) for outcome in outcomes] == [Cancelled, Cancelled]
    assert watchers[1].reports[-1] == (2, 4)
    assert_as_alone(engine, [request()], together(engine, [request()]))


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 60}, "multiples of 8"),
    ({"references": (Reference(image=EncodedImage(data=b"no image"), role="product"),)}, "reference 1 cannot be"),
    ({"width": 6400, "height": 6400}, "takes at most 16384"),
])  # fmt: skip
def test_an_invalid_item_does_not_spoil_the_others(engine, changes, message):
    references = (Reference(image=tiny_models.png(1), role="product"),) if "references" in changes else ()
    good = [request(noise=NoiseSpec(seed=seed), references=references) for seed in (1, 2)]
    outcomes = together(engine, [good[0], request(**changes), good[1]])
    assert isinstance(outcomes[1], InvalidRequest)
    assert message in str(outcomes[1])
    assert_as_alone(engine, good, [outcomes[0], outcomes[2]])


def test_a_batch_in_which_nothing_is_valid_runs_nothing(engine):
    watcher = StopAt()
    assert [type(outcome) for outcome in together(engine, [request(width=60)], [watcher])] == [InvalidRequest]
    assert watcher.reports == []


@pytest.mark.parametrize("changes", [
    {"width": 96}, {"num_inference_steps": 5}, {"guidance_scale": 5.0},
    {"references": (Reference(image=tiny_models.png(1), role="product"),)},
])  # fmt: skip
def test_requests_of_different_keys_never_share_a_batch(engine, changes):
    assert engine.batch_key(request()) != engine.batch_key(request(**changes))
    with pytest.raises(ValueError, match="cannot share a batch"):
        together(engine, [request(), request(**changes)])


def test_what_an_item_brings_for_itself_does_not_change_its_key(engine):
    reference = Reference(image=tiny_models.png(1), role="product")
    other = Reference(image=tiny_models.png(2), role="product")
    key = engine.batch_key(request(references=(reference,)))
    assert key == engine.batch_key(
        request(references=(other,), prompt="x", negative_prompt="y", noise=NoiseSpec(seed=9), keep_latents=True)
    )
    weaker = reference.model_copy(update={"weight": 0.5})
    assert key != engine.batch_key(request(references=(weaker,)))
    assert key != engine.batch_key(request(references=(reference,), adapter=AdapterSettings(scale=0.1)))
    assert engine.batch_key(request(adapter=AdapterSettings(scale=0.1))) == engine.batch_key(request())


@pytest.mark.parametrize("changes", [
    {"deterministic": True}, {"start": StartImage(image=tiny_models.png(1), strength=0.5)},
    {"inpaint": Inpaint(image=tiny_models.png(1), mask=tiny_models.half_mask())},
])  # fmt: skip
def test_deterministic_and_started_requests_run_alone(engine, changes):
    assert engine.batch_key(request(**changes)) is None
    with pytest.raises(ValueError, match="cannot share a batch"):
        together(engine, [request(**changes), request(**changes)])
    (outcome,) = together(engine, [request(**changes)])
    assert np.array_equal(outcome.image, engine.generate(request(**changes), Unwatched()).image)


def test_a_model_without_batches_gives_no_keys(family, folders):
    assert load(spec_of(family, batch_pixels=0), folders, "cpu").batch_key(request()) is None


def test_an_invalid_request_has_no_key(engine):
    with pytest.raises(InvalidRequest, match="multiples of 8"):
        engine.batch_key(request(width=60))


def test_hits_and_misses_of_remembered_embeddings_are_counted(family, folders):
    engine = load(spec_of(family), folders, "cpu")
    reference = Reference(image=tiny_models.png(1), role="product")
    for _ in range(2):
        engine.generate(request(references=(reference,)), Unwatched())
    assert engine.stats() == {
        "texts": {"hits": 2, "misses": 2, "entries": 2},
        "references": {"hits": 1, "misses": 1, "entries": 1},
    }
