"""Out of memory: a real VAE asks the real allocator for more than there is, once or always."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from models.diffusion.memory import SECOND_TRY, is_out_of_memory
from models.errors import InferenceFailed, OutOfMemory
from models.interfaces import ImageResult, NoiseSpec, Unwatched
from models.registry import load
from tests.support import tiny_models
from tests.support.engine_calls import image_request, reference

TOO_MUCH = 2**50


def request(**changes):
    return image_request(**{"num_inference_steps": 2, "references": (reference(1),)} | changes)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folders = tiny_models.image_folders("stable-diffusion", tmp_path_factory.mktemp("sd"))
    spec = tiny_models.image_spec("stable-diffusion").model_copy(update={"batch_pixels": 4 * 64 * 64})
    return load(spec, folders, "cpu")


@contextmanager
def scarce(engine, fits):
    """While it lasts, a decode for which `fits(latents, vae)` is false asks for a petabyte."""
    vae, calls = engine._pipeline.vae, []
    decode = vae.decode

    def try_to_decode(latents, **options):
        calls.append(tuple(latents.shape))
        if not fits(latents, vae):
            torch.empty(TOO_MUCH)
        return decode(latents, **options)

    vae.decode = try_to_decode
    try:
        yield calls
    finally:
        del vae.decode


def test_a_call_that_finds_no_memory_is_made_again_in_tiles_and_says_so(engine):
    plain = engine.generate(request(), Unwatched())
    with scarce(engine, lambda latents, vae: vae.use_tiling and vae.use_slicing) as calls:
        result = engine.generate(request(), Unwatched())
    assert len(calls) == 2
    assert result.notes == (SECOND_TRY,)
    assert np.array_equal(result.image, plain.image)  # one tile: this size needs no more
    vae = engine._pipeline.vae
    assert not vae.use_tiling
    assert not vae.use_slicing


def test_embeddings_are_forgotten_to_make_room(engine):
    engine.generate(request(), Unwatched())
    misses = engine.stats()["references"]["misses"]
    with scarce(engine, lambda latents, vae: vae.use_tiling):
        engine.generate(request(), Unwatched())
    assert engine.stats()["references"]["misses"] == misses + 1


def test_a_second_failure_names_the_size_and_the_remedy_and_the_next_call_is_served(engine):
    plain = engine.generate(request(), Unwatched())
    with scarce(engine, lambda latents, vae: False) as calls, pytest.raises(OutOfMemory) as failed:
        engine.generate(request(), Unwatched())
    assert len(calls) == 2
    assert "no room for 1 image of 64x64" in str(failed.value)
    assert "smaller size" in str(failed.value)
    assert np.array_equal(engine.generate(request(), Unwatched()).image, plain.image)


def test_a_failed_call_leaves_no_tensor_behind_in_its_error(engine):
    with scarce(engine, lambda latents, vae: False), pytest.raises(OutOfMemory) as failed:
        engine.generate(request(), Unwatched())
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


def test_a_deterministic_call_keeps_its_bits_on_the_second_try(engine):
    tries = []
    plain = engine.generate(request(deterministic=True), Unwatched())

    def fits(latents, vae):
        tries.append(vae.use_tiling)
        return len(tries) > 1

    with scarce(engine, fits):
        result = engine.generate(request(deterministic=True), Unwatched())
    assert tries == [False, False]
    assert np.array_equal(result.image, plain.image)


def test_a_batch_that_does_not_fit_is_made_one_by_one(engine):
    requests = [request(noise=NoiseSpec(seed=seed)) for seed in range(3)]
    alone = [engine.generate(one, Unwatched()) for one in requests]
    with scarce(engine, lambda latents, vae: len(latents) == 1) as calls:
        outcomes = engine.generate_batch(requests, [Unwatched()] * 3)
    assert [shape[0] for shape in calls] == [3, 1, 1, 1]
    for outcome, expected in zip(outcomes, alone, strict=True):
        assert np.array_equal(outcome.image, expected.image)
        assert outcome.notes == (SECOND_TRY,)


def test_an_item_that_does_not_even_fit_alone_fails_alone(engine):
    decoded = []

    def fits(latents, vae):
        decoded.append(len(latents))
        return len(latents) == 1 and decoded.count(1) != 2

    with scarce(engine, fits):
        outcomes = engine.generate_batch([request()] * 3, [Unwatched()] * 3)
    assert [type(outcome) for outcome in outcomes] == [ImageResult, OutOfMemory, ImageResult]


def test_another_failure_of_torch_is_no_lack_of_memory(engine):
    with scarce(engine, lambda latents, vae: torch.ones(2) @ torch.ones(3)) as calls, pytest.raises(InferenceFailed):
        engine.generate(request(), Unwatched())
    assert len(calls) == 1


@pytest.mark.parametrize(("error", "is_it"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    (RuntimeError("CUDA error: out of memory"), True),
    (MemoryError(), True),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False),
])  # fmt: skip
def test_the_ways_of_saying_it_are_known(error, is_it):
    assert is_out_of_memory(error) is is_it


def test_the_allocator_of_this_machine_is_understood():
    with pytest.raises(RuntimeError) as failed:
        torch.empty(TOO_MUCH)
    assert is_out_of_memory(failed.value)
