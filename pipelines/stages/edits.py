"""Takes that an owner selected, and pictures that an owner edited: they stand in for what a stage would make itself.

An edit repaints part of a keyframe or of a drawn reference; its result is a take like any other.
"""

from __future__ import annotations

from models.interfaces import EncodedImage, ImageRequest, Inpaint, NoiseSpec, Pixels
from pipelines.coherence import derived_seed
from pipelines.direction import TAKE_STAGE, ChosenTake, Edit
from pipelines.media import decode_image, encode_png, image_size
from pipelines.stages.context import StageContext
from pipelines.stages.pictures import Picture, picture_step, sampling
from pipelines.steps import Json, Step, StepContext, TakeKind


async def chosen_value(context: StageContext, kind: TakeKind, scene_number: int | None) -> Json | None:
    """The output of the take or edit that the owner selected instead of a stage's own result, if there is one.

    An edit is made now, if it has not been.
    """
    choice = context.direction.choice(kind, scene_number)
    if choice is None:
        return None
    return choice.value if isinstance(choice, ChosenTake) else await context.finish(edit_step(context, choice))


async def chosen_reference(context: StageContext, filename: str) -> Json | None:
    """The selected take or edit that stands in for the drawn reference called `filename`, if there is one."""
    for choice in context.direction.choices:
        if choice.kind == "reference" and choice.reference == filename:
            return choice.value if isinstance(choice, ChosenTake) else await context.finish(edit_step(context, choice))
    return None


def edit_steps(kind: TakeKind, scene_number: int | None) -> str:
    """What the names of all edits of a picture begin with: `storyboard/scene-002/edit-`, `reference_image/edit-`."""
    scene = "" if scene_number is None else f"/scene-{scene_number:03d}"
    return f"{TAKE_STAGE[kind]}{scene}/edit-"


def edit_step_name(edit: Edit) -> str:
    return f"{edit_steps(edit.kind, edit.scene_number)}{edit.number}"


def edit_step(context: StageContext, edit: Edit) -> Step:
    """The step that repaints. Its value is the parent's with the new picture in place of the old one."""
    name = edit_step_name(edit)
    settings: Json = {
        "prompt": edit.prompt,
        "negative_prompt": edit.negative_prompt,
        "noise": NoiseSpec(seed=derived_seed(context.seed, name)).model_dump(),
        **sampling(context.image_model, context.recipe.image),
    }
    bindings: Json = {
        "inpaint": {"image": edit.parent["artifact"], "mask": edit.mask},
        "parent": edit.parent_take,
        "version": edit.version,
        "feedback": list(edit.feedback),
    }

    async def make(step: StepContext) -> Picture:
        picture = step.artifacts.read(edit.parent["artifact"])
        width, height = image_size(picture)
        mask = EncodedImage(data=step.artifacts.read(edit.mask))
        inpaint = Inpaint(image=EncodedImage(data=picture), mask=mask)
        result = await step.image(ImageRequest(**settings, width=width, height=height, inpaint=inpaint))
        whole = overlaid(decode_image(picture), result.image, decode_image(mask.data))
        stored = step.artifacts.put(encode_png(whole), "image/png")
        value = {**edit.parent, "artifact": stored.sha256}
        if edit.kind == "keyframe":
            value["noise_sha256"] = result.noise_sha256
        return Picture(value, stored, result)

    model = context.fingerprints["image"]
    return picture_step(name, edit.kind, edit.scene_number, model, settings, bindings, make)


def overlaid(picture: Pixels, painted: Pixels, mask: Pixels) -> Pixels:
    """`painted` where `mask` is white, `picture` where it is black, in between a blend; `mask` is scaled to fit.

    An inpainting model gives back the whole picture after a round trip through its VAE; without this, every edit of a
    chain would also change what nobody asked it to.
    """
    import numpy as np
    from PIL import Image

    height, width, _ = picture.shape
    share = Image.fromarray(mask[..., 0]).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(Image.composite(Image.fromarray(painted), Image.fromarray(picture), share))
