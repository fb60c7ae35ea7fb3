"""The reference image stage: draws the product once from its description, unless its owner brings images.

The drawn image then conditions every scene as a user's own would.
"""

from __future__ import annotations

from models.interfaces import ImageRequest, NoiseSpec
from pipelines.agents.prompting import image_prompt, revised_image_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import derived_seed
from pipelines.screenplay import Entity, SceneDraft, StoryResult
from pipelines.stages.context import StageContext
from pipelines.stages.edits import chosen_value
from pipelines.stages.pictures import Picture, apply_revision, draw, picture_step
from pipelines.steps import Json, Step, StepContext

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
        value = await context.finish(_reference_step(context, product))
    return (BriefReference.model_validate(value),)


def _reference_step(context: StageContext, entity: Entity) -> Step:
    """The step that draws `entity` alone."""
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
    settings = apply_revision(asked, revision, revised_image_prompt)

    async def make(step: StepContext) -> Picture:
        result, stored = await draw(step, ImageRequest.model_validate(settings))
        reference = BriefReference(artifact=stored.sha256, role=entity.role, filename=f"{entity.handle}.png")
        return Picture(reference.model_dump(mode="json"), stored, result)

    name = f"reference_image/{entity.handle}"
    return picture_step(name, "reference", None, context.fingerprints["image"], settings, {}, make, revision)
