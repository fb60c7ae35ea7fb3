"""The video stage: one clip per scene, starting from its keyframe, as long as the timeline needs.

Latent reuse redraws a scene's keyframe from the last frame of the scene before; chaining starts the clip from that very
frame. Either makes scenes wait for each other; without them all scenes run at once up to the recipe's limit. A keyframe
that its owner chose or edited is filmed as it is.
"""

from __future__ import annotations

import asyncio

from models.interfaces import EncodedImage, Plain, VideoRequest
from models.spec import CameraMove, VideoModelSpec
from pipelines.agents.prompting import directed_video_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import ScenePlan
from pipelines.media import encode_clip, encode_png, frames_sha256
from pipelines.screenplay import Clip, Scene
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.gate import Made, best_take, made_clip, retake_inputs, retake_name, retaken
from pipelines.stages.revisions import chosen_value, directed, said, sampling
from pipelines.stages.storyboard import Keyframe, keyframe_step, read_references
from pipelines.steps import Desk, Json, NewTake, Step, StepOutput
from pipelines.timeline import native_frames


class ClipRequest(Plain):
    """What one clip needs besides its scene."""

    first_frame: str | None
    """None: the model makes the clip from the text alone."""
    delivery_frames: int
    keyframe_ignored: bool = False
    """There is a keyframe, and the model makes clips from text alone."""


async def film(
    context: StageContext,
    scenes: tuple[Scene, ...],
    plans: tuple[ScenePlan, ...],
    references: tuple[BriefReference, ...],
    keyframes: tuple[Keyframe, ...],
    delivery_frames: tuple[int, ...],
) -> tuple[Clip, ...]:
    """One clip per scene, in order. `keyframes` is empty for models that start without one; `delivery_frames` are the
    frames that the timeline asks of each clip.
    """
    ends: dict[int, asyncio.Future[str]] = {
        scene.scene_number: asyncio.get_running_loop().create_future() for scene in scenes
    }

    async def shoot(scene: Scene) -> Clip:
        index = scene.scene_number - 1
        plan = plans[index]
        first_frame = keyframes[index].artifact if keyframes else None
        value = await chosen_value(context, "clip", scene.scene_number)
        if value is not None:
            ends[scene.scene_number].set_result(value["last_frame"])
            return Clip.model_validate(value["clip"])
        free = context.direction.choice("keyframe", scene.scene_number) is None
        if free and plan.start_from_scene is not None:
            start = await ends[plan.start_from_scene]
            name = f"video/scene-{scene.scene_number:03d}/start"
            redrawn = await context.finish(keyframe_step(context, name, scene, plan, references, start))
            first_frame = Keyframe.model_validate(redrawn).artifact
        if free and plan.chain_from_scene is not None:
            first_frame = await ends[plan.chain_from_scene]
        ignored = first_frame is not None and context.video_model.first_frame == "unused"
        order = ClipRequest(
            first_frame=None if ignored else first_frame,
            delivery_frames=delivery_frames[index],
            keyframe_ignored=ignored,
        )

        def make(attempt: int) -> Step:
            return _clip_step(context, scene, plan, references, order, attempt)

        def made(value: Json) -> Made:
            return made_clip(context, scene, value["clip"]["artifact"])

        value = await best_take(context, make, made, scene.scene_number)
        ends[scene.scene_number].set_result(value["last_frame"])
        return Clip.model_validate(value["clip"])

    # Scenes are started in order, so a scene that waits for the one before cannot take its place and block it.
    return await each_scene(scenes, shoot, context.recipe.scene_concurrency)


