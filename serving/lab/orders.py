"""The runs of a sweep as checked orders: everything that can be refused is refused here, before the first run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from configs.settings import Profile, Settings, load_profile, load_recipe
from pipelines.coherence import derived_seed
from pipelines.errors import BadInput
from pipelines.lab.arms import Arm, ArmSettings, all_paths, check_knobs, fixed_arms, resolved
from pipelines.lab.outcomes import WORST, ExtraOutcome
from pipelines.lab.spec import BASE, SweepSpec
from pipelines.lab.suite import Story, Suite, read_suite
from pipelines.orders.ad import AdOrder, AdPlanner, AdRequest
from pipelines.recipe import Recipe
from quality.registry import DIMENSIONS, check_dimension
from quality.score import QualityError
from serving.profile_models import ModelSet, measuring_models
from serving.scores.local import catalogue_of

MEDIA = {
    "stills": ("keyframe", "scenes"),
    "clips": ("keyframe", "clip", "scenes"),
    "video": ("keyframe", "clip", "video", "scenes"),
}
"""What can be measured where a run stops."""


@dataclass(frozen=True)
class RunOrder:
    """One run that can be made."""

    run_id: str
    arm: str
    story: Story
    seed: int
    settings: Mapping[str, Any]
    order: AdOrder
    models: Mapping[str, str]
    """Names of the models that are not the profile's, by kind."""
    fingerprint: str


@dataclass(frozen=True)
class Sweep:
    """A checked sweep: what every process needs to know of it."""

    spec: SweepSpec
    suite: Suite
    profile: Profile
    extra: Mapping[str, ExtraOutcome] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that do not follow from results."""
        return fixed_arms(self.spec)

    @property
    def given(self) -> bool:
        """Whether no agent has to write a scene."""
        return all(story.board is not None for story in self.suite.stories)

    def settings(self, arm: Arm, recipe: Callable[[str], Recipe] = load_recipe) -> ArmSettings:
        """What an arm's runs are made with. Raises BadInput."""
        has_references = any(story.references for story in self.suite.stories)
        return resolved(self.spec, arm, recipe, self.given, has_references)

    def model_values(self) -> dict[str, set[str]]:
        """The models that an arm may name, by path (`model.image`)."""
        named = [(path, value) for arm in self.arms for path, value in {**self.spec.base, **arm.changes}.items()]
        named += [(path, value) for _, path, knob in self.spec.knobs() if isinstance(knob, tuple) for value in knob]
        values: dict[str, set[str]] = {}
        for path, value in named:
            if path.startswith("model."):
                values.setdefault(path, set()).add(str(value))
        return values

    def orders(self, arms: Sequence[Arm], models: Callable[..., ModelSet]) -> tuple[RunOrder, ...]:
        """The runs of `arms`, story by story, so that what arms share is made once and early.

        `models` describes models by kind (`serving.profile_models.model_sets`). Raises BadInput.
        """
        paths, recipe = all_paths(self.spec, self.arms), cache(load_recipe)
        prepared = [(arm, self.settings(arm, recipe)) for arm in arms]
        return tuple(
            self._order(arm, settings, story, seed, paths, models(**settings.models))
            for story in self.suite.stories
            for seed in self.spec.seeds
            for arm, settings in prepared
        )

    def _order(
        self, arm: Arm, settings: ArmSettings, story: Story, seed: int, paths: Iterable[str], models: ModelSet
    ) -> RunOrder:
        """The run of one arm at one story and seed. The seed that acts is of both: no two stories share their noise."""
        board = story.board
        if self.spec.start == "text" and models.video.first_frame == "required":
            reason = f"video model {models.video.name!r} makes clips from a keyframe only: leave `start: text` out"
            raise BadInput(f"arm {arm.name!r}: {reason}")
        fields: dict[str, Any] = {"seed": derived_seed(seed, "story", story.id)}
        if board is None:
            fields |= {"prompt": story.brief, "aspect_ratio": story.aspect_ratio, "framework": story.framework}
        request = AdRequest(
            recipe=settings.recipe.name,
            brief=fields,
            references=tuple(reference.bound for reference in story.references),
            storyboard=board,
        )
        planner = AdPlanner(
            recipe=lambda _: settings.recipe,
            image_model=models.image,
            video_model=models.video,
            fps=self.profile.fps,
            scorers=measuring_models(self.profile),
        )
        try:
            order = planner.plan(request)
        except BadInput as error:
            raise BadInput(f"arm {arm.name!r}, story {story.id!r}: {error}") from None
        if self.spec.start == "text":
            order = replace(order, given={**order.given, "keyframes": []})
        told = {
            "brief": order.brief.model_dump(mode="json"),
            "recipe": order.recipe.model_dump(mode="json"),
            "given": order.given,
            "models": models.fingerprints,
            "libraries": models.manifest["libraries"],
            "outcomes": [outcome.model_dump() for outcome in self.spec.outcomes],
            "versions": {name: DIMENSIONS[name].version for name in order.recipe.quality_dimensions},
            "extra": {name: outcome.impl_id for name, outcome in sorted(self.extra.items())},
        }
        fingerprint = _digest(told)
        return RunOrder(
            run_id=_digest([arm.name, story.id, story.known, seed, fingerprint])[:20],
            arm=arm.name,
            story=story,
            seed=seed,
            settings={path: self._value(settings, path, models) for path in paths},
            order=order,
            models=settings.models,
            fingerprint=fingerprint,
        )

    def _value(self, settings: ArmSettings, path: str, models: ModelSet) -> Any:
        """The setting at `path` as it acts: what the recipe leaves to the model is the model's own."""
        head, _, rest = path.partition(".")
        if head == "model":
            return settings.models.get(rest, getattr(self.profile, rest))
        value = settings.value(path)
        if value is None and head in ("image", "video") and rest in ("num_inference_steps", "guidance_scale"):
            spec, sample = (
                (models.image, settings.recipe.image) if head == "image" else (models.video, settings.recipe.video)
            )
            return getattr(spec.preset(sample.preset), rest)
        return value


