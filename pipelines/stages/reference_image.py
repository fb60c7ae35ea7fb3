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
from pipelines.stages.edits import chosen_reference
from pipelines.stages.looks import check_uploaded
from pipelines.stages.pictures import Picture, apply_revision, draw, picture_step
from pipelines.steps import Json, Step, StepContext

SETTING = "in a photo studio, on a plain background"


async def draw_references(context: StageContext, story: StoryResult) -> tuple[BriefReference, ...]:
    """The brief's references and those uploaded since, where there are any; else the story's product, drawn.

    Of several drawn ones each has another seed; what an owner selected or edited stands in for the one that it shows.
    """
    own = (*context.brief.references, *context.direction.references)
    if own:
        await check_uploaded(context, context.direction.references, story.entities[0].name if story.entities else "")
        return own
    product = next((entity for entity in story.entities if entity.role == "product"), None)
    if product is None:
        return ()
    drawn: list[BriefReference] = []
    for number in reversed(range(1, context.recipe.drawn_references + 1)):  # the last take is current
        value = await chosen_reference(context, reference_name(product.handle, number))
        if value is None:
            value = await context.finish(_reference_step(context, product, number))
        drawn.insert(0, BriefReference.model_validate(value))
    return tuple(drawn)


def reference_name(handle: str, number: int) -> str:
    """File name of a drawn reference, by which it is known among several."""
    return f"{handle}.png" if number == 1 else f"{handle}-{number}.png"


def _reference_step(context: StageContext, entity: Entity, number: int) -> Step:
    """The step that draws `entity` alone, for the `number`th time."""
    spec = context.image_model
    width, height = spec.sizes["1:1"]
    draft = SceneDraft(setting=SETTING, action=entity.name, camera="static", entities=(entity.handle,))
    revision = context.direction.revision("reference_image", None)
    asked: Json = {
        "prompt": image_prompt(draft, (entity,)),
        "width": width,
        "height": height,
        "noise": NoiseSpec(seed=_seed(context, entity, number)).model_dump(),
        "num_inference_steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
    }
    settings = apply_revision(asked, revision, revised_image_prompt)

    async def make(step: StepContext) -> Picture:
        result, stored = await draw(step, ImageRequest.model_validate(settings))
        reference = BriefReference(
            artifact=stored.sha256, role=entity.role, filename=reference_name(entity.handle, number)
        )
        return Picture(reference.model_dump(mode="json"), stored, result)

    name = f"reference_image/{entity.handle}" + ("" if number == 1 else f"-{number}")
    return picture_step(name, "reference", None, context.fingerprints["image"], settings, {}, make, revision)


def _seed(context: StageContext, entity: Entity, number: int) -> int:
    parts = ("reference", entity.handle) if number == 1 else ("reference", entity.handle, number)
    return derived_seed(context.seed, *parts)
