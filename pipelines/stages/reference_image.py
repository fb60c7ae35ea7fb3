"""The reference image stage: draws the product once from its description, for briefs that bring no image of
it.

The drawn image then conditions every scene as a user's own would.
"""

from __future__ import annotations

from models.interfaces import ImageRequest, NoiseSpec
from pipelines.agents.scene_prompts import image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.media import encode_png
from pipelines.stages.context import StageContext
from pipelines.steps import Desk, Json, NewTake, Step, StepOutput
from pipelines.story import Entity, SceneDraft, StoryResult

SETTING = "in a photo studio, on a plain background"


async def draw_references(context: StageContext, story: StoryResult) -> tuple[BriefReference, ...]:
    """The brief's references where there are any; else one drawn image per product entity."""
    if context.brief.references:
        return context.brief.references
    products = [entity for entity in story.entities if entity.role == "product"]
    drawn = [await context.finish(_drawing(context, entity)) for entity in products]
    return tuple(BriefReference.model_validate(value) for value in drawn)


def _drawing(context: StageContext, entity: Entity) -> Step:
    spec = context.image_model
    width, height = spec.sizes["1:1"]
    draft = SceneDraft(setting=SETTING, action=entity.name, camera="static", entities=(entity.handle,))
    settings: Json = {
        "prompt": image_prompt(draft, (entity,)),
        "width": width,
        "height": height,
        "noise": NoiseSpec(seed=derived_seed(context.seed, "reference", entity.handle)).model_dump(),
        "num_inference_steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
    }
    inputs: Json = {"model": context.fingerprints["image"], "request": settings}

    async def work(desk: Desk) -> StepOutput:
        result = await desk.image(ImageRequest.model_validate(settings))
        stored = desk.artifacts.put(encode_png(result.image), "image/png")
        reference = BriefReference(artifact=stored.sha256, role=entity.role, filename=f"{entity.handle}.png")
        take = NewTake(
            kind="reference",
            scene_number=None,
            artifact=stored.sha256,
            provenance={**inputs, "noise_sha256": result.noise_sha256, "timings": result.timings},
        )
        return StepOutput(value=reference.model_dump(mode="json"), artifacts=(stored,), takes=(take,))

    return Step(name=f"reference_image/{entity.handle}", inputs=inputs, work=work)