def checked_sweep(
    spec: SweepSpec, folder: Path, suite: Suite | None = None, extra: Mapping[str, ExtraOutcome] | None = None
) -> Sweep:
    """The sweep of a spec whose files are in `folder`. Raises BadInput that names what must change."""
    if (spec.suite is None) == (suite is None):
        reason = "name the file of the stories" if suite is None else "the stories are handed over: leave it out"
        raise BadInput(reason, "suite")
    stories = suite or read_suite(folder / str(spec.suite))
    profile = load_profile(spec.profile or Settings().profile)
    sweep = Sweep(spec, stories, profile, dict(extra or {}))
    _check_outcomes(sweep)
    recipe = cache(load_recipe)
    check_knobs(spec, recipe, sweep.given)
    for arm in sweep.arms:
        sweep.settings(arm, recipe)
    return sweep


def check_size(sweep: Sweep, limit: int | None) -> None:
    """Raises BadInput when a sweep has more runs than it may."""
    arms = len(sweep.arms) + (sweep.spec.arms.optuna.trials if sweep.spec.arms.optuna is not None else 0)
    stories, seeds = len(sweep.suite.stories), len(sweep.spec.seeds)
    if limit is not None and (runs := arms * stories * seeds) > limit:
        raise BadInput(
            f"{runs} runs ({arms} arms x {stories} stories x {seeds} seeds) are more than --max-runs {limit}: leave "
            "some out, or allow more"
        )


def plan_of(sweep: Sweep, arms: Sequence[Arm], orders: Sequence[RunOrder]) -> dict[str, Any]:
    """What the folder of a sweep keeps of it beside its rows, as JSON."""
    return {
        "spec": sweep.spec.model_dump(mode="json"),
        "profile": sweep.profile.name,
        "base": BASE,
        "arms": [{"name": arm.name, "changes": arm.changes} for arm in arms],
        "stories": [story.id for story in sweep.suite.stories],
        "extra_outcomes": {name: outcome.impl_id for name, outcome in sweep.extra.items()},
        "runs": [order.run_id for order in orders],
    }


def _check_outcomes(sweep: Sweep) -> None:
    """Raises BadInput for a dimension that is unknown, or that cannot be measured here or where a run stops."""
    spec, media = sweep.spec, MEDIA[sweep.spec.until]
    listed = {entry.name: entry for entry in catalogue_of(sweep.profile)}
    for number, outcome in enumerate(spec.outcomes):
        where = f"outcomes.{number}"
        try:
            check_dimension(outcome.name)
        except QualityError as error:
            raise BadInput(str(error), where) from None
        if outcome.name in sweep.extra:
            raise BadInput(f"{outcome.name!r} is an outcome of your own as well: rename that", where)
        entry = listed[outcome.name]
        if entry.missing is not None:
            reason = f"profile {sweep.profile.name!r} cannot measure {outcome.name!r}: {entry.missing}"
            raise BadInput(reason, where)
        if not set(entry.media) & set(media):
            raise BadInput(f"{outcome.name!r} is measured on {' and '.join(entry.media)}, and a run that stops at "
                           f"until: {spec.until} has only {' and '.join(media)}", where)  # fmt: skip
        if outcome.medium is not None and outcome.medium not in {*entry.media} & {*media}:
            raise BadInput(f"{outcome.name!r} is not measured on {outcome.medium!r} here", f"{where}.medium")
    known = {*(outcome.name for outcome in spec.outcomes), *sweep.extra}
    named = [("guards", name) for name in spec.guards]
    named += [("arms.optuna.objectives", name) for name in (spec.arms.optuna.objectives if spec.arms.optuna else ())]
    for field_name, name in named:
        if name.removesuffix(WORST) not in known:
            raise BadInput("it is no outcome of this sweep: name it under `outcomes`", f"{field_name}.{name}")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
