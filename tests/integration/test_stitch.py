from __future__ import annotations

import asyncio
import io
import threading
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.brief import Brief
from pipelines.errors import StepFailed, StorageFailed
from pipelines.media import decode_clip, encode_clip
from pipelines.recipe import Recipe
from pipelines.screenplay import Clip, Entity, Scene, SceneDraft
from pipelines.stages.context import StageContext
from pipelines.stages.stitch import EditList, cover_scene, delivery_frames, fit, stitch, stitch_step
from pipelines.store.artifacts import LocalArtifacts
from pipelines.timeline import plan_timeline
from pipelines.timing import SceneSlot

FPS = 24
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 70, 220))


@pytest.fixture
def artifacts(tmp_path):
    return LocalArtifacts(tmp_path / "artifacts")


def context_for(artifacts, slots, delivery=(72, 128)):
    common = {"family": "test", "licence": "Apache-2.0", "vram_gb": 0}
    drawing = {"sizes": {"9:16": (72, 128)}, "num_inference_steps": 2, "guidance_scale": 1.0, "references": 0}

    async def finish(step):
        return (await step.work(SimpleNamespace(artifacts=artifacts))).value

    return StageContext(
        brief=Brief(prompt="an ad for a steel water bottle", seed=0),
        recipe=Recipe(name="test", description="", stages=("stitch",)),
        slots=tuple(
            SceneSlot(scene_number=number, purpose="Attention", frames=frames)
            for number, frames in enumerate(slots, start=1)
        ),
        fps=FPS,
        delivery=delivery,
        fingerprints={},
        chat_model=ChatModelSpec(kind="chat", name="chat", vision=False, **common),
        image_model=ImageModelSpec(kind="image", name="image", **common, **drawing),
        video_model=VideoModelSpec(kind="video", name="video", native_fps=8, max_frames=16, **common, **drawing),
        finish=finish,
    )


def plain_clip(artifacts, number, colour, frames=9, size=(72, 128)):
    picture = np.full((frames, size[1], size[0], 3), colour, np.uint8)
    stored = artifacts.put(encode_clip(picture, 8), "video/mp4")
    return Clip(scene_number=number, artifact=stored.sha256, num_frames=frames, native_fps=8)


@pytest.fixture
def clips(artifacts):
    return tuple(plain_clip(artifacts, number, colour) for number, colour in enumerate(COLOURS, start=1))


async def test_the_video_has_exactly_the_asked_frames_and_a_constant_rate(artifacts, clips):
    context = context_for(artifacts, (30, 31, 11))
    final = await stitch(context, clips, ("crossfade", "fade"), 1)
    assert (final.frames, final.fps, final.seconds) == (72, 24, 3.0)
    with av.open(io.BytesIO(artifacts.read(final.artifact))) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base * FPS for frame in container.decode(stream)]
        assert times == list(range(72))
        assert (stream.width, stream.height) == (72, 128)


async def test_the_scenes_follow_each_other_with_their_transitions(artifacts, clips):
    context = context_for(artifacts, (24, 24, 24))
    final = await stitch(context, clips, ("crossfade", "cut"), 1)
    colours = decode_clip(artifacts.read(final.artifact))[:, 64, 36].astype(int)
    assert np.abs(colours[10] - COLOURS[0]).max() <= 4
    halfway = (np.array(COLOURS[0]) + COLOURS[1]) / 2
    assert np.abs(colours[23:25].mean(axis=0) - halfway).max() <= 8
    assert np.abs(colours[47] - COLOURS[1]).max() <= 4
    assert np.abs(colours[48] - COLOURS[2]).max() <= 4


async def test_the_same_edit_makes_the_same_file(artifacts, clips):
    context = context_for(artifacts, (24, 24, 24))
    first = await stitch(context, clips, ("fade", "crossfade"), 2)
    assert first == await stitch(context, clips, ("fade", "crossfade"), 2)


async def test_the_thumbnail_is_the_middle_of_the_cover_scene_at_delivery_size(artifacts, clips):
    final = await stitch(context_for(artifacts, (24, 24, 24)), clips, ("cut", "cut"), 2)
    with Image.open(io.BytesIO(artifacts.read(final.thumbnail))) as image:
        assert (image.format, image.size) == ("JPEG", (72, 128))
        assert np.abs(np.array(image.getpixel((36, 64))) - COLOURS[1]).max() <= 6


