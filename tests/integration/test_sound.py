"""From a model that makes sound to the finished file: a tiny LTX-2 through the video stage and the stitch stage."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import av
import numpy as np
import pytest

from pipelines.coherence import CoherenceSettings, plan_coherence
from pipelines.errors import StepFailed
from pipelines.media import decode_sound
from pipelines.sound import RATE, fitted
from pipelines.stages.stitch import stitch
from pipelines.stages.video import make_clips
from tests.support import tiny_clips
from tests.support.clip_stage import FPS, ClipStage

SLOTS = (24, 31)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The artifacts, the context of the stages, and two clips."""
    spec = tiny_clips.video_spec(
        "ltx2", size_multiple=32, frame_multiple=8, max_frames=33, first_frame="optional", sizes={"9:16": (64, 64)},
        num_inference_steps=2, sound=True,
    )  # fmt: skip
    stage = ClipStage(tmp_path_factory.mktemp("sound"), spec, SLOTS)
    scenes = (stage.scene(1, "waves roar"), stage.scene(2, "a bell rings"))
    plans = plan_coherence(CoherenceSettings(), 1, (1, 2), False)
    clips = asyncio.run(make_clips(stage.context, scenes, plans, (), (), SLOTS))
    return SimpleNamespace(artifacts=stage.artifacts, context=stage.context, clips=clips, takes=stage.takes[:2])


def heard(data):
    """Length in seconds of the sound track, and its samples."""
    with av.open(io.BytesIO(data)) as container:
        (stream,) = container.streams.audio
        seconds = float(stream.duration * stream.time_base)
        assert (stream.codec_context.name, stream.rate, stream.layout.name) == ("aac", RATE, "stereo")
        return seconds, np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)


async def test_a_finished_video_sounds_exactly_as_long_as_it_is_seen_and_as_the_model_made_it(made):
    final = await stitch(made.context, made.clips, ("cut",), 1)
    assert final.has_sound
    data = made.artifacts.read(final.artifact)
    seconds, samples = heard(data)
    assert seconds == pytest.approx(final.seconds, abs=1 / RATE)
    with av.open(io.BytesIO(data)) as container:
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == final.seconds
    begin = 0
    for clip, frames in zip(made.clips, SLOTS, strict=True):
        stem = decode_sound(made.artifacts.read(clip.audio))
        length = frames * RATE // FPS
        part = samples[:, begin : begin + length]
        begin += length
        wanted = fitted(stem, length)
        assert np.sqrt(np.mean(np.square(wanted))) > 0.01
        # What random weights make is mostly noise, of which AAC keeps less than of anything else: 0.73, and 0.59 when
        # it is a sample too early or late.
        alike = {
            late: np.corrcoef(part[0, 960 + late : late - 960], wanted[0, 960:-960])[0, 1] for late in range(-4, 5)
        }
        assert max(alike, key=lambda late: alike[late]) == 0
        assert alike[0] > 0.65
    assert begin == round(final.seconds * RATE)


async def test_the_stem_is_kept_beside_its_clip_which_can_be_heard_by_itself(made):
    for clip, take in zip(made.clips, made.takes, strict=True):
        assert take.provenance["audio"] == clip.audio
        stem = decode_sound(made.artifacts.read(clip.audio))
        assert stem.samples.shape == (2, clip.num_frames * stem.sample_rate // clip.native_fps)
        with av.open(io.BytesIO(made.artifacts.read(clip.artifact))) as container:
            (stream,) = container.streams.audio
            assert float(stream.duration * stream.time_base) == clip.num_frames / clip.native_fps


async def test_a_scene_without_sound_is_silent_and_a_video_without_any_has_no_track(made):
    silent = made.clips[1].model_copy(update={"audio": None})
    final = await stitch(made.context, (made.clips[0], silent), ("cut",), 1)
    seconds, samples = heard(made.artifacts.read(final.artifact))
    assert seconds == pytest.approx(final.seconds, abs=1 / RATE)
    # AAC spreads the end of the first scene over a block of 1,024 samples.
    assert np.abs(samples[:, RATE + 2048 :]).max() < 1e-3 < np.abs(samples[:, : RATE - 2048]).max()
    mute = await stitch(made.context, (made.clips[0].model_copy(update={"audio": None}), silent), ("cut",), 1)
    assert not mute.has_sound
    with av.open(io.BytesIO(made.artifacts.read(mute.artifact))) as container:
        assert not container.streams.audio


async def test_a_stem_that_is_gone_from_the_folder_is_named(made):
    lost = made.clips[1].model_copy(update={"audio": "0" * 64})
    with pytest.raises(StepFailed, match="sound of scene 2 is gone"):
        await stitch(made.context, (made.clips[0], lost), ("cut",), 1)
