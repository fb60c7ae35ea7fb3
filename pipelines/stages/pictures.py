"""The step that makes one picture or clip: its request, what an owner's revision and a retake change in it, its take.

`draw_references`, `draw_storyboard`, `make_clips` and the owner's edits each say what they ask of which model, and what
their result is; everything that they have in common is here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from models.interfaces import EncodedImage, ImageRequest, ImageResult, NoiseSpec, Reference, VideoResult
from models.spec import PictureModelSpec
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.direction import Revision
from pipelines.media import encode_png
from pipelines.recipe import SampleSettings
from pipelines.steps import Artifacts, Json, NewTake, Step, StepContext, StepOutput, StoredArtifact, TakeKind

WordFeedback = Callable[[str, str], str]
"""Puts an owner's feedback into a prompt (`pipelines.agents.prompting`)."""


@dataclass(frozen=True)
class Picture:
    """What a model made for a step, already stored."""

    value: Json
    """Output of the step."""
    artifact: StoredArtifact
    """The file of the take."""
    result: ImageResult | VideoResult
    others: tuple[StoredArtifact, ...] = ()
    """Files that are stored beside it."""
    provenance: Json = field(default_factory=dict)
    """What the take says of its making beyond the inputs, the noise and the timings."""


def picture_step(
    name: str,
    kind: TakeKind,
    scene_number: int | None,
    model: str,
    settings: Json,
    bindings: Json,
    make: Callable[[StepContext], Awaitable[Picture]],
    revision: Revision | None = None,
    attempt: int = 0,
    candidate: int = 0,
) -> Step:
    """The step in which `make` has a picture or clip made; it leaves one take of `kind`.

    `model` is the model's fingerprint. `settings` are the fields of its request that are numbers and words, `bindings`
    what else the result depends on, files by their hash. `attempt` counts the retakes that the quality gate asked for,
    `candidate` the stills of one attempt; `settings` has their seed already (`with_other_seed`).
    """
    inputs: Json = {
        "model": model,
        "request": settings,
        **bindings,
        **revision_inputs(revision),
        **({} if attempt == 0 else {"retake": attempt}),
        **({} if candidate == 0 else {"candidate": candidate}),
    }

    async def work(step: StepContext) -> StepOutput:
        made = await make(step)
        for note in made.result.notes:
            await step.notice("not_as_asked", note, "warning")
        provenance = {
            **inputs,
            "noise_sha256": made.result.noise_sha256,
            **made.provenance,
            "timings": made.result.timings,
        }
        take = NewTake(kind=kind, scene_number=scene_number, artifact=made.artifact.sha256, provenance=provenance)
        return StepOutput(value=made.value, artifacts=(made.artifact, *made.others), takes=(take,))

    retake = "" if attempt == 0 else f"/retake-{attempt}"
    other = "" if candidate == 0 else f"/candidate-{candidate}"
    return Step(name=f"{name}{retake}{other}", inputs=inputs, work=work, scene_number=scene_number)


async def draw(step: StepContext, request: ImageRequest) -> tuple[ImageResult, StoredArtifact]:
    """One picture of the image model, stored as PNG."""
    result = await step.image(request)
    return result, step.artifacts.put(encode_png(result.image), "image/png")


def sampling(spec: PictureModelSpec, sample: SampleSettings) -> Json:
    """Request fields that the recipe may set and the model's description sets otherwise.

    Raises InvalidRequest for a preset that the model lacks.
    """
    steps, guidance, preset = sample.num_inference_steps, sample.guidance_scale, spec.preset(sample.preset)
    return {
        "num_inference_steps": preset.num_inference_steps if steps is None else steps,
        "guidance_scale": preset.guidance_scale if guidance is None else guidance,
        "loras": [lora.model_dump() for lora in (*preset.loras, *sample.loras)],
        "deterministic": sample.deterministic,
    }


def apply_revision(settings: Json, revision: Revision | None, word: WordFeedback) -> Json:
    """`settings` (with `prompt`, `negative_prompt`, `noise`) as `revision` changes them; the same without one.

    The noise that scenes share stays, so a new picture keeps to the others.
    """
    if revision is None:
        return settings
    changes = revision.modifications
    prompt = revised_prompt(settings["prompt"], revision, word)
    noise = NoiseSpec.model_validate(settings["noise"])
    seed = derived_seed(noise.seed, "revision", revision.count) if changes.seed is None else changes.seed
    changed: Json = {"prompt": prompt, "noise": noise.model_copy(update={"seed": seed}).model_dump()}
    if changes.negative_prompt is not None:
        changed["negative_prompt"] = changes.negative_prompt
    return {**settings, **changed}


def revised_prompt(prompt: str, revision: Revision | None, word: WordFeedback) -> str:
    """What a picture or clip is asked to show after `revision`."""
    if revision is None:
        return prompt
    prompt = revision.modifications.prompt or prompt
    if revision.feedback:
        prompt = word(prompt, ", ".join(line.rstrip(".") for line in revision.feedback))
    return prompt


def revision_inputs(revision: Revision | None) -> Json:
    """What a step's inputs, and so its take's provenance, say of the revision."""
    return {} if revision is None else {"revision": revision.model_dump(mode="json")}


def with_other_seed(settings: Json, why: Literal["retake", "candidate"], count: int) -> Json:
    """`settings` of a request for take number `count`: another noise seed, derived from its own; all else as it is.

    0 is the take that is made in any case, with the seed that it has.
    """
    if count == 0:
        return settings
    noise = settings["noise"]
    return {**settings, "noise": {**noise, "seed": derived_seed(noise["seed"], why, count)}}


def reference_inputs(bound: tuple[BriefReference, ...]) -> list[Json]:
    """What a step's inputs say of the references that condition it; a file's name changes nothing."""
    return [reference.model_dump(exclude={"filename"}) for reference in bound]


def read_references(artifacts: Artifacts, bound: tuple[BriefReference, ...]) -> tuple[Reference, ...]:
    """The stored references as the models take them."""
    return tuple(
        Reference(
            image=EncodedImage(data=artifacts.read(reference.artifact)),
            role=reference.role,
            weight=reference.weight,
        )
        for reference in bound
    )
