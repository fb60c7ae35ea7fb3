"""The storyboard stage: one keyframe per scene, all scenes at once up to the recipe's limit.

Scenes do not wait for each other here, unless each keyframe is drawn from the one before (`chain: keyframe`): what
couples them is the coherence plan (shared noise, references).
"""

from __future__ import annotations

import asyncio

from models.interfaces import ImageRequest, Plain
from pipelines.agents.prompting import revised_image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import ScenePlan
from pipelines.screenplay import Scene
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.edits import chosen_value
from pipelines.stages.gate import NO_SUBJECTS, Scorable, Subjects, best_take, scorable_keyframe
from pipelines.stages.pictures import (
    Picture,
    apply_revision,
    draw,
    picture_step,
    read_references,
    reference_inputs,
    sampling,
    with_retake_seed,
)
from pipelines.steps import Json, Step, StepContext


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

        def make(attempt: int) -> Step:
            return keyframe_step(context, name, scene, plan, references, start, attempt)

        def scorable(value: Json) -> Scorable:
            return scorable_keyframe(context, scene, value["artifact"], subjects)

        return await best_take(context, make, scorable, scene.scene_number)

    # Scenes are started in order, so a scene that waits for the one before cannot take its place and block it.
    return await each_scene(scenes, keyframe, context.recipe.scene_concurrency)


def keyframe_step(
    context: StageContext,
    name: str,
    scene: Scene,
    plan: ScenePlan,
    references: tuple[BriefReference, ...],
    start: str | None,
    attempt: int = 0,
) -> Step:
    """The step that draws one keyframe, from pure noise or from the image with artifact hash `start`.

    `attempt` counts the retakes that the gate asked for.
    """
    spec = context.image_model
    sample = context.recipe.image
    width, height = sample.size or spec.sizes[context.brief.aspect_ratio]
    bound = references if plan.use_references else ()
    revision = context.direction.revision("storyboard", scene.scene_number)
    asked: Json = {
        "prompt": scene.image_prompt,
        "negative_prompt": sample.negative_prompt,
        "width": width,
        "height": height,
        "noise": plan.keyframe_noise.model_dump(),
        **sampling(spec, sample),
        "adapter": plan.adapter.model_dump(),
    }
    settings = with_retake_seed(apply_revision(asked, revision, revised_image_prompt), attempt)
    bindings: Json = {
        "references": reference_inputs(bound),
        "start": None if start is None else {"image": start, "strength": plan.latent_strength},
    }

    async def make(step: StepContext) -> Picture:
        request = ImageRequest.model_validate(
            {
                **settings,
                "references": read_references(step.artifacts, bound),
                "start": None
                if start is None
                else {"image": {"data": step.artifacts.read(start)}, "strength": plan.latent_strength},
            }
        )
        result, stored = await draw(step, request)
        keyframe = Keyframe(scene_number=scene.scene_number, artifact=stored.sha256, noise_sha256=result.noise_sha256)
        return Picture(keyframe.model_dump(), stored, result)

    model = context.fingerprints["image"]
    return picture_step(name, "keyframe", scene.scene_number, model, settings, bindings, make, revision, attempt)