async def test_a_scene_without_a_clip_stops_the_video_and_is_named(artifacts, clips):
    with pytest.raises(StepFailed, match="scene 2 has no clip"):
        await stitch(context_for(artifacts, (24, 24, 24)), (clips[0], clips[2]), ("cut", "cut"), 1)


async def test_a_clip_that_is_gone_from_the_folder_is_named(artifacts, clips):
    artifacts.path(clips[2].artifact).unlink()
    with pytest.raises(StepFailed, match="clip of scene 3 is gone"):
        await stitch(context_for(artifacts, (24, 24, 24)), clips, ("cut", "cut"), 1)


async def test_the_step_is_one_take_of_the_whole_generation_keyed_by_its_clips(artifacts, clips):
    def edit(chosen):
        timeline = plan_timeline((24, 24, 24), ("cut", "cut"), Recipe.model_fields["transitions"].default, FPS)
        return EditList(clips=chosen, timeline=timeline, delivery=(72, 128), cover_frame=0)

    step = stitch_step(edit(clips))
    output = await step.work(SimpleNamespace(artifacts=artifacts))
    assert (step.name, [(take.kind, take.scene_number) for take in output.takes]) == (
        "stitch/final",
        [("video", None)],
    )
    assert step.key == stitch_step(edit(clips)).key != stitch_step(edit((clips[0], clips[0], clips[2]))).key


async def test_a_cancelled_stitch_stops_at_its_next_frame(artifacts, clips):
    reading, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Watched:
        def put(self, data, media_type):
            raise AssertionError("a cancelled stitch stores nothing")

        def read(self, sha256):
            if sha256 == clips[1].artifact:
                reading.set()
                go_on.wait(30)
            if sha256 == clips[2].artifact:
                ended.set()
            return artifacts.read(sha256)

    context = context_for(artifacts, (24, 24, 24))
    captured = []

    async def capture(step):
        captured.append(step)
        return {
            "artifact": "", "thumbnail": "", "frames": 0, "fps": 24, "width": 2, "height": 2, "seconds": 0.0,
        }  # fmt: skip

    await stitch(StageContext(**{**vars(context), "finish": capture}), clips, ("cut", "cut"), 1)
    work = asyncio.create_task(captured[0].work(SimpleNamespace(artifacts=Watched())))
    await asyncio.to_thread(reading.wait, 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not ended.is_set()


async def test_a_full_disk_is_said_in_one_line(artifacts, clips, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(StorageFailed, match="No space left"):
        await stitch(context_for(artifacts, (24, 24, 24)), clips, ("cut", "cut"), 1)


async def test_only_the_clips_under_the_play_head_are_in_memory(artifacts, clips, tmp_path):
    """Clips are read when the play head reaches them, so a long ad needs no more memory than its longest crossfade."""
    order: list[int] = []
    folder = tmp_path / "artifacts"

    class Watched(LocalArtifacts):
        def read(self, sha256):
            order.append([clip.artifact for clip in clips].index(sha256))
            return super().read(sha256)

    timeline = plan_timeline((24, 24, 24), ("crossfade", "cut"), Recipe.model_fields["transitions"].default, FPS)
    edit = EditList(clips=clips, timeline=timeline, delivery=(72, 128), cover_frame=0)
    read_after = [len(order) for _ in delivery_frames(edit, Watched(folder))]
    assert order == [0, 1, 2]
    assert read_after == [1] * 18 + [2] * 30 + [3] * 24


def test_another_aspect_is_cropped_at_the_centre_and_never_stretched():
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = 255
    square = fit(picture, (128, 128))
    assert square.shape == (128, 128, 3)
    assert square[:, 6:-6].min() >= 250  # Lanczos softens the very edge with what lies beside the crop


def test_a_picture_of_the_delivery_size_passes_through_untouched():
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert np.array_equal(fit(picture, (8, 8)), picture)


def scene(number, *handles):
    draft = SceneDraft(setting="a shore", action="it stands", camera="static", entities=handles)
    return Scene(
        scene_number=number, purpose="Attention", frames=24, draft=draft, image_prompt="p", video_prompt="p",
        content="c", iterations=1, approved=True, critique=None,
    )  # fmt: skip


def test_the_cover_scene_is_the_first_that_shows_a_product():
    product = Entity(handle="bottle", role="product", name="bottle", description="steel")
    person = Entity(handle="runner", role="character", name="Ann", description="runs")
    scenes = (scene(1, "runner"), scene(2, "runner", "bottle"), scene(3, "bottle"))
    assert cover_scene(scenes, (product, person)) == 2
    assert cover_scene(scenes[:1], (product, person)) == 1
