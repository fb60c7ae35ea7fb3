"""Start noise: variance, correlation, bit-equality, and independence of frames, batch and threads."""

import hashlib

import numpy as np
import pytest
import torch

from models.diffusion.noise import draw, draw_batch, noise_sha256, shared_correlation, step_generator
from models.interfaces import NoiseSpec

BIG = (4, 160, 160)  # 102,400 values: the standard error of a correlation is 0.003


def correlation(one, other):
    return float(np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1])


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
def test_scenes_correlate_by_the_shared_strength_and_keep_unit_variance(strength):
    one, other = (draw(NoiseSpec(seed=s, shared_seed=9, shared_strength=strength), *BIG) for s in (1, 2))
    assert abs(correlation(one, other) - strength) < 0.02
    for noise in (one, other):
        assert abs(float(noise.std()) - 1) < 0.01
        assert abs(float(noise.mean())) < 0.02


def test_noise_correlates_with_the_shared_noise_by_the_root_of_the_strength():
    noise = draw(NoiseSpec(seed=1, shared_seed=9, shared_strength=0.25), *BIG)
    assert abs(correlation(noise, draw(NoiseSpec(seed=9), *BIG)) - 0.5) < 0.02


def test_equal_scene_and_shared_seed_keep_unit_variance():
    noise = draw(NoiseSpec(seed=9, shared_seed=9, shared_strength=0.5), *BIG)
    assert torch.equal(noise, draw(NoiseSpec(seed=9), *BIG))


def test_the_same_spec_gives_the_same_bits_and_another_seed_other_bits():
    spec = NoiseSpec(seed=5, shared_seed=6, shared_strength=0.3)
    assert torch.equal(draw(spec, 4, 8, 12), draw(spec, 4, 8, 12))
    assert not torch.equal(draw(spec, 4, 8, 12), draw(spec.model_copy(update={"seed": 7}), 4, 8, 12))


def test_seeds_that_differ_only_above_bit_32_give_other_noise():
    assert not torch.equal(draw(NoiseSpec(seed=1), 4, 8, 8), draw(NoiseSpec(seed=1 + 2**32), 4, 8, 8))


def test_an_item_of_a_batch_is_bit_equal_to_the_item_alone():
    specs = [NoiseSpec(seed=s, shared_seed=50, shared_strength=0.4) for s in range(5)]
    for frames in (None, 3):
        batch = draw_batch(specs, 4, 8, 12, frames)
        for k, spec in enumerate(specs):
            assert torch.equal(batch[k], draw(spec, 4, 8, 12, frames))


def test_a_longer_clip_begins_with_the_noise_of_a_shorter_one():
    spec = NoiseSpec(seed=3, shared_seed=4, shared_strength=0.5)
    short, long = draw(spec, 4, 6, 10, frames=8), draw(spec, 4, 6, 10, frames=16)
    assert short.shape == (4, 8, 6, 10)
    assert torch.equal(long[:, :8], short)


def test_the_first_frame_is_the_noise_of_the_still():
    spec = NoiseSpec(seed=3, shared_seed=4, shared_strength=0.5)
    assert torch.equal(draw(spec, 4, 6, 10, frames=4)[:, 0], draw(spec, 4, 6, 10))


def test_frames_are_independent():
    noise = draw(NoiseSpec(seed=3), *BIG, frames=2)
    assert abs(correlation(noise[:, 0], noise[:, 1])) < 0.02


def test_noise_does_not_depend_on_the_thread_count_or_the_global_seed():
    spec = NoiseSpec(seed=11, shared_seed=12, shared_strength=0.25)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        one = draw(spec, 4, 64, 64)
        torch.set_num_threads(2)
        torch.manual_seed(1)
        two = draw(spec, 4, 64, 64)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)


