"""An ad as it is asked for, and the checked order that comes of it: brief, recipe and given stages.

The command line and every route of the server plan here, so that the same mistake is refused everywhere for the same
reason. Pure: recipes, the image model, the frame rate and the drawing of seeds are handed in. Every refusal is a
BadInput; where one field must change it carries that field's name in an `AdRequest` (`brief.prompt`,
`coherence.adapter_scale`, `references`), which the caller translates into its own (`--prompt`, `base_prompt`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from models.interfaces import Plain
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.brief import Brief, BriefReference
from pipelines.coherence import check_models, random_seed
from pipelines.errors import BadInput, OutOfDomain
from pipelines.reading.brief_rules import read_brief
from pipelines.reading.domain import drawable, refusal
from pipelines.recipe import STAGE_ORDER, Recipe, StageName
from pipelines.records import ComparisonType
from pipelines.scoring import backbones_of
from pipelines.stages.registry import check_recipe, wanted_stages
from pipelines.steps import Json
from pipelines.storyboard_file import Storyboard, StoryboardScene, storyboard_scenes
from pipelines.timing import plan_slots
from quality.registry import DIMENSIONS, OF_A_PRODUCT, ON_A_STILL, PREFERENCE
from quality.score import Medium

MIN_VARIATIONS, MAX_VARIATIONS = 2, 10
STORYBOARD_FIELDS = ("prompt", "title", "duration", "aspect_ratio", "framework")
"""Fields of the brief that a storyboard has as well."""

NOT_IN_BRIEF = ("references", "coherence", "storyboard", "use_llm")
"""Fields of an `AdRequest` beside its brief that are checked together with the brief."""


@dataclass(frozen=True)
class AdRequest:
    """An ad as somebody asks for it. A field that is None is as the recipe has it."""

    recipe: str
    brief: Mapping[str, Any]
    """Fields of `Brief`, as far as given, without references and coherence."""
    references: tuple[BriefReference, ...] = ()
    coherence: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `CoherenceSettings` that differ from the recipe's."""
    stages: tuple[StageName, ...] | None = None
    """The stages of the recipe that run."""
    approvals: tuple[StageName, ...] | None = None
    """Stages after which the generation waits for its owner; () runs to the end."""
    quality_dimensions: tuple[str, ...] | None = None
    quality_gate: Mapping[str, Any] | None = None
    """Fields of `QualityGate` that differ from the recipe's; its minimums are replaced as a whole."""
    candidates: Mapping[str, Any] | None = None
    """Fields of `Candidates` that differ from the recipe's."""
    max_story_rounds: int | None = None
    drawn_references: int | None = None
    """Reference images to draw of the product, 1 to 3."""
    storyboard: Storyboard | None = None
    """Scenes that are given: no agent writes them."""
    use_llm: bool = True
    """False: no agent is asked; every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""


class Variation(Plain):
    """What one generation of a comparison has of its own."""

    prompt: str | None = None
    """Only in a comparison of prompts; None: the base's."""
    coherence: Json | None = None
    """The coherence fields that differ from the base; only in a comparison of settings. None: the base's."""


@dataclass(frozen=True)
class AdOrder:
    """An ad that can be made: a request with everything filled in and checked."""

    brief: Brief
    recipe: Recipe
    given: Json
    """Outputs of stages that the request supplies (a storyboard's scenes); these stages do not run."""
    warnings: tuple[str, ...] = ()
    """What of the brief is drawn otherwise, or cannot be."""


