"""From flags to the body of an order for an ad. What can be told here is checked here; the server checks the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.recipe import StageName
from pipelines.steps import Json
from serving.order import check_prompt, read_board
from serving.tools.reference_files import ReferenceFile, read_references


@dataclass(frozen=True)
class AdRequest:
    """A body of `POST /api/v1/generations`."""

    fields: Json
    references: tuple[ReferenceFile, ...]


def ad_request(
    brief: Mapping[str, Any],
    coherence: Mapping[str, Any],
    references: list[str],
    storyboard: Path | None,
    recipe: str,
    seed: int,
    wait_after: StageName | None,
) -> AdRequest:
    """`wait_after`: the stage after which the generation waits to be told to go on; None: it runs to its end.

    Raises BadInput.
    """
    fields: Json = {"recipe": recipe, "approvals": [] if wait_after is None else [wait_after]}
    told: dict[str, Any] = {**brief, "seed": seed}
    if storyboard is not None:
        board = read_board(storyboard, brief)
        told["prompt"] = board.prompt
        fields["storyboard"] = board.model_dump(mode="json")
    check_prompt(told)
    fields["brief"] = told
    if coherence:
        fields["coherence"] = dict(coherence)
    return AdRequest(fields, read_references(references))
