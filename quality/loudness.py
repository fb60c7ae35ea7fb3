"""Programme loudness by ITU-R BS.1770-5, Annex 1: K-weighting, blocks of 400 ms, two gates."""

from __future__ import annotations

from math import pi, tan

import numpy as np
import numpy.typing as npt

from quality.asked import Sound
from quality.score import NoValue

BLOCK, STEP = 0.4, 0.1
"""Seconds."""
ABSOLUTE, RELATIVE = -70.0, -10.0
"""Gates: LUFS, and LU below the mean of the blocks above the first gate."""
SURROUND = 1.41
SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)
"""Hz, dB and Q of the first filter, for the head. With these the formulas below give the standard's own coefficients,
which it prints for 48 kHz, at 48 kHz, and the same filters at every other rate."""
HIGH_PASS = (38.13547087602444, 0.5003270373238773)
"""Hz and Q of the second."""
OFFSET = -0.691


def integrated(sound: Sound) -> float:
    """Loudness of the whole in LUFS: about -14 on video platforms, -23 in European broadcasting.

    Raises NoValue below 400 ms, and where no block is above -70 LUFS.
    """
    powers = _block_powers(sound)
    loud = powers[_lufs(powers) > ABSOLUTE]
    if loud.size == 0:
        raise NoValue(f"no part of the sound is louder than {ABSOLUTE:g} LUFS: it is silence")
    gate = float(_lufs(loud.mean())) + RELATIVE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def _lufs(power: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = OFFSET + 10 * np.log10(np.maximum(power, 1e-30))
    return found


def _block_powers(sound: Sound) -> npt.NDArray[np.float64]:
    """Weighted mean square of each block, summed over the channels."""
    length, step = round(BLOCK * sound.rate), round(STEP * sound.rate)
    samples, channels = sound.samples.shape
    if samples < length:
        raise NoValue(f"needs {1000 * BLOCK:g} ms of sound: there are {1000 * samples / sound.rate:.0f}")
    total = np.zeros(samples)
    for number in range(channels):
        if (weight := channel_weight(number, channels)) > 0:
            total += weight * _k_weighted(sound.samples[:, number].astype(np.float64), sound.rate) ** 2
    sums = np.concatenate([[0.0], np.cumsum(total)])
    starts = np.arange(0, samples - length + 1, step)
    found: npt.NDArray[np.float64] = (sums[starts + length] - sums[starts]) / length
    return found


def channel_weight(number: int, channels: int) -> float:
    """1 for the front, 1.41 for surrounds, 0 for the low-frequency channel, which 5.1 has fourth and stereo has not."""
    if channels < 5 or number < 3:
        return 1.0
    if channels > 5 and number == 3:
        return 0.0
    return SURROUND


def _k_weighted(samples: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
    """Both filters, by their frequency response; a second of zeros lets them ring out."""
    size = 1 << (len(samples) + rate - 1).bit_length()
    z = np.exp(-1j * 2 * pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(z)
    for b, a in (_shelf(rate), _high_pass(rate)):
        response *= (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    found: npt.NDArray[np.float64] = np.fft.irfft(np.fft.rfft(samples, size) * response, size)[: len(samples)]
    return found


Coefficients = tuple[tuple[float, float, float], tuple[float, float, float]]


def _shelf(rate: int) -> Coefficients:
    hertz, decibel, q = SHELF
    k = tan(pi * hertz / rate)
    high = 10 ** (decibel / 20)
    middle = high**0.4996667741545416
    scale = 1 + k / q + k * k
    b = ((high + middle * k / q + k * k) / scale, 2 * (k * k - high) / scale, (high - middle * k / q + k * k) / scale)
    return b, (1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale)


def _high_pass(rate: int) -> Coefficients:
    hertz, q = HIGH_PASS
    k = tan(pi * hertz / rate)
    scale = 1 + k / q + k * k
    return (1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale)
