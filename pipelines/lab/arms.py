"""The arms of a sweep: which there are, and what each is as a recipe, coherence settings and models.

Pure. A change is checked where it would act: by the recipe's and the brief's own fields and limits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
from pydantic import ValidationError

from pipelines.coherence import CoherenceSettings
from pipelines.errors import BadInput
from pipelines.lab.spec import BASE, Changes, Knob, Range, SweepSpec, Until
from pipelines.recipe import STAGE_ORDER, Recipe, StageName

MODEL_KINDS = ("chat", "image", "video")
SAID_ELSEWHERE = {
    "name": "set `recipe`",
    "description": "it changes nothing",
    "stages": "say `until`",
    "approvals": "a sweep waits for nobody",
    "quality_dimensions": "say `outcomes`",
    "scene_concurrency": "it changes nothing that is made, and step times are measured one at a time",
    "limits": "it changes nothing that is made",
}
"""Fields of a recipe that no arm sets, and what to do."""
LATER = "with until: stills, for it starts from the last frame of a clip: coherence.chain: keyframe starts from a still"
LAST: Mapping[Until, StageName] = {"stills": "storyboard", "clips": "video", "video": "stitch"}


@dataclass(frozen=True)
class Arm:
    """A named change of the base."""

    name: str
    changes: Changes


@dataclass(frozen=True)
class ArmSettings:
    """What an arm's runs are made with."""

    recipe: Recipe
    """With the stages that run, and the coherence settings that act."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Names of models by kind, where they are not the profile's."""

    def value(self, path: str) -> Any:
        """The setting at `path`; None where there is none."""
        if path == "recipe":
            return self.recipe.name
        head, _, rest = path.partition(".")
        if head == "model":
            return self.models.get(rest)
        found: Any = self.recipe.model_dump(mode="json")
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return found


def fixed_arms(spec: SweepSpec) -> tuple[Arm, ...]:
    """The base, and the arms that the spec names or draws, each name once. Raises BadInput for a name that is double.

    Those of Optuna are not among them: they follow from results.
    """
    arms = [Arm(BASE, {})]
    arms += [Arm(name, changes) for name, changes in spec.arms.list.items()]
    if spec.arms.grid:
        knobs = spec.arms.grid
        arms += [changed(dict(zip(knobs, values, strict=True))) for values in itertools.product(*knobs.values())]
    if (drawn := spec.arms.random) is not None:
        rng = np.random.default_rng(drawn.seed)
        arms += [changed(_drawn(drawn.knobs, rng.random(len(drawn.knobs)))) for _ in range(drawn.samples)]
    if (drawn := spec.arms.latin_hypercube) is not None:
        shares = latin_hypercube(drawn.samples, len(drawn.knobs), drawn.seed)
        arms += [changed(_drawn(drawn.knobs, row)) for row in shares]
    known: dict[str, Arm] = {}
    for arm in arms:
        if known.setdefault(arm.name, arm) != arm:
            raise BadInput(f"two arms are called {arm.name!r}: rename the one in arms.list")
    return tuple(known.values())


def changed(changes: Changes) -> Arm:
    """An arm that is called by what it changes: `adapter_scale=0.3, guidance_scale=4`."""
    ends = [path.rpartition(".")[2] for path in changes]
    words = [
        f"{end if ends.count(end) == 1 else path}={_word(value)}"
        for (path, value), end in zip(changes.items(), ends, strict=True)
    ]
    return Arm(", ".join(words), dict(changes))


def latin_hypercube(samples: int, knobs: int, seed: int) -> Any:
    """Shares in [0, 1), shape (samples, knobs): each column has one value in each of `samples` equal parts.

    McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input Variables", 1979.
    """
    rng = np.random.default_rng(seed)
    places = np.stack([rng.permutation(samples) for _ in range(knobs)], axis=1)
    return (places + rng.random((samples, knobs))) / samples


def resolved(
    spec: SweepSpec,
    arm: Arm,
    recipe: Callable[[str], Recipe],
    given: bool = True,
    has_references: bool = True,
    acting: bool = True,
) -> ArmSettings:
    """The settings of `arm`. `recipe` finds one by name; `given`: the stories' scenes are given, no agent writes them.

    Raises BadInput that names the arm and the path; with `acting` also for a change that does nothing because of
    another setting, or because the run ends before it would act.
    """
    changes = {**spec.base, **arm.changes}
    where = "base" if arm.name == BASE else f"arm {arm.name!r}"
    try:
        recipe_name = changes.pop("recipe", spec.recipe)
        data = recipe(str(recipe_name)).model_dump()
        models = {}
        for path, value in changes.items():
            if path.startswith("model."):
                models[_model_kind(path, spec.until)] = str(value)
            else:
                _set(data, path, value)
        data |= {
            "stages": _stages(data["stages"], spec.until, given),
            "approvals": (),
            "quality_dimensions": tuple(outcome.name for outcome in spec.outcomes),
            "scene_concurrency": 1,
        }
        made = _validated(data)
        for name, why in _idle(made.coherence, spec.until, has_references).items() if acting else ():
            if f"coherence.{name}" in (arm.changes or spec.base):
                raise BadInput(f"it does nothing {why}: leave it out, or change that", f"coherence.{name}")
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    return ArmSettings(made, models)


