"""Inpainting: repaints part of a keyframe or reference as its owner asked. The result is a take like any other."""

from __future__ import annotations

from collections.abc import Callable

from models.interfaces import EncodedImage, ImageRequest, Inpaint, NoiseSpec, Pixels
from models.spec import PictureModelSpec
from pipelines.coherence import derived_seed
from pipelines.direction import TAKE_STAGE, ChosenTake, Edit, Revision
from pipelines.media import decode_image, encode_png, image_size
from pipelines.recipe import SampleSettings
from pipelines.stages.context import StageContext
from pipelines.steps import Desk, Json, NewTake, Step, StepOutput, TakeKind


def sampling(spec: PictureModelSpec, sample: SampleSettings) -> Json:
    """Request fields that the recipe may set and the model's description sets otherwise."""
    steps, guidance = sample.num_inference_steps, sample.guidance_scale
    return {
        "num_inference_steps": spec.num_inference_steps if steps is None else steps,
        "guidance_scale": spec.guidance_scale if guidance is None else guidance,
        "loras": [lora.model_dump() for lora in sample.loras],
        "deterministic": sample.deterministic,
    }


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
    inputs: Json = {
        "model": context.fingerprints["image"],
        "request": settings,
        "inpaint": {"image": edit.parent["artifact"], "mask": edit.mask},
        "parent": edit.parent_take,
        "version": edit.version,
        "feedback": list(edit.feedback),
    }

    async def work(desk: Desk) -> StepOutput:
        picture = desk.artifacts.read(edit.parent["artifact"])
        width, height = image_size(picture)
        mask = EncodedImage(data=desk.artifacts.read(edit.mask))
        inpaint = Inpaint(image=EncodedImage(data=picture), mask=mask)
        result = await desk.image(ImageRequest(**settings, width=width, height=height, inpaint=inpaint))
        for note in result.notes:
            await desk.notice("not_as_asked", note, "warning")
        whole = overlaid(decode_image(picture), result.image, decode_image(mask.data))
        stored = desk.artifacts.put(encode_png(whole), "image/png")
        value = {**edit.parent, "artifact": stored.sha256}
        if edit.kind == "keyframe":
            value["noise_sha256"] = result.noise_sha256
        provenance = {**inputs, "noise_sha256": result.noise_sha256, "timings": result.timings}
        take = NewTake(kind=edit.kind, scene_number=edit.scene_number, artifact=stored.sha256, provenance=provenance)
        return StepOutput(value=value, artifacts=(stored,), takes=(take,))

    return Step(name=name, inputs=inputs, work=work, scene_number=edit.scene_number)


def overlaid(picture: Pixels, painted: Pixels, mask: Pixels) -> Pixels:
    """`painted` where `mask` is white, `picture` where it is black, in between a blend; `mask` is scaled to fit.

    An inpainting model gives back the whole picture after a round trip through its VAE; without this, every edit of a
    chain would also change what nobody asked it to.
    """
    import numpy as np
    from PIL import Image

    height, width, _ = picture.shape
    fitted = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
    share = np.asarray(fitted, np.float32) / 255
    return np.rint(picture * (1 - share) + painted * share).astype(np.uint8)


async def chosen_value(context: StageContext, kind: TakeKind, scene_number: int | None) -> Json | None:
    """The output of the chosen take's step, or of the edit, made now if need be; None: nothing was chosen."""
    choice = context.direction.choice(kind, scene_number)
    if choice is None:
        return None
    return choice.value if isinstance(choice, ChosenTake) else await context.finish(edit_step(context, choice))
