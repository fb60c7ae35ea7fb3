"""The video stage: one clip per scene, starting from its keyframe, as long as the timeline needs.

Latent reuse redraws a scene's keyframe from the last frame of the scene before; chaining starts the clip from that very
frame or, with a model that can, goes on from the latents of the clip before. Either makes scenes wait for each other;
without them all scenes run at once up to the recipe's limit. Pinned at both ends, a clip runs from its keyframe to that
of the scene after it, which is there already. A keyframe that its owner chose or edited is used as it
is.
"""

from __future__ import annotations

import asyncio

from models.interfaces import EncodedImage, Plain, VideoRequest
from models.spec import CameraMove, VideoModelSpec
from pipelines.agents.prompting import revised_video_prompt
from pipelines.brief import BriefReference
from pipelines.coherence import ScenePlan
from pipelines.media import encode_clip, encode_png, encode_sound, frames_sha256
from pipelines.screenplay import Clip, Scene
from pipelines.stages.context import StageContext, each_scene
from pipelines.stages.edits import chosen_value
from pipelines.stages.gate import best_take
from pipelines.stages.pictures import (
    Picture,
    apply_revision,
    picture_step,
    read_references,
    reference_inputs,
    sampling,
    with_other_seed,
)
from pipelines.stages.scorable import NO_SUBJECTS, Scorable, Subjects, scorable_clip
from pipelines.stages.storyboard import Keyframe, attention_bank, keyframe_step
from pipelines.steps import Json, Step, StepContext
from pipelines.timeline import native_frames


class ClipRequest(Plain):
    """What one clip needs besides its scene."""

    first_frame: str | None
    """Artifact hash; None: the model makes the clip from the text alone."""
    last_frame: str | None
    """Artifact hash of the picture that the clip ends on; None: it ends as it likes."""
    delivery_frames: int
    keyframe_ignored: bool = False
    """There is a keyframe, and the model makes clips from text alone."""
    continues: str | None = None
    """Artifact hash of the latents of the clip that this one goes on from."""
    keep_latents: bool = False
    """The clip of another scene goes on from this one."""


async def make_clips(
    context: StageContext,
    scenes: tuple[Scene, ...],
    plans: tuple[ScenePlan, ...],
    references: tuple[BriefReference, ...],
    keyframes: tuple[Keyframe, ...],
    delivery_frames: tuple[int, ...],
    subjects: Subjects = NO_SUBJECTS,
) -> tuple[Clip, ...]:
    """One clip per scene, in order. `keyframes` is empty for models that start without one; `delivery_frames` are the
    frames that the timeline asks of each clip.
    """
    ends: dict[int, asyncio.Future[Json]] = {
        scene.scene_number: asyncio.get_running_loop().create_future() for scene in scenes
    }
    """How each clip ends: its `last_frame` and, where another goes on from it, its `latents`."""
    continued = {plan.chain_from_scene for plan in plans} if context.video_model.continues else set()

    position = {scene.scene_number: index for index, scene in enumerate(scenes)}

    async def clip_of(scene: Scene) -> Clip:
        index = position[scene.scene_number]
        plan = plans[index]
        first_frame = keyframes[index].artifact if keyframes else None
        value = await chosen_value(context, "clip", scene.scene_number)
        if value is not None:
            ends[scene.scene_number].set_result(value)
            return Clip.model_validate(value["clip"])
        free = context.direction.choice("keyframe", scene.scene_number) is None
        if free and plan.start_from_scene is not None:
            start = (await ends[plan.start_from_scene])["last_frame"]
            name = f"video/scene-{scene.scene_number:03d}/start"
            bank = await attention_bank(context, scenes, plans, references)
            redrawn = await context.finish(keyframe_step(context, name, scene, plan, references, start, bank))
            first_frame = Keyframe.model_validate(redrawn).artifact
        continues = None
        if free and plan.chain_from_scene is not None:
            end = await ends[plan.chain_from_scene]
            # A clip that its owner gave has no latents.
            continues = end.get("latents") if context.video_model.continues else None
            first_frame = end["last_frame"] if continues is None else None
        ignored = first_frame is not None and context.video_model.first_frame == "unused"
        request = ClipRequest(
            first_frame=None if ignored else first_frame,
            last_frame=keyframes[position[plan.end_on_scene]].artifact if keyframes and plan.end_on_scene else None,
            delivery_frames=delivery_frames[index],
            keyframe_ignored=ignored,
            continues=continues,
            keep_latents=scene.scene_number in continued,
        )

        async def make(attempt: int) -> Json:
            return await context.finish(_clip_step(context, scene, plan, references, request, attempt))

        def scorable(value: Json) -> Scorable:
            return scorable_clip(context, scene, Clip.model_validate(value["clip"]), subjects)

        value = await best_take(context, make, scorable, scene.scene_number)
        ends[scene.scene_number].set_result(value)
        return Clip.model_validate(value["clip"])

    # Scenes are started in order, so a scene that waits for the one before cannot take its place and block it.
    return await each_scene(scenes, clip_of, context.recipe.scene_concurrency)


