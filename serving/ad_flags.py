"""From flags to a checked order: brief, recipe, references and storyboard are all valid before anything starts.

Knows no terminal and no engine. Every problem is a BadInput that names the flag, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.settings import Profile, Settings, load_model, load_profile, load_recipe
from models.spec import ImageModelSpec
from pipelines.brief import Brief
from pipelines.coherence import CoherenceSettings
from pipelines.errors import BadInput, first_problem
from pipelines.recipe import Recipe
from pipelines.stages.registry import check_recipe
from pipelines.steps import Json
from pipelines.storyboard_file import Storyboard, read_storyboard, storyboard_scenes
from pipelines.timing import plan_slots
from serving.local_run import NewRun
from serving.reference_files import ReferenceFile, read_references
from serving.run_folder import check_new

FROM_STORYBOARD = ("prompt", "duration", "aspect_ratio", "framework", "num_scenes", "title")


def new_run(
    output: Path | None,
    brief: Mapping[str, Any],
    coherence: Mapping[str, Any],
    references: list[str],
    storyboard: Path | None,
    recipe: str,
    profile: str | None,
    seed: int,
    stages: Collection[str] | None,
) -> tuple[Path, NewRun]:
    """The output folder and the order; `stages` are those of the recipe that run, None all. Raises BadInput."""
    folder = new_folder(output)
    deployed = load_profile(profile or Settings().profile)
    chosen = _recipe(recipe, stages)
    files = read_references(references)
    fields: dict[str, Any] = dict(brief)
    given: Json = {}
    if storyboard is not None:
        fields, given = _from_storyboard(storyboard, fields, deployed)
    order = NewRun(
        brief=_brief(fields, coherence, chosen, files, seed),
        recipe=chosen,
        profile=deployed,
        reference_images=tuple(file.png for file in files),
        given=given,
    )
    _check(order)
    return folder, order


def new_folder(output: Path | None) -> Path:
    """Raises BadInput when none is named, or the one that is cannot take a new ad."""
    if output is None:
        raise BadInput("--output is missing: name a folder for the finished ad, or --resume an earlier one")
    check_new(output)
    return output


def read_board(path: Path, fields: Collection[str]) -> Storyboard:
    """The storyboard in a file. Raises BadInput, also when `fields` of the brief are given that the file says."""
    clash = [name for name in FROM_STORYBOARD if name in fields]
    if clash:
        flag = "--" + clash[0].replace("_", "-")
        raise BadInput(f"{flag} and --storyboard exclude each other: the storyboard file says it, edit it there")
    try:
        return read_storyboard(path.read_bytes(), path.name)
    except OSError as error:
        raise BadInput(f"cannot read storyboard {str(path)!r}: {error.strerror}") from None


def check_prompt(fields: Collection[str]) -> None:
    """Raises BadInput when `fields` of the brief lack the prompt."""
    if "prompt" not in fields:
        raise BadInput("--prompt is missing: say what the ad is for, in 10 to 5000 characters")


def refuse_with_resume(flags: Collection[str], references: list[str] | None) -> None:
    """A resumed run keeps its own brief. Raises BadInput when flags of a new one are given too."""
    named = sorted(flags) or (["reference_images"] if references else [])
    if named:
        flag = "--" + named[0].replace("_", "-")
        raise BadInput(f"{flag} cannot be changed with --resume: leave it out, or start a new run with --output")


def _recipe(name: str, stages: Collection[str] | None) -> Recipe:
    """Without approvals: a run in the terminal's own process goes to its end."""
    recipe = load_recipe(name)
    chosen = tuple(stage for stage in recipe.stages if stages is None or stage in stages)
    return recipe.model_copy(update={"stages": chosen, "approvals": ()})


def _brief(
    fields: Mapping[str, Any],
    coherence: Mapping[str, Any],
    recipe: Recipe,
    files: tuple[ReferenceFile, ...],
    seed: int,
) -> Brief:
    check_prompt(fields)
    try:
        settings = CoherenceSettings.model_validate({**recipe.coherence.model_dump(), **coherence})
        references = tuple(file.reference for file in files)
        return Brief.model_validate({**fields, "coherence": settings, "references": references, "seed": seed})
    except ValidationError as error:
        raise BadInput(first_problem(error)) from None


def _from_storyboard(path: Path, fields: Mapping[str, Any], profile: Profile) -> tuple[dict[str, Any], Json]:
    board = read_board(path, fields)
    scenes = storyboard_scenes(board, profile.fps, path.name)
    return {**fields, **_board_fields(board)}, {"scenes": scenes.model_dump(mode="json")}


def _board_fields(board: Storyboard) -> dict[str, Any]:
    return {name: getattr(board, name) for name in ("prompt", "duration", "aspect_ratio", "framework", "title")}


def _check(order: NewRun) -> None:
    brief, recipe = order.brief, order.recipe
    if problem := recipe.problem_with(brief):
        raise BadInput(problem)
    if not order.given:
        plan_slots(brief.framework or recipe.framework, brief.duration, order.profile.fps, brief.num_scenes)
    image_model = load_model(order.profile.image, ImageModelSpec)
    if brief.coherence.use_ip_adapter and len(brief.references) > image_model.references:
        raise BadInput(
            f"image model {image_model.name!r} takes {image_model.references} reference images, not "
            f"{len(brief.references)}: leave some out, or switch them off with --no-ip-adapter"
        )
    problem = check_recipe(recipe, frozenset(order.given))
    if problem:
        raise BadInput(problem)
