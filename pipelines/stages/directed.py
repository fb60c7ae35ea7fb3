"""A picture's or clip's request as its owner had it revised: their words in the prompt, another seed. Pure."""

from __future__ import annotations

from collections.abc import Callable

from models.interfaces import NoiseSpec
from pipelines.coherence import derived_seed
from pipelines.direction import Revision
from pipelines.steps import Json


def directed(request: Json, revision: Revision | None, word: Callable[[str, str], str]) -> Json:
    """`request` (with `prompt`, `negative_prompt`, `noise`) changed by `revision`; the same without one.

    `word` puts a wish into a prompt. The noise that scenes share stays, so a new picture keeps to the others.
    """
    if revision is None:
        return request
    changes = revision.modifications
    prompt = directed_prompt(request["prompt"], revision, word)
    noise = NoiseSpec.model_validate(request["noise"])
    seed = derived_seed(noise.seed, "revision", revision.count) if changes.seed is None else changes.seed
    changed: Json = {"prompt": prompt, "noise": noise.model_copy(update={"seed": seed}).model_dump()}
    if changes.negative_prompt is not None:
        changed["negative_prompt"] = changes.negative_prompt
    return {**request, **changed}


def directed_prompt(prompt: str, revision: Revision | None, word: Callable[[str, str], str]) -> str:
    """What a picture or clip is asked to show after `revision`."""
    if revision is None:
        return prompt
    prompt = revision.modifications.prompt or prompt
    if revision.feedback:
        prompt = word(prompt, ", ".join(line.rstrip(".") for line in revision.feedback))
    return prompt


def said(revision: Revision | None) -> Json:
    """What a step's inputs, and so its take's provenance, say of the revision."""
    return {} if revision is None else {"revision": revision.model_dump(mode="json")}