@dataclass(frozen=True)
class AdPlanner:
    """Turns requests into orders, for the models of one profile."""

    recipe: Callable[[str], Recipe]
    """Recipe by name; raises BadInput for an unknown one."""
    image_model: ImageModelSpec
    video_model: VideoModelSpec
    fps: int
    """Frames per second of the finished video."""
    scorers: Collection[str]
    """The backbones that this deployment scores with (`quality.stream.Stream`)."""
    new_seed: Callable[[], int] = random_seed
    """Called for a request without a seed; the order's brief names what it gave."""

    def plan(self, request: AdRequest) -> AdOrder:
        """Raises BadInput."""
        recipe = self._recipe(request)
        return self._order(request, recipe, self._brief(request, recipe))

    def compare(
        self, request: AdRequest, comparison_type: ComparisonType, variations: tuple[Variation, ...]
    ) -> tuple[AdOrder, ...]:
        """One order per variation of `request`, in order. Raises BadInput, also when two would be the same.

        All have the seed of the request, or one that was drawn for all of them: only what is compared differs.
        """
        recipe = self._recipe(request)
        briefs = vary(self._brief(request, recipe), comparison_type, variations)
        orders = []
        for index, (brief, variation) in enumerate(zip(briefs, variations, strict=True)):
            with _naming_fields(partial(_field_of_variation, index, variation)):
                orders.append(self._order(request, recipe, brief))
        return tuple(orders)

    def _brief(self, request: AdRequest, recipe: Recipe) -> Brief:
        fields = brief_fields(request)
        if fields.get("seed") is None:
            fields["seed"] = self.new_seed()
        coherence = {**recipe.coherence.model_dump(), **request.coherence}
        with _naming_fields(_field_of_brief):
            try:
                return Brief.model_validate({**fields, "coherence": coherence, "references": request.references})
            except ValidationError as error:
                raise BadInput.invalid(error) from None

    def _recipe(self, request: AdRequest) -> Recipe:
        """The recipe named, with what the request has otherwise."""
        recipe = self.recipe(request.recipe)
        changes: Json = {}
        if request.stages is not None:
            changes["stages"] = [stage for stage in recipe.stages if stage in request.stages]
        stages = changes.get("stages", recipe.stages)
        approvals = recipe.approvals if request.approvals is None else request.approvals
        strangers = [stage for stage in request.approvals or () if stage not in stages]
        if strangers:
            raise BadInput(f"stage {strangers[0]!r} does not run; its stages are {', '.join(stages)}", "approvals")
        changes["approvals"] = [stage for stage in STAGE_ORDER if stage in approvals and stage in stages]
        if request.quality_dimensions is not None:
            changes["quality_dimensions"] = request.quality_dimensions
        if request.quality_gate is not None:
            changes["quality_gate"] = {**recipe.quality_gate.model_dump(), **request.quality_gate}
        if request.candidates is not None:
            changes["candidates"] = {**recipe.candidates.model_dump(), **request.candidates}
        if request.drawn_references is not None:
            if request.drawn_references > max(1, self.image_model.references):
                reason = f"image model {self.image_model.name!r} takes {self.image_model.references}: ask for fewer"
                raise BadInput(reason, "number_of_reference_images")
            changes["drawn_references"] = request.drawn_references
        if request.max_story_rounds is not None:
            changes["story"] = {**recipe.story.model_dump(), "max_rounds": request.max_story_rounds}
        try:
            return Recipe.model_validate({**recipe.model_dump(), **changes})
        except ValidationError as error:
            raise BadInput.invalid(error) from None

    def _order(self, request: AdRequest, recipe: Recipe, brief: Brief) -> AdOrder:
        with _naming_fields(_field_of_brief):
            recipe.check_brief(brief)
            given = self._given(request, recipe, brief)
            if not given:
                plan_slots(brief.framework or recipe.framework, brief.duration, self.fps, brief.num_scenes)
        with _naming_fields(lambda name: f"coherence.{name}"):
            check_models(brief.coherence, self.image_model, self.video_model)
        if problem := check_recipe(recipe, frozenset(given)):
            raise BadInput(problem)
        check_judged(recipe, self.scorers, ordered=request.quality_gate or {})
        check_ranked(recipe, self.scorers, brief.references)
        taken = self.image_model.references
        if brief.coherence.use_ip_adapter and len(brief.references) > taken:
            raise BadInput(
                f"image model {self.image_model.name!r} takes {taken}, not {len(brief.references)}: leave some out, or "
                "switch the IP-Adapter off",
                "references",
            )
        weights = brief.coherence.reference_weights or ()
        drawn = recipe.drawn_references if "reference_image" in recipe.stages else 0
        if len(weights) > (expected := len(brief.references) or drawn):
            raise BadInput(
                f"{len(weights)} weights are given for {expected} reference{'' if expected == 1 else 's'}: give at most"
                " one per reference, in their order",
                "coherence.reference_weights",
            )
        return AdOrder(brief, recipe, given, self._warnings(request, brief, agents=not given))

    def _warnings(self, request: AdRequest, brief: Brief, agents: bool) -> tuple[str, ...]:
        """What of `brief` lies outside what the image model draws.

        Raises OutOfDomain where agents would write of it and nobody asked to go on. Scenes that are given are drawn as
        well as they can be.
        """
        found = drawable(read_brief(brief), brief.prompt, self.image_model.domain)
        if found.missing and agents and not request.accept_out_of_domain:
            raise OutOfDomain(refusal(found, self.image_model.name), "brief.prompt")
        if not agents:
            return tuple(f"image model {self.image_model.name!r} cannot draw {one.missing}" for one in found.missing)
        return found.warnings

    def _given(self, request: AdRequest, recipe: Recipe, brief: Brief) -> Json:
        """The scenes of the storyboard, or those that need no agent; none when agents write them."""
        board = request.storyboard
        if board is None and not request.use_llm:
            board = _without_agents(recipe, brief, self.fps)
        if board is None:
            return {}
        scenes = storyboard_scenes(board, self.fps)
        if not request.use_llm and any(stage.name == "story" for stage in wanted_stages(recipe, frozenset({"scenes"}))):
            reason = f"recipe {recipe.name!r} draws its references from a story: choose another recipe"
            raise BadInput(reason, "use_llm")
        return {"scenes": scenes.model_dump(mode="json")}


