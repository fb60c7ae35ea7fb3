"""Helios on tiny real weights: as the stock class, window by window, and clip after clip as if it were one."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import HeliosPipeline
from safetensors.torch import load as load_tensors

from models.diffusion.noise import draw
from models.errors import InvalidRequest
from models.interfaces import NoiseSpec, Unwatched
from models.registry import load
from pipelines.coherence import CoherenceSettings, plan_coherence
from pipelines.media import frames_sha256
from pipelines.stages.video import make_clips
from tests.support import tiny_clips, tiny_models
from tests.support.clip_stage import ClipStage
from tests.support.engine_calls import NOISE, StopAt, video_request


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_clips.video_folders("helios", tmp_path_factory.mktemp("helios"))


@pytest.fixture(scope="module")
def engine(folders):
    limits: dict[str, Any] = {"size_multiple": 16, "frame_multiple": 4, "max_frames": 97, "first_frame": "optional"}
    return load(tiny_clips.video_spec("helios", continues=True, **limits), folders, "cpu")


def asked(**changes):
    return video_request(**{"num_frames": 33, "num_inference_steps": 2, "keep_latents": True} | changes)


@pytest.fixture(scope="module")
def first(engine):
    return engine.generate(asked(), Unwatched())


def test_two_windows_are_those_of_the_stock_pipeline_from_the_same_noise(engine, folders, monkeypatch):
    noises = iter(draw(NOISE, 16, 8, 8, frames=18)[None].split(9, dim=2))
    monkeypatch.setattr(HeliosPipeline, "prepare_latents", lambda *args, **kwargs: next(noises))
    stock = HeliosPipeline.from_pretrained(folders["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = stock(
        prompt="a bottle, static camera", negative_prompt="", width=64, height=64, num_frames=65,
        num_inference_steps=2, guidance_scale=4.0, output_type="np",
    ).frames[0]  # fmt: skip
    monkeypatch.undo()
    watcher = StopAt()
    made = engine.generate(asked(num_frames=65), watcher).frames
    assert np.array_equal(made, (bare * 255).round().astype("uint8"))
    assert watcher.reports[-5:] == [(done, 4) for done in (0, 1, 2, 3, 4)]


def test_a_clip_goes_on_from_another_as_one_window_from_the_one_before(engine, first, monkeypatch):
    whole = engine.generate(asked(num_frames=65), Unwatched())
    second_noise = draw(NOISE, 16, 8, 8, frames=18)[None, :, 9:]
    monkeypatch.setattr("models.diffusion.engine.draw_batch", lambda *args: second_noise)
    second = engine.generate(asked(continues=first.latents), Unwatched())
    assert np.array_equal(first.frames, whole.frames[:33])
    assert np.array_equal(second.frames[:32], whole.frames[33:])
    one, other = (load_tensors(result.latents) for result in (second, whole))
    assert one.keys() == other.keys() == {"latents", "anchor"}
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_clip_goes_on_from_reaches_it_and_so_does_its_own_seed(engine, first):
    other = engine.generate(asked(noise=NoiseSpec(seed=5), prompt="a mug"), Unwatched())

    def second(before, seed):
        continued = None if before is None else before.latents
        return engine.generate(asked(continues=continued, noise=NoiseSpec(seed=seed)), Unwatched()).frames

    made = [second(first, 7), second(other, 7), second(None, 7), second(first, 8)]
    assert not any(np.array_equal(made[0], each) for each in made[1:])
    assert np.array_equal(made[0], second(first, 7))


def test_a_clip_that_ends_within_a_window_is_continued_from_what_it_shows(engine):
    short = load_tensors(engine.generate(asked(num_frames=9), Unwatched()).latents)["latents"]
    assert short.shape == (16, 19, 8, 8)
    assert [bool(frame.any()) for frame in short.unbind(1)] == [False] * 16 + [True] * 3


def test_a_clip_begins_with_its_picture_which_stays_the_anchor_of_the_next(engine):
    first = engine.generate(asked(first_frame=tiny_models.png(1)), Unwatched())
    second = engine.generate(asked(continues=first.latents), Unwatched())
    anchors = [load_tensors(each.latents)["anchor"] for each in (first, second)]
    assert torch.equal(*anchors)


def test_latents_of_another_size_are_no_clip_to_go_on_from(engine, first):
    with pytest.raises(InvalidRequest, match=r"shape \(16, 19, 8, 8\), but .* \(16, 19, 8, 12\)"):
        engine.generate(asked(width=96, continues=first.latents), Unwatched())


def test_scenes_that_are_chained_go_on_from_the_latents_of_the_scene_before(tmp_path):
    spec = tiny_clips.video_spec(
        "helios", size_multiple=16, frame_multiple=4, max_frames=97, first_frame="optional", continues=True,
        sizes={"9:16": (64, 64)}, num_inference_steps=2,
    )  # fmt: skip
    stage = ClipStage(tmp_path, spec, (24, 24))
    scenes = (stage.scene(1, "waves roar"), stage.scene(2, "a bell rings"))
    plans = plan_coherence(CoherenceSettings(chain="last_frame"), 1, (1, 2), False)
    asyncio.run(make_clips(stage.context, scenes, plans, (), (), (24, 24)))
    first, second = stage.takes
    latents = stage.values[0]["latents"]
    assert (second.provenance["continues"], second.provenance["first_frame"]) == (latents, None)
    assert "latents" not in stage.values[1]  # nothing goes on from the last scene
    request = video_request(**second.provenance["request"], continues=stage.artifacts.read(latents))
    frames = stage.engine.generate(request, Unwatched()).frames
    assert frames_sha256(frames) == second.provenance["frames_sha256"]
    assert "continues" not in first.provenance
