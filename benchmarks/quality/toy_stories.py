"""Takes of the sketch family whose truth is known: stories as the agents write them, drawn, judged and scored.

Every story is about a product in places that no training saw it in. The agents write its scenes as for an ad; pictures
and clips come from the shipped models with the shipped settings; right and wrong are told by the classical judge, and
scores are measured as a generation measures them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.agents.__main__ import CHAT, IMAGE, PROFILE, VIDEO, written
from benchmarks.agents.briefs import TIMES as HOURS
from benchmarks.agents.briefs import Known
from configs.settings import library_root, load_model
from models.interfaces import EncodedImage, Frames, ImageRequest, Pixels, Reference, Unwatched, VideoRequest
from models.sketch.training.world.judge import Judge, Verdict
from models.sketch.training.world.spec import SETTINGS, TIMES, is_held_out, products_held_out
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.coherence import CoherenceSettings, plan_coherence
from pipelines.media import encode_clip, encode_png
from pipelines.scoring import ScoreRequest, score_file
from pipelines.screenplay import Scene
from pipelines.stages.video import supported_camera
from quality.score import Score
from serving.profile_models import LibraryLoader

RECIPES = ("master", "express", "classic")
NOUNS = {
    "bottle": "water bottle", "can": "soda can", "mug": "coffee mug", "box": "gift box", "jar": "cream jar",
    "shoe": "running shoe", "watch": "wristwatch", "lamp": "desk lamp",
}  # fmt: skip
PLACES = {
    "table": "on a wooden table", "beach": "on the beach", "studio": "in a studio", "city": "in the city",
    "forest": "in the forest", "kitchen": "in the kitchen", "desert": "in the desert", "snow": "in the snow",
}  # fmt: skip
BRANDS = ("Dew", "Kivo", "Nordal", "Halden", "Lumen", "Fernweh", "Tamarin")
FRAMES = 16
"""Of a clip."""
BATCH = 8
"""Pictures that are drawn at once."""


@dataclass(frozen=True)
class Shown:
    """A scene as agents wrote it, and what it is to show by the world's names."""

    story: str
    seed: int
    """Of its generation."""
    shape: str
    colour: str
    setting: str
    time: str
    scene: Scene

    def right(self, verdict: Verdict) -> bool:
        """Whether a picture shows it: the product, its colour and its place."""
        return (verdict.shape, verdict.colour, verdict.setting) == (self.shape, self.colour, self.setting)

    def recoloured(self, colour: str) -> str:
        """The prompt of its picture with another colour."""
        return re.sub(rf"\b{self.colour}\b", colour, self.scene.image_prompt)


async def stories(count: int, seed: int) -> list[Shown]:
    """The scenes of `count` stories, each of one product in three places at three times of day."""
    rng = np.random.default_rng(seed)
    products = products_held_out()
    shown: list[Shown] = []
    for number in range(count):
        shape, colour = products[int(rng.integers(len(products)))]
        unseen = [setting for setting in SETTINGS if is_held_out(shape, colour, setting)]
        others = [str(setting) for setting in rng.permutation(SETTINGS) if setting not in unseen]
        places = [str(place) for place in rng.permutation([*unseen, *others][:3])]
        hours = sorted(int(hour) for hour in rng.choice(len(TIMES), 3, replace=False))
        known = _brief(shape, colour, places, hours, str(rng.choice(BRANDS)))
        run = 1000 * seed + number
        _, made = await written(known, run, RECIPES[number % len(RECIPES)])
        for scene in made.scenes:
            for place, hour in zip(places, hours, strict=True):
                if PLACES[place].split()[-1] in scene.draft.setting and HOURS[hour] in scene.draft.setting:
                    name = f"{seed}-{number:03d}"
                    shown.append(Shown(name, run, shape, colour, place, TIMES[hour], scene))
    return shown


def _brief(shape: str, colour: str, places: Sequence[str], hours: Sequence[int], brand: str) -> Known:
    said = [f"{PLACES[place]} {HOURS[hour]}" for place, hour in zip(places, hours, strict=True)]
    article = "an" if colour[0] in "aeiou" else "a"
    prompt = f"An ad for {article} {colour} {NOUNS[shape]} called {brand}: {', '.join(said)}."
    places_known = tuple((PLACES[place].split()[-1], HOURS[hour]) for place, hour in zip(places, hours, strict=True))
    return Known(prompt, NOUNS[shape].split()[-1], colour, brand, None, None, places_known, "PAS", 9)