def test_the_hash_is_that_of_little_endian_float32_bytes():
    noise = draw(NoiseSpec(seed=1), 1, 2, 2)
    assert noise_sha256(noise) == hashlib.sha256(noise.numpy().astype("<f4").tobytes()).hexdigest()
    assert noise_sha256(noise) == noise_sha256(noise[None])
    assert noise_sha256(noise) != noise_sha256(-noise)


def test_a_spec_keeps_its_values_across_versions():
    # To 1e-4 only: PyTorch's scalar and vector paths of the normal draw differ in the last bits.
    noise = draw(NoiseSpec(seed=7, shared_seed=8, shared_strength=0.25), 4, 8, 8)
    assert noise.flatten()[:4].tolist() == pytest.approx([-2.23518, -0.00985, 1.61378, 0.94198], abs=1e-4)


def test_step_noise_is_reproducible_and_apart_from_the_start_noise():
    spec = NoiseSpec(seed=0, shared_seed=0)
    one = torch.randn(4, 8, 8, generator=step_generator(spec))
    assert torch.equal(one, torch.randn(4, 8, 8, generator=step_generator(spec)))
    assert not torch.equal(one, draw(spec, 4, 8, 8))


def split(seed, cutoff, strength=1.0):
    return NoiseSpec(seed=seed, shared_seed=9, shared_strength=strength, shared_cutoff=cutoff)


@pytest.mark.parametrize(
    ("cutoff", "correlation_of_full_share"), [(0.0, 0.0), (0.1, 0.035), (0.25, 0.217), (0.5, 0.746)]
)
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_noise_shared_below_a_cutoff_has_unit_variance_and_the_stated_correlation(
    cutoff, correlation_of_full_share, strength
):
    one, other = (draw(split(seed, cutoff, strength), *BIG) for seed in (1, 2))
    stated = shared_correlation(split(1, cutoff, strength), *BIG[1:])
    assert stated == pytest.approx(strength * correlation_of_full_share, abs=0.005)
    assert abs(correlation(one, other) - stated) < 0.02
    for noise in (one, other):
        assert abs(float(noise.std()) - 1) < 0.01
        assert abs(float(noise.mean())) < 0.02


def test_two_scenes_agree_below_the_cutoff_and_not_above_it_and_their_noise_stays_white():
    one, other = (torch.fft.fft2(draw(split(seed, 0.2), *BIG)) for seed in (1, 2))
    radius = torch.hypot(torch.fft.fftfreq(BIG[1])[:, None], torch.fft.fftfreq(BIG[2]))
    cells = BIG[1] * BIG[2]
    for low, high, agreement in ((0.01, 0.1, 1.0), (0.19, 0.21, 0.5), (0.4, 0.7, 0.0)):
        band = (radius >= low) & (radius < high)
        for spectrum in (one, other):
            assert float((spectrum[:, band].abs() ** 2).mean() / cells) == pytest.approx(1.0, abs=0.06)
        product = (one[:, band] * other[:, band].conj()).real.mean() / cells
        assert float(product) == pytest.approx(agreement, abs=0.06)


def test_a_clip_shares_low_frequencies_frame_by_frame():
    short, long = draw(split(3, 0.2), 4, 6, 10, frames=4), draw(split(3, 0.2), 4, 6, 10, frames=8)
    assert torch.equal(long[:, :4], short)
    assert torch.equal(short[:, 0], draw(split(3, 0.2), 4, 6, 10))


def test_without_a_cutoff_or_with_nothing_shared_the_noise_is_bit_for_bit_what_it_was():
    plain = NoiseSpec(seed=5, shared_seed=6, shared_strength=0.3)
    assert "shared_cutoff" not in plain.model_dump()
    assert shared_correlation(plain, 8, 12) == 0.3
    nothing = plain.model_copy(update={"shared_strength": 0.0, "shared_cutoff": 0.2})
    assert torch.equal(draw(nothing, 4, 8, 12), draw(NoiseSpec(seed=5), 4, 8, 12))
