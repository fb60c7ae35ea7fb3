"""The reference image stage: draws the product once from its description, unless its owner brings images.

The drawn image then conditions every scene as a user's own would.
"""

from __future__ import annotations

from models.interfaces import ImageRequest, NoiseSpec
from pipelines.agents.prompting import directed_image_prompt, image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.media import encode_png
from pipelines.screenplay import Entity, SceneDraft, StoryResult
from pipelines.stages.context import StageContext
from pipelines.stages.revisions import chosen_value, directed, said
from pipelines.steps import Desk, Json, NewTake, Step, StepOutput

SETTING = "in a photo studio, on a plain background"


async def draw_references(context: StageContext, story: StoryResult) -> tuple[BriefReference, ...]:
    """The brief's references and those uploaded since, where there are any; else the story's product, drawn."""
    own = (*context.brief.references, *context.direction.references)
    if own:
        return own
    value = await chosen_value(context, "reference", None)
    if value is None:
        product = next((entity for entity in story.entities if entity.role == "product"), None)
        if product is None:
            return ()
        value = await context.finish(_drawing(context, product))
    return (BriefReference.model_validate(value),)


def _drawing(context: StageContext, entity: Entity) -> Step:
    spec = context.image_model
    width, height = spec.sizes["1:1"]
    draft = SceneDraft(setting=SETTING, action=entity.name, camera="static", entities=(entity.handle,))
    revision = context.direction.revision("reference_image", None)
    asked: Json = {
        "prompt": image_prompt(draft, (entity,)),
        "width": width,
        "height": height,
        "noise": NoiseSpec(seed=derived_seed(context.seed, "reference", entity.handle)).model_dump(),
        "num_inference_steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
    }
    settings = directed(asked, revision, directed_image_prompt)
    inputs: Json = {"model": context.fingerprints["image"], "request": settings, **said(revision)}

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