def _clip_step(
    context: StageContext,
    scene: Scene,
    plan: ScenePlan,
    references: tuple[BriefReference, ...],
    order: ClipRequest,
    attempt: int,
) -> Step:
    spec = context.video_model
    sample = context.recipe.video
    width, height = sample.size or spec.sizes[context.brief.aspect_ratio]
    length = native_frames(order.delivery_frames, context.fps, spec)
    num_frames = sample.num_frames or length.num_frames
    revision = context.direction.revision("video", scene.scene_number)
    wanted = (revision.modifications.camera if revision else None) or scene.draft.camera
    camera = supported_camera(spec, wanted)
    bound = references[: spec.references] if plan.use_references else ()
    asked: Json = {
        "prompt": scene.video_prompt,
        "negative_prompt": sample.negative_prompt,
        "width": width,
        "height": height,
        "num_frames": num_frames,
        "camera": camera,
        "noise": plan.clip_noise.model_dump(),
        **sampling(spec, sample),
        "adapter": plan.adapter.model_dump(),
    }
    settings = retaken(directed(asked, revision, directed_video_prompt), attempt)
    inputs: Json = {
        "model": context.fingerprints["video"],
        "request": settings,
        "first_frame": order.first_frame,
        "references": [reference.model_dump(exclude={"filename"}) for reference in bound],
        **said(revision),
        **retake_inputs(attempt),
    }

    async def work(desk: Desk) -> StepOutput:
        await _say_what_is_not_as_asked(desk, context, wanted, order, camera)
        if plan.use_references and len(bound) < len(references):
            text = f"{spec.name!r} takes {len(bound)} of {len(references)} references: the others act by the keyframe"
            await desk.notice("references_left_out", text, "warning")
        request = VideoRequest.model_validate(
            {
                **settings,
                "first_frame": None
                if order.first_frame is None
                else EncodedImage(data=desk.artifacts.read(order.first_frame)),
                "references": read_references(desk.artifacts, bound),
            }
        )
        result = await desk.video(request)
        for note in result.notes:
            await desk.notice("not_as_asked", note, "warning")
        data = await asyncio.to_thread(encode_clip, result.frames, spec.native_fps)
        stored = desk.artifacts.put(data, "video/mp4")
        # The model's own last frame, losslessly: each H.264 round trip darkens by about 1/255, adding up over scenes.
        last = desk.artifacts.put(encode_png(result.frames[-1]), "image/png")
        clip = Clip(
            scene_number=scene.scene_number,
            artifact=stored.sha256,
            num_frames=num_frames,
            native_fps=spec.native_fps,
        )
        provenance = {
            **inputs,
            "noise_sha256": result.noise_sha256,
            "frames_sha256": frames_sha256(result.frames),
            "timings": result.timings,
        }
        take = NewTake(kind="clip", scene_number=scene.scene_number, artifact=stored.sha256, provenance=provenance)
        value = {"clip": clip.model_dump(), "last_frame": last.sha256}
        return StepOutput(value=value, artifacts=(stored, last), takes=(take,))

    name = retake_name(f"video/scene-{scene.scene_number:03d}", attempt)
    return Step(name=name, inputs=inputs, work=work, scene_number=scene.scene_number)


def supported_camera(spec: VideoModelSpec, camera: CameraMove) -> CameraMove:
    """The asked move when the model knows it, else `static` (said as a notice by the clip's step)."""
    return camera if camera in spec.camera_moves else "static"


async def _say_what_is_not_as_asked(
    desk: Desk, context: StageContext, wanted: CameraMove, order: ClipRequest, camera: CameraMove
) -> None:
    spec = context.video_model
    if camera != wanted:
        text = f"model {spec.name!r} knows no camera move {wanted!r}: the shot is static"
        await desk.notice("camera_not_supported", text, "warning")
    if order.keyframe_ignored:
        text = f"{spec.name!r} makes clips from text alone: the keyframe does not bind the clip"
        await desk.notice("keyframe_not_used", text, "warning")
    length = native_frames(order.delivery_frames, context.fps, spec)
    if length.retimed and context.recipe.video.num_frames is None:
        seconds = order.delivery_frames / context.fps
        text = f"{length.num_frames} frames, the most that {spec.name!r} makes, are stretched over {seconds:.2f} s"
        await desk.notice("clip_retimed", text)
