"""The storyboard stage: one keyframe per scene, all scenes at once up to the recipe's limit.

Scenes do not depend on each other here: what couples them is the coherence plan (shared noise, references). Knows how
to ask for an image, not how one is made.
"""

from __future__ import annotations

from models.interfaces import EncodedImage, ImageRequest, Plain, Reference
from pipelines.agents.prompting import directed_image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import ScenePlan
from pipelines.media import encode_png
from pipelines.screenplay import Scene
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.gate import Made, best_take, made_keyframe, retake_inputs, retake_name, retaken
from pipelines.stages.revisions import chosen_value, directed, said, sampling
from pipelines.steps import Artifacts, Desk, Json, NewTake, Step, StepOutput


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
) -> tuple[Keyframe, ...]:
    """One keyframe per scene, in order. `references` hold artifact hashes."""

    async def draw(scene: Scene) -> Keyframe:
        value = await chosen_value(context, "keyframe", scene.scene_number)
        if value is not None:
            return Keyframe.model_validate(value)
        plan = plans[scene.scene_number - 1]
        name = f"storyboard/scene-{scene.scene_number:03d}"

        def make(attempt: int) -> Step:
            return keyframe_step(context, name, scene, plan, references, None, attempt)

        def made(value: Json) -> Made:
            return made_keyframe(context, scene, value["artifact"])

        return Keyframe.model_validate(await best_take(context, make, made, scene.scene_number))

    return await each_scene(scenes, draw, context.recipe.scene_concurrency)


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
    settings = retaken(directed(asked, revision, directed_image_prompt), attempt)
    inputs: Json = {
        "model": context.fingerprints["image"],
        "request": settings,
        "references": [reference.model_dump(exclude={"filename"}) for reference in bound],
        "start": None if start is None else {"image": start, "strength": plan.latent_strength},
        **said(revision),
        **retake_inputs(attempt),
    }

    async def work(desk: Desk) -> StepOutput:
        request = ImageRequest.model_validate(
            {
                **settings,
                "references": read_references(desk.artifacts, bound),
                "start": None
                if start is None
                else {"image": {"data": desk.artifacts.read(start)}, "strength": plan.latent_strength},
            }
        )
        result = await desk.image(request)
        for note in result.notes:
            await desk.notice("not_as_asked", note, "warning")
        stored = desk.artifacts.put(encode_png(result.image), "image/png")
        keyframe = Keyframe(scene_number=scene.scene_number, artifact=stored.sha256, noise_sha256=result.noise_sha256)
        provenance = {**inputs, "noise_sha256": result.noise_sha256, "timings": result.timings}
        take = NewTake(kind="keyframe", scene_number=scene.scene_number, artifact=stored.sha256, provenance=provenance)
        return StepOutput(value=keyframe.model_dump(), artifacts=(stored,), takes=(take,))

    return Step(name=retake_name(name, attempt), inputs=inputs, work=work, scene_number=scene.scene_number)


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
