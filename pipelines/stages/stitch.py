"""The stitch stage: clips and transitions in, one finished MP4 of exactly the asked length out, and its thumbnail.

One step. Frames stream from the decoder through re-timing, scaling and blending into the encoder, so that only the
clips under the play head (two during a crossfade) are in memory. A scene without a clip stops the generation: it is
never dropped. What is heard with the clips is mixed by `pipelines.sound`; clips without sound make a video without a
sound track.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from models.errors import Cancelled
from models.interfaces import Audio, Frames, Pixels, Plain
from pipelines.errors import NotFound, StepFailed, StorageFailed
from pipelines.media import FINAL_CRF, decode_clip, decode_sound, encode_jpeg, encode_video
from pipelines.recipe import Transition
from pipelines.screenplay import Clip, Entity, FinalVideo, Scene
from pipelines.sound import mixed
from pipelines.stages.context import StageContext
from pipelines.stages.edits import chosen_value
from pipelines.steps import Artifacts, NewTake, Step, StepContext, StepOutput
from pipelines.timeline import Timeline, blend, blend_plan, plan_timeline, resampled_frame

ENCODER_THREADS = 2
"""A constant, because x264 writes other bits with another count."""


class EditList(Plain):
    """Everything the finished file depends on; its hash is the key of the step."""

    clips: tuple[Clip, ...]
    timeline: Timeline
    delivery: tuple[int, int]
    """Width and height of the finished video."""
    cover_frame: int
    """Delivery frame that becomes the thumbnail."""
    crf: int = FINAL_CRF
    threads: int = ENCODER_THREADS


async def stitch(
    context: StageContext,
    clips: tuple[Clip, ...],
    transitions: tuple[Transition, ...],
    cover_scene: int,
) -> FinalVideo:
    """Join `clips` (one per slot) with `transitions` (one per pair of neighbours) at `context.delivery`.

    The thumbnail is the frame in the middle of scene `cover_scene`. Raises StepFailed naming a scene without a clip,
    StorageFailed when the disk is full.
    """
    value = await chosen_value(context, "video", None)
    if value is not None:
        return FinalVideo.model_validate(value)
    numbers = [slot.scene_number for slot in context.slots]
    by_scene = {clip.scene_number: clip for clip in clips}
    for number in numbers:
        if number not in by_scene:
            raise StepFailed(f"scene {number} has no clip, so the video cannot be finished; resume to make it")
    lengths = tuple(slot.frames for slot in context.slots)
    cover = numbers.index(cover_scene)
    edit = EditList(
        clips=tuple(by_scene[number] for number in numbers),
        timeline=plan_timeline(lengths, transitions, context.recipe.transitions, context.fps),
        delivery=context.delivery,
        cover_frame=sum(lengths[:cover]) + lengths[cover] // 2,
    )
    return FinalVideo.model_validate(await context.finish(stitch_step(edit)))


def cover_scene(scenes: tuple[Scene, ...], entities: tuple[Entity, ...]) -> int:
    """Number of the first scene that shows a product, for the thumbnail; the first scene when none does."""
    products = {entity.handle for entity in entities if entity.role == "product"}
    showing = [scene.scene_number for scene in scenes if products & set(scene.draft.entities)]
    return showing[0] if showing else scenes[0].scene_number


def stitch_step(edit: EditList) -> Step:
    """The step `stitch/final`; leaves a take of kind `video`."""
    # What a clip started from is in its pixels already.
    inputs = edit.model_dump(mode="json", exclude={"clips": {"__all__": {"first_frame"}}})

    async def work(step: StepContext) -> StepOutput:
        stop = threading.Event()
        try:
            video, thumbnail = await asyncio.to_thread(_render, edit, step.artifacts, stop)
        finally:
            stop.set()  # a cancelled await leaves the thread running: it ends at its next frame
        stored = step.artifacts.put(video, "video/mp4")
        cover = step.artifacts.put(thumbnail, "image/jpeg")
        timeline = edit.timeline
        final = FinalVideo(
            artifact=stored.sha256,
            thumbnail=cover.sha256,
            frames=timeline.frames,
            fps=timeline.fps,
            width=edit.delivery[0],
            height=edit.delivery[1],
            seconds=timeline.frames / timeline.fps,
            has_sound=any(clip.audio for clip in edit.clips),
        )
        take = NewTake(kind="video", scene_number=None, artifact=stored.sha256, provenance=inputs)
        return StepOutput(value=final.model_dump(mode="json"), artifacts=(stored, cover), takes=(take,))

    return Step(name="stitch/final", inputs=inputs, work=work)


def _render(edit: EditList, artifacts: Artifacts, stop: threading.Event) -> tuple[bytes, bytes]:
    thumbnail = b""

    def frames() -> Iterator[Pixels]:
        nonlocal thumbnail
        for number, pixels in enumerate(delivery_frames(edit, artifacts)):
            if stop.is_set():
                raise Cancelled("the stitch was cancelled")
            if number == edit.cover_frame:
                thumbnail = encode_jpeg(pixels)
            yield pixels

    try:
        sound = _mixed_sound(edit, artifacts)
        video = encode_video(frames(), edit.timeline.fps, edit.delivery, edit.crf, edit.threads, sound)
    except OSError as error:
        raise StorageFailed(f"the video could not be written to the temporary folder: {error}") from error
    return video, thumbnail


def delivery_frames(edit: EditList, artifacts: Artifacts) -> Iterator[Pixels]:
    """The frames of the finished video, one at a time, in order."""
    loaded: dict[int, Frames] = {}
    for layers in blend_plan(edit.timeline):
        for passed in [index for index in loaded if index < layers[0].segment]:
            del loaded[passed]
        pictures = []
        for layer in layers:
            if layer.segment not in loaded:
                loaded[layer.segment] = _read_clip(edit.clips[layer.segment], artifacts)
            count = edit.timeline.segments[layer.segment].clip_frames
            pixels = resampled_frame(loaded[layer.segment], count, layer.frame)
            pictures.append((fit(pixels, edit.delivery), layer.weight))
        yield blend(tuple(pictures))


def _mixed_sound(edit: EditList, artifacts: Artifacts) -> Audio | None:
    if not any(clip.audio for clip in edit.clips):
        return None
    return mixed(edit.timeline, [_read_stem(clip, artifacts) for clip in edit.clips])


def _read_stem(clip: Clip, artifacts: Artifacts) -> Audio | None:
    try:
        return None if clip.audio is None else decode_sound(artifacts.read(clip.audio))
    except NotFound as error:
        raise StepFailed(f"the sound of scene {clip.scene_number} is gone from the artifact folder: {error}") from error


def _read_clip(clip: Clip, artifacts: Artifacts) -> Frames:
    try:
        return decode_clip(artifacts.read(clip.artifact))
    except NotFound as error:
        raise StepFailed(f"the clip of scene {clip.scene_number} is gone from the artifact folder: {error}") from error


def fit(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """`pixels` scaled (Lanczos) to `size` (width, height) after a centre crop to exactly its aspect."""
    import numpy as np
    from PIL import Image

    height, width, _ = pixels.shape
    if (width, height) == size:
        return pixels
    scale = min(width / size[0], height / size[1])
    left, top = (width - size[0] * scale) / 2, (height - size[1] * scale) / 2
    box = (left, top, left + size[0] * scale, top + size[1] * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box=box))