def check_judged(recipe: Recipe, scorers: Collection[str], ordered: Mapping[str, Any]) -> None:
    """Raises BadInput for a minimum by which nothing of this recipe could ever be judged with `scorers`.

    `ordered` are the fields of the gate that the order names. Minimums by implementation that a recipe brings are for
    where those implementations are, and abstain elsewhere.
    """
    media: tuple[Medium, ...] = ("keyframe", "clip")
    for name, minimum in recipe.quality_gate.minimums.items():
        if "minimums" in ordered or not isinstance(minimum, dict):
            _check_measurable(name, media, scorers, "a still or a clip", f"quality_gate.minimums.{name}")


def check_ranked(recipe: Recipe, scorers: Collection[str], references: Sequence[BriefReference]) -> None:
    """Raises BadInput for a rank by which no still of this recipe could ever be told from another with `scorers`.

    `references` are those of the brief; a recipe may draw others of the product itself.
    """
    if PREFERENCE in recipe.quality_dimensions:
        reason = f"{PREFERENCE!r} compares stills with each other: leave it out, and name it in the rank of candidates"
        raise BadInput(reason, "quality_dimensions")
    shows_product = "reference_image" in recipe.stages or any(one.role == "product" for one in references)
    for name in recipe.candidates.rank:
        still, field = ON_A_STILL.get(name, name), f"candidates.rank.{name}"
        _check_measurable(still, ("pair",) if still == PREFERENCE else ("keyframe",), scorers, "a still", field)
        if still in OF_A_PRODUCT and not shows_product:
            raise BadInput(
                f"{name!r} compares stills with a picture of the product, and there is none: add a reference of the "
                "product, or leave the dimension out",
                field,
            )


def _check_measurable(name: str, media: Sequence[Medium], scorers: Collection[str], what: str, field: str) -> None:
    if not set(media) & set(DIMENSIONS[name].media):
        elsewhere = "name it under the dimensions to have it measured"
        if name == PREFERENCE:
            elsewhere = "name it in the rank of candidates"
        raise BadInput(
            f"{name!r} is not measured on {what}, only on {' and '.join(DIMENSIONS[name].media)}: leave it out, and "
            f"{elsewhere}",
            field,
        )
    for backbone in backbones_of([name]):
        if backbone not in scorers:
            key = "scorer" if backbone == "clip" else f"scorers.{backbone}"
            raise BadInput(
                f"{name!r} needs a model that this deployment does not have: name one as `{key}` in its profile, or "
                "leave the dimension out",
                field,
            )