class Studio:
    """The shipped sketch models, and the judge."""

    def __init__(self) -> None:
        loader = LibraryLoader(Library(library_root()), "cpu")
        self._image: Any = loader.image(IMAGE)
        self._load_video = cache(lambda: loader.video(VIDEO))
        scorer = load_model(PROFILE.backbones()["clip"], ScorerModelSpec)
        self._clip = loader.scorer(scorer)
        self._observer = loader.scorer(load_model(PROFILE.backbones()["dinov2_base"], ScorerModelSpec))
        self.scorer = scorer.name
        self.judge = Judge().judge

    def stills(self, requests: Sequence[ImageRequest]) -> list[Pixels]:
        """One picture a request, of one size, in order."""
        made: list[Pixels] = []
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            for outcome in self._image.generate_batch(batch, [Unwatched()] * len(batch)):
                if isinstance(outcome, Exception):
                    raise outcome
                made.append(outcome.image)
        return made

    def clip(self, shown: Shown, still: Pixels) -> Frames:
        """The clip of a scene from its still."""
        width, height = VIDEO.sizes["1:1"]
        request = VideoRequest(
            prompt=shown.scene.video_prompt,
            width=width,
            height=height,
            num_frames=FRAMES,
            camera=supported_camera(VIDEO, shown.scene.draft.camera),
            noise=_plan(shown).clip_noise,
            num_inference_steps=VIDEO.num_inference_steps,
            guidance_scale=VIDEO.guidance_scale,
            first_frame=EncodedImage(data=encode_png(still)),
            cond_lowpass_until=VIDEO.cond_lowpass_until,
        )
        return self._load_video().generate(request, Unwatched()).frames

    def gate_scores(self, shown: Shown, take: Pixels | Frames) -> dict[str, Score]:
        """What the gate judges a still (height, width, 3) or a clip by, by dimension, as it measures them."""
        if take.ndim == 3:
            data, media, prompt = encode_png(take), "image", shown.scene.image_prompt
            names = ("keyframe_alignment", "keyframe_colour_margin")
        else:
            data, media, prompt = encode_clip(take, VIDEO.native_fps), "video", shown.scene.video_prompt
            names = ("text_alignment", "colour_margin")
        found = self._score(ScoreRequest(data=data, media=media, dimensions=names, prompt=prompt))
        return dict(zip(names, found, strict=True))

    def candidate_scores(self, picture: Pixels, prompt: str, reference: Pixels) -> dict[str, Score]:
        """What candidates are ranked by, by dimension; `reference` is a photograph of the product."""
        names = ("keyframe_alignment", "keyframe_product_similarity")
        found = self._score(ScoreRequest(
            data=encode_png(picture), media="image", dimensions=names, prompt=prompt,
            references=(Reference(image=EncodedImage(data=encode_png(reference)), role="product"),),
        ))  # fmt: skip
        return dict(zip(names, found, strict=True))

    def _score(self, request: ScoreRequest) -> tuple[Score, ...]:
        return score_file(request, {"clip": self._clip, "dinov2_base": self._observer}, Unwatched())


def still_request(shown: Shown, prompt: str | None = None) -> ImageRequest:
    """The request of a scene's first still; `prompt` in place of its own."""
    width, height = IMAGE.sizes["1:1"]
    return ImageRequest(
        prompt=prompt or shown.scene.image_prompt,
        width=width,
        height=height,
        noise=_plan(shown).keyframe_noise,
        num_inference_steps=IMAGE.num_inference_steps,
        guidance_scale=IMAGE.guidance_scale,
    )


def _plan(shown: Shown) -> Any:
    number = shown.scene.scene_number
    return plan_coherence(CoherenceSettings(), shown.seed, tuple(range(1, number + 1)), False)[-1]


def settings() -> dict[str, Any]:
    """What the takes were made with."""
    return {
        "chat": CHAT.name,
        "image": {"model": IMAGE.name, "steps": IMAGE.num_inference_steps, "guidance": IMAGE.guidance_scale},
        "video": {"model": VIDEO.name, "steps": VIDEO.num_inference_steps, "guidance": VIDEO.guidance_scale,
                  "frames": FRAMES},
        "aspect": "1:1",
        "recipes": list(RECIPES),
    }  # fmt: skip