def _clip_step(
    context: StageContext,
    scene: Scene,
    plan: ScenePlan,
    references: tuple[BriefReference, ...],
    clip_request: ClipRequest,
    attempt: int,
) -> Step:
    spec = context.video_model
    sample = context.recipe.video
    width, height = sample.size or spec.sizes[context.brief.aspect_ratio]
    length = native_frames(clip_request.delivery_frames, context.fps, spec)
    num_frames = sample.num_frames or length.num_frames
    first_frame = clip_request.first_frame
    revision = context.direction.revision("video", scene.scene_number)
    wanted = (revision.modifications.camera if revision else None) or scene.draft.camera
    bound = references[: spec.references] if plan.use_references else ()
    asked: Json = {
        "prompt": scene.video_prompt,
        "negative_prompt": sample.negative_prompt,
        "width": width,
        "height": height,
        "num_frames": num_frames,
        "camera": supported_camera(spec, wanted),
        "noise": plan.clip_noise.model_dump(),
        **sampling(spec, sample),
        "adapter": plan.adapter.model_dump(),
    }
    if clip_request.keep_latents:
        asked["keep_latents"] = True
    until = spec.cond_lowpass_until if plan.cond_lowpass_until is None else plan.cond_lowpass_until
    if until:
        asked["cond_lowpass_until"] = until
    settings = with_other_seed(apply_revision(asked, revision, revised_video_prompt), "retake", attempt)
    bindings: Json = {"first_frame": first_frame, "references": reference_inputs(bound)}
    if clip_request.continues is not None:
        bindings["continues"] = clip_request.continues
    if clip_request.last_frame is not None:
        bindings["last_frame"] = clip_request.last_frame

    async def make(step: StepContext) -> Picture:
        await _notice_differences(step, context, wanted, clip_request)
        if plan.use_references and len(bound) < len(references):
            text = f"{spec.name!r} takes {len(bound)} of {len(references)} references: the others act by the keyframe"
            await step.notice("references_left_out", text, "warning")
        request = VideoRequest.model_validate(
            {
                **settings,
                "first_frame": _stored_frame(step, first_frame),
                "last_frame": _stored_frame(step, clip_request.last_frame),
                "references": read_references(step.artifacts, bound),
                "continues": clip_request.continues and step.artifacts.read(clip_request.continues),
            }
        )
        result = await step.video(request)
        data = await asyncio.to_thread(encode_clip, result.frames, spec.native_fps, result.audio)
        stored = step.artifacts.put(data, "video/mp4")
        # The model's own last frame, losslessly: each H.264 round trip darkens by about 1/255, adding up over scenes.
        last = step.artifacts.put(encode_png(result.frames[-1]), "image/png")
        # The stem: the clip's own sound track is for whoever plays it, and each encoding of AAC takes something away.
        stem = None if result.audio is None else step.artifacts.put(encode_sound(result.audio), "audio/wav")
        clip = Clip(
            scene_number=scene.scene_number,
            artifact=stored.sha256,
            num_frames=num_frames,
            native_fps=spec.native_fps,
            audio=stem and stem.sha256,
            first_frame=first_frame,
        )
        value: Json = {"clip": clip.model_dump(), "last_frame": last.sha256}
        provenance: Json = {"frames_sha256": frames_sha256(result.frames)}
        others = [last]
        if stem is not None:
            others.append(stem)
            provenance["audio"] = stem.sha256
        if result.latents is not None:
            others.append(step.artifacts.put(result.latents, "application/x-safetensors"))
            value["latents"] = others[-1].sha256
        return Picture(value, stored, result, tuple(others), provenance)

    name, model = f"video/scene-{scene.scene_number:03d}", context.fingerprints["video"]
    return picture_step(name, "clip", scene.scene_number, model, settings, bindings, make, revision, attempt)


def _stored_frame(step: StepContext, artifact: str | None) -> EncodedImage | None:
    return None if artifact is None else EncodedImage(data=step.artifacts.read(artifact))


def supported_camera(spec: VideoModelSpec, camera: CameraMove) -> CameraMove:
    """The asked move when the model knows it, else `static`, which the step of the clip reports in a notice."""
    return camera if camera in spec.camera_moves else "static"


async def _notice_differences(
    step: StepContext, context: StageContext, wanted: CameraMove, request: ClipRequest
) -> None:
    """Report what the clip cannot have as it was asked for."""
    spec = context.video_model
    if supported_camera(spec, wanted) != wanted:
        text = f"model {spec.name!r} knows no camera move {wanted!r}: the shot is static"
        await step.notice("camera_not_supported", text, "warning")
    if request.keyframe_ignored:
        text = f"{spec.name!r} makes clips from text alone: the keyframe does not bind the clip"
        await step.notice("keyframe_not_used", text, "warning")
    length = native_frames(request.delivery_frames, context.fps, spec)
    if length.retimed and context.recipe.video.num_frames is None:
        seconds = request.delivery_frames / context.fps
        text = f"{length.num_frames} frames, the most that {spec.name!r} makes, are stretched over {seconds:.2f} s"
        await step.notice("clip_retimed", text)
