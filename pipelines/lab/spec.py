"""What a sweep asks, as a file: a suite of stories, arms that differ in settings, seeds, and the outcomes measured.

    suite: suite.yaml
    until: stills
    seeds: [1, 2]
    base: {coherence.adapter_scale: 0.6}
    arms:
      list: {no adapter: {coherence.use_ip_adapter: false}}
      grid: {coherence.adapter_scale: [0.3, 1.0]}
    outcomes: [keyframe_alignment]

A setting is named by its path: `coherence.…` as in a brief, any other field of a recipe (`image.num_inference_steps`),
`recipe` for the recipe itself, and `model.image`, `model.video`, `model.chat` for the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from models.interfaces import Plain, Seed
from pipelines.errors import BadInput, first_problem
from pipelines.lab.suite import read_mapping
from quality.score import Finite, Medium

Until = Literal["stills", "clips", "video"]
Changes = dict[str, Any]
"""Values by path."""
BASE = "base"
"""The name of the arm that all others are compared with."""


class Range(Plain):
    """The values between two ends."""

    low: Finite
    high: Finite
    log: bool = False
    """Whether equal ratios are equally likely, rather than equal differences."""
    integer: bool = False
    """Whether only whole numbers are taken."""

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"the range from {self.low:g} to {self.high:g} is empty: low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, not at {self.low:g}")
        if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError("a range of whole numbers has whole ends")
        return self

    def at(self, share: float) -> float | int:
        """The value at `share` of the way, 0 to 1, to four significant digits or whole."""
        if self.integer:
            return min(int(self.high), int(self.low + share * (self.high - self.low + 1)))
        value = self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)
        return min(self.high, max(self.low, float(f"{value:.4g}")))


Choices = Annotated[tuple[Any, ...], Field(min_length=1)]
Knob = Range | Choices
Knobs = Annotated[dict[str, Knob], Field(min_length=1)]


class Sampled(Plain):
    """Arms drawn from ranges and choices, the same ones for the same seed."""

    samples: Annotated[int, Field(ge=1, le=10_000)]
    seed: Seed = 0
    knobs: Knobs


class Searched(Plain):
    """Arms that Optuna asks for one after the other, by what those before it reached (extra `lab`)."""

    trials: Annotated[int, Field(ge=1, le=10_000)]
    seed: Seed = 0
    knobs: Knobs
    objectives: Annotated[dict[str, Literal["higher", "lower"]], Field(min_length=1, max_length=4)]
    """The outcomes whose means over stories and seeds are to rise or fall; several have a Pareto front."""


class Arms(Plain):
    """The arms beside the base, each a change of it."""

    list: dict[str, Changes] = Field(default_factory=dict)
    """By name."""
    grid: dict[str, Choices] = Field(default_factory=dict)
    """Every combination of values."""
    random: Sampled | None = None
    """Independent draws."""
    latin_hypercube: Sampled | None = None
    """Draws that have one value in each of `samples` equal parts of every range."""
    optuna: Searched | None = None


class Outcome(Plain):
    """Something measured of every run."""

    name: str
    """A quality dimension (`admint score --list`)."""
    better: Literal["higher", "lower"] = "higher"
    """Which scene is the worst: the lowest, or the highest."""
    medium: Medium | None = None
    """What it is measured on; None: the last thing that is made and that it can be measured on."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class SweepSpec(Plain):
    """One sweep."""

    asks: str = ""
    """The question, in a sentence."""
    suite: str | None = None
    """File of the stories, beside the spec; None: they are handed over with it."""
    profile: str | None = None
    """Which models are there; None: `$ADMINT_PROFILE`, else `sketch`."""
    recipe: str = "express"
    until: Until
    """Where a run stops."""
    start: Literal["keyframe", "text"] = "keyframe"
    """What a clip starts from: a keyframe that the image model draws, or its prompt alone (text-to-video)."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    base: Changes = Field(default_factory=dict)
    """What all arms have otherwise than the recipe."""
    arms: Arms = Arms()
    outcomes: tuple[Annotated[Outcome, BeforeValidator(_named)], ...] = ()
    guards: dict[str, float | str] = Field(default_factory=dict)
    """How far an outcome may move before a gain counts as bought with it: -0.02, or "-10 %" of the base's mean."""

    @model_validator(mode="after")
    def _once(self) -> SweepSpec:
        for word, values in (("seeds", self.seeds), ("outcomes", tuple(one.name for one in self.outcomes))):
            if len(set(values)) < len(values):
                raise ValueError(f"{word} must differ: one of {', '.join(map(str, values))} is there twice")
        if self.start == "text" and self.until == "stills":
            raise ValueError("start: text makes clips without stills, and until: stills wants stills: change one")
        if BASE in self.arms.list:
            raise ValueError(f"arms.list.{BASE} is the base itself: what it changes stands under `base`")
        return self

    def knobs(self) -> Iterator[tuple[str, str, Knob]]:
        """Every range or list of values: where it stands, its path, and itself."""
        for path, values in self.arms.grid.items():
            yield "arms.grid", path, values
        for way in ("random", "latin_hypercube", "optuna"):
            sampled: Sampled | Searched | None = getattr(self.arms, way)
            for path, knob in sampled.knobs.items() if sampled is not None else ():
                yield f"arms.{way}.knobs", path, knob


def read_spec(path: Path) -> SweepSpec:
    """The spec in a YAML file. Raises BadInput that names the field."""
    return parse_spec(read_mapping(path, "sweep"), path.name)


def parse_spec(data: dict[str, Any], name: str) -> SweepSpec:
    """The spec `data` of a file called `name`. Raises BadInput that names the field."""
    try:
        return SweepSpec.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"sweep {name!r}: {first_problem(error)}") from None
