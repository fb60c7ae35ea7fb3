"""The storyboard stage: one keyframe per scene, all scenes at once up to the recipe's limit.

Scenes do not wait for each other here, unless each keyframe is drawn from the one before (`chain: keyframe`): what
couples them is the coherence plan (shared noise, references, a stored bank of one picture's attention).
A recipe with candidates has several stills drawn of each scene, of which the best one stays.
"""

from __future__ import annotations

import asyncio

from models.interfaces import ImageRequest, Plain
from pipelines.agents.prompting import revised_image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import ScenePlan
from pipelines.errors import PipelineError
from pipelines.screenplay import Scene
from pipelines.stages.candidates import best_candidate
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.edits import chosen_value
from pipelines.stages.gate import best_take
from pipelines.stages.pictures import (
    Picture,
    apply_revision,
    draw,
    picture_step,
    read_references,
    reference_inputs,
    sampling,
    with_other_seed,
)
from pipelines.stages.scorable import NO_SUBJECTS, Scorable, Subjects, scorable_keyframe
from pipelines.steps import Json, Step, StepContext, StepOutput


class Keyframe(Plain):
    """The still that a clip starts from."""

    scene_number: int
    artifact: str
    noise_sha256: str | None
    """None: a picture that the user gave."""


async def draw_storyboard(
    context: StageContext,
    scenes: tuple[Scene, ...],
    plans: tuple[ScenePlan, ...],
    references: tuple[BriefReference, ...],
    subjects: Subjects = NO_SUBJECTS,
) -> tuple[Keyframe, ...]:
    """One keyframe per scene, in order. `references` hold artifact hashes."""

    drawn: dict[int, asyncio.Future[str]] = {
        scene.scene_number: asyncio.get_running_loop().create_future() for scene in scenes
    }
    """Artifact hash of each keyframe."""

    bank = await attention_bank(context, scenes, plans, references)

    async def keyframe(scene: Scene) -> Keyframe:
        value = await chosen_value(context, "keyframe", scene.scene_number)
        if value is None:
            value = await drawn_keyframe(scene, plans[scene.scene_number - 1])
        found = Keyframe.model_validate(value)
        drawn[scene.scene_number].set_result(found.artifact)
        return found

    async def drawn_keyframe(scene: Scene, plan: ScenePlan) -> Json:
        name = f"storyboard/scene-{scene.scene_number:03d}"
        start = None if plan.keyframe_from_scene is None else await drawn[plan.keyframe_from_scene]

        async def make(attempt: int) -> Json:
            def draw_one(candidate: int) -> Step:
                return keyframe_step(context, name, scene, plan, references, start, bank, attempt, candidate)

            return await best_candidate(context, draw_one, scorable, scene.scene_number, attempt)

        def scorable(value: Json) -> Scorable:
            return scorable_keyframe(context, scene, value["artifact"], subjects)

        return await best_take(context, make, scorable, scene.scene_number)

    # Scenes are started in order, so a scene that waits for the one before cannot take its place and block it.
    return await each_scene(scenes, keyframe, context.recipe.scene_concurrency)


async def attention_bank(
    context: StageContext,
    scenes: tuple[Scene, ...],
    plans: tuple[ScenePlan, ...],
    references: tuple[BriefReference, ...],
) -> str | None:
    """Artifact hash of the attention bank that the scenes read, written now if it has not been; None: they read none.

    Its picture is the first scene's, as it is before anybody revises it: the bank stays when one scene is made again.
    """
    number = next((plan.attention_from_scene for plan in plans if plan.attention_from_scene is not None), None)
    if number is None:
        return None
    scene, plan = next(pair for pair in zip(scenes, plans, strict=True) if pair[1].scene_number == number)
    bound = references if plan.use_references else ()
    settings = {**_asked(context, scene, plan), "keep_attention": plan.attention_seed}
    inputs: Json = {
        "model": context.fingerprints["image"],
        "request": settings,
        "references": reference_inputs(bound),
    }

    async def work(step: StepContext) -> StepOutput:
        request = {**settings, "references": read_references(step.artifacts, bound)}
        result = await step.image(ImageRequest.model_validate(request))
        if result.attention_bank is None:
            raise PipelineError(f"image model {context.image_model.name!r} wrote no attention bank")
        stored = step.artifacts.put(result.attention_bank, "application/x-safetensors")
        return StepOutput(value={"bank": stored.sha256}, artifacts=(stored,))

    bank: str = (await context.finish(Step(name="storyboard/attention-bank", inputs=inputs, work=work)))["bank"]
    return bank


def keyframe_step(
    context: StageContext,
    name: str,
    scene: Scene,
    plan: ScenePlan,
    references: tuple[BriefReference, ...],
    start: str | None,
    bank: str | None,
    attempt: int = 0,
    candidate: int = 0,
) -> Step:
    """The step that draws one keyframe, from pure noise or from the image with artifact hash `start`.

    `bank` is the hash of the attention bank that the scene reads where its plan says so. `attempt` counts the retakes
    that the gate asked for, `candidate` the stills that are drawn of one attempt.
    """
    bound = references if plan.use_references else ()
    revision = context.direction.revision("storyboard", scene.scene_number)
    asked = _asked(context, scene, plan)
    settings = with_other_seed(apply_revision(asked, revision, revised_image_prompt), "retake", attempt)
    settings = with_other_seed(settings, "candidate", candidate)
    bindings: Json = {
        "references": reference_inputs(bound),
        "start": None if start is None else {"image": start, "strength": plan.latent_strength},
    }
    read = bank if plan.attention_from_scene is not None else None
    if read is not None:
        bindings["attention_bank"] = read

    async def make(step: StepContext) -> Picture:
        request = ImageRequest.model_validate(
            {
                **settings,
                "references": read_references(step.artifacts, bound),
                "start": None
                if start is None
                else {"image": {"data": step.artifacts.read(start)}, "strength": plan.latent_strength},
                "attention_bank": None if read is None else step.artifacts.read(read),
            }
        )
        result, stored = await draw(step, request)
        keyframe = Keyframe(scene_number=scene.scene_number, artifact=stored.sha256, noise_sha256=result.noise_sha256)
        return Picture(keyframe.model_dump(), stored, result)

    model, number = context.fingerprints["image"], scene.scene_number
    return picture_step(name, "keyframe", number, model, settings, bindings, make, revision, attempt, candidate)


def _asked(context: StageContext, scene: Scene, plan: ScenePlan) -> Json:
    """The fields of the request for a keyframe that are numbers and words, before anybody revises it."""
    spec = context.image_model
    sample = context.recipe.image
    width, height = sample.size or spec.sizes[context.brief.aspect_ratio]
    return {
        "prompt": scene.image_prompt,
        "negative_prompt": sample.negative_prompt,
        "width": width,
        "height": height,
        "noise": plan.keyframe_noise.model_dump(),
        **sampling(spec, sample),
        "adapter": plan.adapter.model_dump(),
    }