def brief_fields(request: AdRequest) -> dict[str, Any]:
    """The fields of the brief, those that the storyboard has included.

    Raises BadInput when brief and storyboard both have one, and when neither says what the ad is for.
    """
    fields, board = dict(request.brief), request.storyboard
    if board is None:
        if "prompt" not in fields:
            raise BadInput("missing; say what the ad is for, in 10 to 5000 characters", "brief.prompt")
        return fields
    twice = [name for name in (*STORYBOARD_FIELDS, "num_scenes") if name in fields]
    if twice:
        reason = "the storyboard says it as well: change it there and leave it out here, or leave the storyboard out"
        raise BadInput(reason, f"brief.{twice[0]}")
    return {**fields, **{name: getattr(board, name) for name in STORYBOARD_FIELDS}}


def vary(base: Brief, comparison_type: ComparisonType, variations: tuple[Variation, ...]) -> tuple[Brief, ...]:
    """One brief per variation, in order. Raises BadInput, also when two would be the same."""
    if not MIN_VARIATIONS <= len(variations) <= MAX_VARIATIONS:
        reason = f"{len(variations)} given, {MIN_VARIATIONS} to {MAX_VARIATIONS} can be compared"
        raise BadInput(reason, "variations")
    briefs = tuple(_varied(base, comparison_type, index, variation) for index, variation in enumerate(variations))
    for index, brief in enumerate(briefs):
        if brief in briefs[:index]:
            same = f"variations.{briefs.index(brief)}"
            raise BadInput(f"the same as {same}: nothing to compare", f"variations.{index}")
    return briefs


def _varied(base: Brief, comparison_type: ComparisonType, index: int, variation: Variation) -> Brief:
    place = f"variations.{index}"
    if comparison_type == "prompt" and variation.coherence is not None:
        reason = "a comparison of prompts differs in nothing else: leave it out, or compare settings"
        raise BadInput(reason, f"{place}.coherence")
    if comparison_type == "settings" and variation.prompt is not None:
        reason = "a comparison of settings differs in nothing else: leave it out, or compare prompts"
        raise BadInput(reason, f"{place}.prompt")
    changes: Json = {} if variation.prompt is None else {"prompt": variation.prompt}
    if variation.coherence is not None:
        changes = {"coherence": {**base.coherence.model_dump(), **variation.coherence}}
    with _naming_fields(lambda name: f"{place}.{name}"):
        try:
            return Brief.model_validate({**base.model_dump(), **changes})
        except ValidationError as error:
            raise BadInput.invalid(error) from None


def _without_agents(recipe: Recipe, brief: Brief, fps: int) -> Storyboard:
    """The prompt in every scene of the framework."""
    framework = brief.framework or recipe.framework
    slots = plan_slots(framework, brief.duration, fps, brief.num_scenes)
    try:
        return Storyboard(
            prompt=brief.prompt,
            title=brief.title,
            framework=framework,
            aspect_ratio=brief.aspect_ratio,
            duration=brief.duration,
            scenes=tuple(
                StoryboardScene(
                    scene_number=slot.scene_number,
                    purpose=slot.purpose,
                    seconds=slot.frames / fps,
                    setting=slot.purpose,
                    action=brief.prompt,
                    camera="static",
                    image_prompt=brief.prompt,
                    video_prompt=brief.prompt,
                )
                for slot in slots
            ),
        )
    except ValidationError as error:
        raise BadInput.invalid(error) from None


@contextmanager
def _naming_fields(name: Callable[[str], str]) -> Iterator[None]:
    """Let `name` rename the field of a refusal that is raised inside."""
    try:
        yield
    except BadInput as error:
        raise error.renamed(name) from None


def _field_of_brief(name: str) -> str:
    """A field of `Brief`, as a field of `AdRequest`."""
    return name if name.partition(".")[0] in NOT_IN_BRIEF else f"brief.{name}"


def _field_of_variation(index: int, variation: Variation, name: str) -> str:
    """A field of `AdRequest`, as the field of the variation that it comes from."""
    if name == "brief.prompt" and variation.prompt is not None:
        return f"variations.{index}.prompt"
    return name
