"""Whether speech is found in films: sentences are planted over music, noise and nothing, so that the truth is known.

`python -m benchmarks.quality.speech [--films 20]` prints and writes `benchmarks/results/quality_speech.json`. Debian's
`espeak-ng` and `flite` speak: eleven voices, seven languages. A film of 30 s holds up to five sentences, and is scored
as a file, AAC included. Planted is what of a sentence is within 40 dB of its loudest 20 ms, with pauses below 0.3 s.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from configs.settings import library_root, load_model
from models.interfaces import Audio, Unwatched
from models.registry import load
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.media import encode_clip
from pipelines.scoring import ScoreRequest, score_file
from quality.dimensions.speech import utterances
from tests.support.sounds import RATE, music

RESULTS = Path(__file__).parents[1] / "results" / "quality_speech.json"
SEED, SECONDS, STEP = 7, 30, RATE // 50
LEVELS = (20, 10, 5, 0)
"""Decibels of the speech over what plays behind it."""
TEXTS = {
    "en": ("Made for people who walk in the hills.", "Cold water, all day long.", "Order yours today, and save half."),
    "de": ("Gemacht für alle, die draußen unterwegs sind.", "Jetzt neu im Handel."),
    "fr": ("Une lumière douce pour vos soirées.", "Essayez-la dès maintenant."),
    "es": ("El agua fresca durante todo el día.", "Pruébalo hoy mismo."),
    "it": ("Il profumo di casa tua.",), "ru": ("Свежая вода весь день.",), "cmn": ("今天就来试试吧，只要一半的价格。",),
}  # fmt: skip
VOICES = (*(("espeak-ng", name) for name in ("en-gb", "en-us+f3", "de", "fr", "es+f2", "it", "ru", "cmn")),
          *(("flite", name) for name in ("slt", "rms", "awb")))  # fmt: skip
Sound = npt.NDArray[np.float32]


def spoken(program: str, name: str, text: str) -> Sound:
    """A sentence, (samples,) at RATE."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/said.wav"
        voice = ["-v", name, "-w", path, text] if program == "espeak-ng" else ["-voice", name, "-t", text, "-o", path]
        subprocess.run([program, *voice], check=True)
        with av.open(path) as file:
            mono = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
            pieces = [each.to_ndarray()[0] for frame in file.decode(audio=0) for each in mono.resample(frame)]
            return np.concatenate([*pieces, *(each.to_ndarray()[0] for each in mono.resample(None))])


def loud(sound: Sound) -> npt.NDArray[np.bool_]:
    """Of each STEP samples, whether it is part of what is said."""
    power = (sound[: len(sound) // STEP * STEP].reshape(-1, STEP) ** 2).mean(axis=1)
    said: npt.NDArray[np.bool_] = power > power.max() * 1e-4
    places = np.flatnonzero(said)
    for before, after in pairwise(places):
        if (after - before) * STEP / RATE < 0.3:
            said[before:after] = True
    return said


def behind(kind: str, draw: np.random.Generator) -> Sound:
    if kind == "music":
        return music(SECONDS, int(draw.integers(1_000_000)))
    noise = draw.normal(0, 0.1, SECONDS * RATE)
    return (noise if kind == "noise" else 0 * noise).astype(np.float32)


def film(draw: np.random.Generator, kind: str, level: float, sentences: int) -> tuple[Sound, npt.NDArray[np.bool_]]:
    """Its sound, and which of its steps hold speech."""
    bed, said, truth = behind(kind, draw), np.zeros(SECONDS * RATE, np.float32), np.zeros(SECONDS * RATE // STEP, bool)
    begins = np.sort(draw.uniform(0, 5, sentences)) + np.arange(sentences) * 5
    for begin in begins:
        program, name = VOICES[int(draw.integers(len(VOICES)))]
        texts = TEXTS[name.split("-")[0].split("+")[0] if program == "espeak-ng" else "en"]
        sentence = spoken(program, name, texts[int(draw.integers(len(texts)))])
        at = int(begin * RATE) // STEP
        part = loud(sentence)[: len(truth) - at]
        truth[at : at + len(part)] |= part
        end = min(len(said), at * STEP + len(sentence))
        said[at * STEP : end] = sentence[: end - at * STEP] / np.abs(sentence).max() * 0.5
    if bed.any() and said.any():
        power = float((said[truth.repeat(STEP)] ** 2).mean())
        bed *= np.float32((power / 10 ** (level / 10) / float((bed**2).mean())) ** 0.5)
    mixed = said + bed
    return mixed / max(1.0, float(np.abs(mixed).max())), truth


def measured(films: int) -> Iterator[dict[str, object]]:
    spec = load_model("silero-vad", ScorerModelSpec)
    network: Any = load(spec, Library(library_root()).folders(spec), "cpu")
    draw = np.random.default_rng(SEED)
    cases = [("music", level) for level in LEVELS] + [("noise", 10), ("nothing", 0)]
    for kind, level in cases:
        made = [film(draw, kind, level, int(draw.integers(1, 6))) for _ in range(films)]
        yield {"behind": kind, "decibels": level, **_of(made, network)}
    for kind in ("music", "noise"):
        yield {"behind": kind, "decibels": None, **_of([film(draw, kind, 0, 0) for _ in range(films)], network)}


def _of(films: list[tuple[Sound, npt.NDArray[np.bool_]]], network: Any) -> dict[str, object]:
    planted = found = within = both = 0.0
    off: list[float] = []
    apart: list[float] = []
    for sound, truth in films:
        audio = Audio(np.stack([sound.repeat(3)] * 2), 3 * RATE)
        data = encode_clip(np.zeros((8 * SECONDS, 16, 16, 3), np.uint8), 8, audio)
        request = ScoreRequest(data=data, dimensions=("ad.speech", "ad.first_speech"))
        share, first = score_file(request, {"silero_vad": network}, Unwatched())
        heard = np.zeros_like(truth)
        for said in utterances(network.speech([sound])):
            heard[round(said.begin * RATE / STEP) : round(said.end * RATE / STEP)] = True
        planted, found = planted + truth.sum(), found + (share.raw or 0) * len(truth)
        within, both = within + heard.sum(), both + (heard & truth).sum()
        apart.append(abs((share.raw or 0) - float(truth.mean())))
        if truth.any() and first.raw is not None:
            off.append(abs(first.raw - np.argmax(truth) * STEP / RATE))
    per = STEP / RATE
    return {
        "films": len(films), "planted_seconds": round(planted * per, 1), "found_seconds": round(found * per, 1),
        "recall": round(both / planted, 3) if planted else None,
        "precision": round(both / within, 3) if within else None,
        "share_apart_mean": round(fmean(apart), 4), "share_apart_worst": round(max(apart), 4),
        "first_off_median": round(median(off), 3) if off else None, "first_found": len(off),
    }  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--films", type=int, default=20, help="of each kind")
    rows = []
    for row in measured(arguments.parse_args().films):
        print(json.dumps(row))
        rows.append(row)
    about = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine()}
    lines = ",\n".join(f" {json.dumps(row)}" for row in rows)
    RESULTS.write_text(f'{json.dumps(about)[:-1]}, "rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
