"""Sounds without a recording: a voice, by pulses of a glottis through resonators (Klatt, 1980), and music."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]
RATE = 16_000
VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (440, 1020, 2240),
)
"""The first three formants of men in Hz, by Peterson and Barney (1952)."""
WIDTHS = (80, 90, 120)


CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
"""Semitones above the key."""


def _resonated(source: Wave, hertz: Wave, width: float) -> Wave:
    """`source` through a resonator whose middle may move: one frequency per sample."""
    radius = np.exp(-np.pi * width / RATE)
    back = 2 * radius * np.cos(2 * np.pi * hertz / RATE)
    gain = 1 - back + radius**2
    out, one, two = np.empty_like(source), 0.0, 0.0
    for place, (drive, b, g) in enumerate(zip(source.tolist(), back.tolist(), gain.tolist(), strict=True)):
        one, two = g * drive + b * one - radius**2 * two, one
        out[place] = one
    return out


def _at_half(sound: Wave) -> npt.NDArray[np.float32]:
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


def babble(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Syllables of a consonant and a vowel, some hiss, with the melody of a sentence: (samples,) at RATE, -1..1."""
    draw = np.random.default_rng(seed)
    count = round(seconds * RATE)
    syllable = 0.2 + 0.06 * draw.random(round(seconds / 0.2) + 2)
    starts = np.r_[0, np.cumsum(syllable)]
    time = np.arange(count) / RATE
    number = np.searchsorted(starts, time, side="right") - 1
    inside = (time - starts[number]) / syllable[number]
    pitch = 120 * (1.15 - 0.3 * (time % 2.2) / 2.2) * (1 + 0.04 * np.sin(2 * np.pi * 2.3 * time))
    phase = np.cumsum(pitch / RATE) % 1
    pulse = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    voiced = np.diff(pulse, prepend=0.0) * np.clip(np.minimum((inside - 0.25) * 8, (1 - inside) * 6), 0, 1)
    kinds = draw.integers(0, len(VOWELS), len(starts))
    sound = voiced
    for formant, width in enumerate(WIDTHS):
        targets = np.array([VOWELS[kind][formant] for kind in kinds], float)
        path = np.interp(time, starts + 0.1, targets)
        sound = _resonated(sound, path, width)
    hiss = np.diff(draw.normal(0, 1, count), prepend=0.0) * np.clip(1 - np.abs(inside - 0.12) * 10, 0, 1)
    sound = sound / np.abs(sound).max() + 0.06 * hiss * (draw.random(len(starts))[number] < 0.5)
    return _at_half(sound)


def music(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Chords, a bass, a plucked or a held melody and drums, in a key and tempo of its own: as `babble`."""
    draw = np.random.default_rng(seed)
    beat, key, brightness = draw.uniform(0.35, 0.65), draw.uniform(110, 220), draw.uniform(0.8, 2.0)
    held = draw.random() < 0.5
    sound = np.zeros(round(seconds * RATE) + 4 * RATE)

    def note(start: float, length: float, semitones: int, loud: float, decay: float) -> None:
        time = np.arange(round(length * RATE)) / RATE
        hertz = key * 2 ** (semitones / 12)
        wave = sum(np.sin(2 * np.pi * hertz * k * time) / k**brightness for k in range(1, int(7000 // hertz) + 1))
        shape = np.minimum(1, np.minimum(time / 0.01, (length - time) / 0.03)) * np.exp(-decay * time)
        at = round(start * RATE)
        sound[at : at + len(time)] += loud * shape * wave

    for number in range(int(seconds / beat)):
        start, chord = number * beat, CHORDS[number // 4 % len(CHORDS)]
        if number % 4 == 0:
            for semitones in chord:
                note(start, 4 * beat, semitones, 0.25, 0.5)
        note(start, beat, chord[0] - 12, 0.5, 3)
        for half in range(2):
            note(start + half * beat / 2, beat / 2, int(draw.choice(chord)) + 12, 0.4, 0 if held else 6)
        at, time = round(start * RATE), np.arange(RATE // 5) / RATE
        drum = draw.normal(0, 1, len(time)) if number % 2 else np.sin(2 * np.pi * 55 * time)
        sound[at : at + len(time)] += 0.6 * drum * np.exp(-(25 if number % 2 else 12) * time)
    sound = sound[: round(seconds * RATE)]
    return _at_half(sound)