def all_paths(spec: SweepSpec, arms: Iterable[Arm]) -> tuple[str, ...]:
    """Every path that the base or an arm sets, in the order of the spec."""
    knobs = spec.arms.optuna.knobs if spec.arms.optuna is not None else ()
    return tuple(dict.fromkeys([*spec.base, *(path for arm in arms for path in arm.changes), *knobs]))


def check_knobs(spec: SweepSpec, recipe: Callable[[str], Recipe], given: bool) -> None:
    """Raises BadInput when an end of a range, or a value of a list, is outside of its field's limits."""
    for where, path, knob in spec.knobs():
        for value in (knob.at(0.0), knob.at(1.0)) if isinstance(knob, Range) else knob:
            try:
                resolved(spec, Arm(where, {path: value}), recipe, given, acting=False)
            except BadInput as error:
                raise BadInput(str(error).removeprefix("arm ")) from None


def _drawn(knobs: Mapping[str, Knob], shares: Iterable[float]) -> Changes:
    return {path: _at(knob, float(share)) for (path, knob), share in zip(knobs.items(), shares, strict=True)}


def _at(knob: Knob, share: float) -> Any:
    return knob.at(share) if isinstance(knob, Range) else knob[min(len(knob) - 1, int(share * len(knob)))]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else "none" if value is None else str(value)


def _model_kind(path: str, until: Until) -> str:
    kind = path.removeprefix("model.")
    if kind not in MODEL_KINDS:
        raise BadInput(f"there is no such model; choose one of {', '.join(MODEL_KINDS)}", path)
    if kind == "video" and until == "stills":
        raise BadInput("it does nothing with until: stills", path)
    return kind


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a field of a recipe. Raises BadInput for a path that leads nowhere."""
    *parents, last = path.split(".")
    place: Any = data
    if path in SAID_ELSEWHERE or parents[:1] == ["limits"]:
        raise BadInput(f"no arm sets it: {SAID_ELSEWHERE[path.partition('.')[0]]}", path)
    for at, name in enumerate([*parents, last]):
        if not isinstance(place, dict) or name not in place:
            known = [".".join([*parents[:at], key]) for key in place] if isinstance(place, dict) else []
            if not parents:
                known += ["recipe", *(f"model.{kind}" for kind in MODEL_KINDS)]
            near = get_close_matches(path, known, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"no such field{hint} There are: {', '.join(known)}" if known else "no such field", path)
        if at < len(parents):
            place = place[name]
    place[last] = value


def _validated(data: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise BadInput.invalid(error) from None


def _stages(stages: tuple[StageName, ...], until: Until, given: bool) -> tuple[StageName, ...]:
    last = STAGE_ORDER.index(LAST[until])
    wanted = [stage for stage in STAGE_ORDER[: last + 1] if stage in {*stages, "storyboard", LAST[until]}]
    if until == "video" and "video" not in wanted:
        wanted.insert(-1, "video")
    dropped = {"story", "scenes", "reference_image"} if given else set()
    return (*(stage for stage in wanted if stage not in dropped), "quality")


def _idle(coherence: CoherenceSettings, until: Until, has_references: bool) -> dict[str, str]:
    """Coherence settings that do nothing beside the others, and why."""
    adapter = ("adapter_scale", "adapter_blocks", "adapter_begin", "adapter_end", "reference_weights")
    policy = coherence.acting.seed_policy
    causes: tuple[tuple[bool, tuple[str, ...], str], ...] = (
        (until == "stills", ("cond_lowpass_until",), "with until: stills, which makes no clips"),
        (
            until == "stills" and coherence.chain in ("last_frame", "first_last"),
            ("chain",),
            f"as {coherence.chain!r} with until: stills, which makes no clips",
        ),
        (until == "stills" and coherence.use_latent_reuse, ("use_latent_reuse", "latent_strength"), LATER),
        (not coherence.use_ip_adapter, adapter, "with coherence.use_ip_adapter off"),
        (not has_references, (*adapter, "use_ip_adapter"), "without references, and no story of the suite has any"),
        (
            not coherence.use_latent_reuse and coherence.chain != "keyframe",
            ("latent_strength",),
            "without coherence.use_latent_reuse or coherence.chain: keyframe",
        ),
        (not coherence.use_seed_control, ("seed_policy",), "with coherence.use_seed_control off"),
        (policy in ("fixed", "derived"), ("blend_strength", "shared_cutoff"), f"with the seed policy {policy!r}"),
        (policy != "exact", ("shared_seed",), f"with the seed policy {policy!r}"),
    )
    return {name: why for idle, names, why in causes if idle for name in names}
