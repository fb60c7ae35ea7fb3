"""Whole ads of the sketch family, made by the shipped command and looked at by the classical judge.

`python -m benchmarks.sketch_ads [--briefs 12] [--ratios 1:1,9:16,16:9] [--jobs 1]` makes every brief in every ratio
with three rendered references and without, prints a table, and writes `benchmarks/results/sketch_ads.json` and, with
`--sheets FOLDER`, one contact sheet per ratio. Each brief names one product and three places with their times of day,
and asks for three scenes, so that scene k is right when it shows the product at place k at time k. An ad that is in
`--films FOLDER` already is not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.sketch.training.world import frame_size, render_reference, sample_spec
from models.sketch.training.world.judge import Judge, Verdict

RESULTS = Path("benchmarks/results/sketch_ads.json")
SEED = 7
SECONDS = 9
ASKED = ("shape", "colour", "setting", "time")
BAR = 0.95
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Brief:
    """One ad: a product, and where and when each of its three scenes is."""

    text: str
    shape: str
    colour: str
    scenes: tuple[tuple[str, str], ...]
    """Setting and time of each scene, by the world's names."""


BRIEFS = (
    Brief(
        "An ad for a teal steel water bottle called Dew. It keeps drinks cold all day: on the kitchen counter in the "
        "morning, in the forest at noon, on the beach in the evening.",
        "bottle", "teal", (("kitchen", "morning"), ("forest", "noon"), ("beach", "evening")),
    ),
    Brief(
        "An ad for a red coffee mug called Ember, warm for hours: in the snow in the morning, on a kitchen counter at "
        "noon, in the city at night.",
        "mug", "red", (("snow", "morning"), ("kitchen", "noon"), ("city", "night")),
    ),
    Brief(
        "An ad for purple running shoes called Stride, made to go far: in the desert in the morning, in the forest at "
        "noon, on the beach in the evening.",
        "shoe", "purple", (("desert", "morning"), ("forest", "noon"), ("beach", "evening")),
    ),
    Brief(
        "An ad for a black wristwatch called Meridian, on time everywhere: in a studio at noon, in the city in the "
        "evening, in the snow at night.",
        "watch", "black", (("studio", "noon"), ("city", "evening"), ("snow", "night")),
    ),
    Brief(
        "An ad for a yellow table lamp called Glow, light where you need it: on a wooden table in the evening, in a "
        "kitchen at night, in a studio in the morning.",
        "lamp", "yellow", (("table", "evening"), ("kitchen", "night"), ("studio", "morning")),
    ),
    Brief(
        "An ad for a blue soda can called Fizz, cold and fresh: on the beach at noon, in the city in the evening, on a "
        "table at night.",
        "can", "blue", (("beach", "noon"), ("city", "evening"), ("table", "night")),
    ),
    Brief(
        "An ad for a pink cream jar called Petal, kind to skin: in a studio in the morning, in the forest at noon, "
        "on a table in the evening.",
        "jar", "pink", (("studio", "morning"), ("forest", "noon"), ("table", "evening")),
    ),
    Brief(
        "An ad for an orange gift box called Parcel, a present: in the snow in the evening, in a kitchen in the "
        "morning, in the city at noon.",
        "box", "orange", (("snow", "evening"), ("kitchen", "morning"), ("city", "noon")),
    ),
    Brief(
        "An ad for a green glass bottle called Spring, from the source: in the forest in the morning, on the beach "
        "at noon, on a table in the evening.",
        "bottle", "green", (("forest", "morning"), ("beach", "noon"), ("table", "evening")),
    ),
    Brief(
        "An ad for a white mug called Cloud, for slow hours: on a wooden table in the morning, in the desert in the "
        "evening, in the snow at noon.",
        "mug", "white", (("table", "morning"), ("desert", "evening"), ("snow", "noon")),
    ),
    Brief(
        "An ad for a red wristwatch called Pulse, made for the outdoors: on the beach in the morning, in the desert at "
        "noon, in the forest at night.",
        "watch", "red", (("beach", "morning"), ("desert", "noon"), ("forest", "night")),
    ),
    Brief(
        "An ad for a teal desk lamp called Arc, calm: in a studio at noon, on a table at night, in the city in the "
        "evening.",
        "lamp", "teal", (("studio", "noon"), ("table", "night"), ("city", "evening")),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Film:
    """An ad to be made."""

    brief: int
    ratio: str
    references: bool

    @property
    def name(self) -> str:
        kind = "references" if self.references else "words"
        return f"{self.brief + 1:02d}-{self.ratio.replace(':', 'x')}-{kind}"


def draw_references(brief: Brief, folder: Path, number: int) -> None:
    """Three photographs of the brief's product from different sides."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(900 + number)
    material = ("glossy", "matte", "metallic")[number % 3]
    for k in range(3):
        spec = replace(sample_spec(rng, "train"), shape=brief.shape, colour=brief.colour, material=material, moment=0.0)
        render_reference(spec, rng).save(folder / f"{k + 1}.png")


def make(film: Film, films: Path, recipe: str) -> float:
    """Run the shipped command for `film` into `films`; gives its seconds. Raises CalledProcessError."""
    out = films / film.name
    if (out / "run.json").exists():
        return 0.0
    command = [
        sys.executable, "-m", "serving", "pipeline", "--prompt", BRIEFS[film.brief].text, "--recipe", recipe,
        "--duration", str(SECONDS), "--scenes", "3", "--aspect-ratio", film.ratio, "--seed", str(SEED),
        "--output", str(out), "--full-pipeline", "--json",
    ]  # fmt: skip
    if film.references:
        photographs = films / f"photographs-{film.brief + 1:02d}"
        draw_references(BRIEFS[film.brief], photographs, film.brief)
        command += ["--reference-images", str(photographs)]
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.monotonic() - start


def keyframes(folder: Path, ratio: str) -> list[Picture]:
    """The keyframe that each scene's clip began with, at the size that the judge knows."""
    run = json.loads((folder / "run.json").read_text())
    height, width = frame_size(ratio)
    found: dict[int, tuple[str, Path]] = {}
    for take in run["takes"]:
        if take["kind"] == "keyframe" and (take["scene_number"] not in found or take["current"]):
            found[take["scene_number"]] = (take["id"], folder / run["files"][take["id"]])
    pictures = [np.asarray(Image.open(path).convert("RGB")) for _, (_, path) in sorted(found.items())]
    return [np.asarray(cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for p in pictures]


def looked_at(film: Film, pictures: list[Picture], judge: Judge) -> dict[str, Any]:
    """What is right in each scene, and in which pairs of scenes the product agrees.

    Raises ValueError for a film that has not as many scenes as its brief has places.
    """
    brief = BRIEFS[film.brief]
    verdicts: list[Verdict] = [judge.judge(picture) for picture in pictures]
    right = [
        {
            "shape": found.shape == brief.shape,
            "colour": found.colour == brief.colour,
            "setting": found.setting == setting,
            "time": found.time == hour,
        }
        for found, (setting, hour) in zip(verdicts, brief.scenes, strict=True)
    ]
    pairs = list(itertools.combinations(verdicts, 2))
    return {
        "film": film.name,
        "ratio": film.ratio,
        "references": film.references,
        "scenes": len(pictures),
        "right": right,
        "same_colour": [a.colour == b.colour for a, b in pairs],
        "same_shape": [a.shape == b.shape for a, b in pairs],
        "seen": [f"{v.colour} {v.shape}, {v.setting}, {v.time}" for v in verdicts],
    }


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shares over the scenes and over the pairs of scenes, with and without references."""
    out = []
    for references in (True, False):
        own = [row for row in rows if row["references"] == references]
        if not own:
            continue
        scenes = [scene for row in own for scene in row["right"]]
        shares = {name: float(np.mean([s[name] for s in scenes])) for name in ASKED}
        shares["all four"] = float(np.mean([all(s.values()) for s in scenes]))
        for name in ("same_colour", "same_shape"):
            shares[name.replace("_", " ") + " in pairs"] = float(np.mean([v for row in own for v in row[name]]))
        kind = "three references" if references else "no reference"
        out += [
            {"what": f"{kind}: {name}", "value": round(value, 4), "bar": BAR, "passed": value >= BAR, "films": len(own)}
            for name, value in shares.items()
        ]
    return out


def sheet(rows: list[tuple[Film, list[Picture]]], path: Path) -> None:
    """One line per film: its keyframes from left to right."""
    height, width = rows[0][1][0].shape[:2]
    whole = np.full((len(rows) * (height + 4), 3 * (width + 4), 3), 255, np.uint8)
    for line, (_, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures[:3]):
            top, left = line * (height + 4), column * (width + 4)
            whole[top : top + height, left : left + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--briefs", type=int, default=len(BRIEFS))
    parser.add_argument("--ratios", default="1:1,9:16,16:9")
    parser.add_argument(
        "--recipe", default="master", help="one of your own may stop at the keyframes, which are judged"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        films = args.films or Path(temporary)
        films.mkdir(parents=True, exist_ok=True)
        asked = [
            Film(brief, ratio, references)
            for ratio in args.ratios.split(",")
            for references in (True, False)
            for brief in range(args.briefs)
        ]
        with ThreadPoolExecutor(args.jobs) as pool:
            seconds = list(pool.map(lambda film: make(film, films, args.recipe), asked))
        judge = Judge()
        shown = [(film, keyframes(films / film.name, film.ratio)) for film in asked]
        rows = [looked_at(film, pictures, judge) for film, pictures in shown]
        for ratio in args.ratios.split(","):
            if args.sheets:
                lines = [(film, pictures) for film, pictures in shown if film.ratio == ratio]
                sheet(lines, args.sheets / f"ads-{ratio.replace(':', 'x')}.png")
    found = table(rows)
    for row in found:
        print(f"{row['what']:<50} {row['value']:>8} {row['bar']:>6} {'met' if row['passed'] else 'SHORT'}", flush=True)
    made = [value for value in seconds if value]
    whole = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "seconds_each": round(float(np.mean(made)), 1) if made else None,
        "jobs": args.jobs,
        "recipe": args.recipe,
        "rows": found,
        "films": rows,
    }
    films = ",\n".join(json.dumps(film, separators=(",", ":")) for film in whole.pop("films"))  # a line each
    rest = json.dumps(whole, indent=2).removesuffix("\n}")
    args.results.write_text(f'{rest},\n  "films": [\n{films}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
