"""The registered plan as data: knobs with their arms and what was expected, and the sweeps that answer them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from benchmarks.coherence import stories
from configs.settings import load_model, load_profile, load_recipe
from models.interfaces import Plain
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.coherence import check_models
from pipelines.errors import BadInput
from pipelines.lab.analysis import Question, Sign
from pipelines.lab.arms import Arm, resolved
from pipelines.lab.spec import BASE, SweepSpec, Until, parse_spec
from pipelines.lab.suite import Story, Suite, SuiteReference, SuiteScene
from pipelines.uploads import read_reference
from quality.paired import Better
from serving.scores.local import catalogue_of

FILE = Path(__file__).parent / "plan.yaml"
UNTIL: tuple[Until, ...] = ("stills", "clips")


class PlannedOutcome(Plain):
    """Something that the table shows of every arm."""

    better: Better
    means: str
    """What it is, in words."""
    until: Until | None = None
    """Only where a run stops there; None: always."""
    by: Literal["product", "here"] = "here"
    """Whether a dimension of the product measures it, or `benchmarks.coherence.outcomes`."""


class Knob(Plain):
    """One line of the table."""

    asks: str
    until: Until
    primary: str
    guards: dict[str, float | str]
    path: str | None = None
    """The setting that its arms change, where it is one."""
    base: Any = None
    """Its value today."""
    arms: dict[str, Sign]
    """By label: what was expected of the primary outcome."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By label, where the arm is more than another value at `path`."""
    cross: tuple[str, str] | None = None
    levels: tuple[tuple[Any, ...], tuple[Any, ...]] | None = None
    """Of the crossed settings, the base's first."""

    def changes(self, label: str) -> dict[str, Any]:
        """What the arm `label` sets, by path."""
        if label in self.settings:
            return self.settings[label]
        if self.cross is None or self.levels is None:
            return {str(self.path): yaml.safe_load(label)}
        chosen = [yaml.safe_load(part) for part in label.split(", ")]
        return {
            path: value
            for path, value, levels in zip(self.cross, chosen, self.levels, strict=True)
            if value != levels[0]
        }


class Plan(Plain):
    """All that was decided before the first run."""

    profile: str
    stories: int
    replication: str
    outcomes: dict[str, PlannedOutcome]
    knobs: dict[str, Knob]
    observers: dict[str, str]
    """For an outcome, the same by an observer that shares nothing with it."""
    controls: dict[str, str]
    rule: str

    def arm(self, knob: str, label: str) -> str:
        """The name of an arm in the sweep."""
        return f"{knob} {label}"

    def question(self, knob: str) -> Question:
        """What is asked of one knob."""
        asked = self.knobs[knob]
        return Question(
            name=knob,
            asks=asked.asks,
            base=BASE,
            arms={self.arm(knob, label): sign for label, sign in asked.arms.items()},
            primary=asked.primary,
            guards=asked.guards,
        )

    def better(self) -> dict[str, Better]:
        """Which way each outcome is better."""
        return {name: one.better for name, one in self.outcomes.items()}

    def sweep(self, until: Until, arms: dict[str, dict[str, Any]]) -> SweepSpec:
        """The sweep of some arms, by name and change, with the outcomes that this machine can measure."""
        missing = self.unmeasurable()
        dimensions = [
            {"name": name, "better": one.better}
            for name, one in self.outcomes.items()
            if one.by == "product" and one.until in (None, until) and name not in missing
        ]
        return parse_spec(
            {
                "asks": "The coherence table",
                "profile": self.profile,
                "recipe": "express",
                "until": until,
                "base": {"quality_gate": {}, **self._base(until)},
                "arms": {"list": arms},
                "outcomes": dimensions,
            },
            f"coherence, {until}",
        )

    def _base(self, until: Until) -> dict[str, Any]:
        """Settings of the base arm: of each knob what the plan names, whatever the default has become since."""
        return {knob.path: knob.base for knob in self.knobs.values() if knob.path is not None and knob.until == until}

    def unmeasurable(self) -> dict[str, str]:
        """The product's dimensions among the outcomes that this machine cannot measure, and why."""
        listed = {entry.name: entry.missing for entry in catalogue_of(load_profile(self.profile))}
        return {name: reason for name in self.outcomes if (reason := listed.get(name)) is not None}

    def arms(self, until: Until, knobs: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The arms of some knobs that stop at `until`, by name."""
        return {
            self.arm(name, label): self.knobs[name].changes(label)
            for name in knobs
            if self.knobs[name].until == until
            for label in self.knobs[name].arms
        }

    def refused(self, knobs: tuple[str, ...]) -> dict[str, str]:
        """The arms that this profile's models cannot make, or that no recipe knows, and why."""
        profile = load_profile(self.profile)
        image, video = load_model(profile.image, ImageModelSpec), load_model(profile.video, VideoModelSpec)
        reasons = {}
        for until in UNTIL:
            spec = self.sweep(until, {})
            for name, changes in self.arms(until, knobs).items():
                try:
                    made = resolved(spec, Arm(name, changes), load_recipe)
                    check_models(made.recipe.coherence, image, video)
                except BadInput as error:
                    reasons[name] = str(error)
        return reasons


def read_plan() -> Plan:
    """The committed plan."""
    return Plan.model_validate({k: v for k, v in yaml.safe_load(FILE.read_text()).items() if k != "shared_guards"})


def plan_sha256() -> str:
    """Of the plan's file; results hold it."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


def suite(name: str, count: int) -> Suite:
    """The first `count` stories of a set, with their references rendered."""
    return Suite(stories=tuple(_story(story) for story in stories.read(name)[:count]))


def _story(story: stories.Story) -> Story:
    import io

    references = []
    for number, picture in enumerate(story.references(), start=1):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        name = f"product-{number}.png"
        references.append(SuiteReference(png=read_reference(buffer.getvalue(), name), filename=name))
    return Story(
        id=story.story,
        brief=f"An ad for a {story.colour} {story.material} {story.shape}.",
        scenes=tuple(
            SuiteScene(
                prompt=scene.prompt,
                camera=scene.camera,
                seconds=2.5,
                known={"setting": scene.setting, "time": scene.time},
            )
            for scene in story.scenes
        ),
        references=tuple(references),
        known={"shape": story.shape, "colour": story.colour, "material": story.material},
    )
