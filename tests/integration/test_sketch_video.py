"""The packaged video model means what it moves: a clip begins at its keyframe, and its camera goes where it is sent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.sketch_eval import ssim
from models.interfaces import NoiseSpec, Reference, Unwatched, VideoRequest
from models.registry import load
from models.sketch.training.world import render, sample_spec
from models.sketch.training.world.judge import Judge
from models.sketch.training.world.moves import travel
from models.spec import VideoModelSpec
from models.weights import Library
from tests.support import tiny_models

SPEC = Path(__file__).parents[2] / "configs/models/sketch-video.yaml"
KEYFRAME = replace(
    sample_spec(np.random.default_rng(3), aspect="1:1"),
    shape="box", colour="red", material="matte", setting="kitchen", time="noon", moment=0.0, turn=0.0,
    camera="static",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    spec = VideoModelSpec.model_validate(yaml.safe_load(SPEC.read_text()))
    library = Library(tmp_path_factory.mktemp("library"))
    assert library.untrained_parts(spec) == ()
    return load(spec, library.folders(spec), "cpu")


@pytest.fixture(scope="module")
def clips(engine):
    def clip(camera):
        request = VideoRequest(
            prompt="a red box in a kitchen", width=128, height=128, num_frames=16, camera=camera,
            noise=NoiseSpec(seed=5), num_inference_steps=10, guidance_scale=1.0,
            first_frame=tiny_models.encoded(render(KEYFRAME)),
        )  # fmt: skip
        return engine.generate(request, Unwatched()).frames

    return {camera: clip(camera) for camera in ("static", "pan_left", "pan_right", "push_in", "pull_back")}


def test_a_clip_begins_at_its_keyframe(clips):
    keyframe = np.asarray(render(KEYFRAME))
    assert all(ssim(frames[0], keyframe) > 0.8 for frames in clips.values())


def test_the_product_is_the_same_on_the_last_frame(clips):
    judge = Judge(bank=500)
    verdicts = [judge.judge(frames[-1]) for frames in clips.values()]
    assert sum(verdict.colour == KEYFRAME.colour for verdict in verdicts) >= 4
    assert sum(verdict.shape == KEYFRAME.shape for verdict in verdicts) >= 4


def test_pictures_move_against_the_camera_and_grow_when_it_comes_near(clips):
    moved = {camera: travel(frames) for camera, frames in clips.items()}
    assert moved["pan_left"][0] > 0.4 > abs(moved["static"][0])
    assert moved["pan_right"][0] < -0.4
    assert moved["push_in"][2] > 0.4 > abs(moved["static"][2])
    assert moved["pull_back"][2] < -0.4


def test_the_same_seed_moves_the_same_bits(engine, clips):
    request = VideoRequest(
        prompt="a red box in a kitchen", width=128, height=128, num_frames=16, camera="static", noise=NoiseSpec(seed=5),
        num_inference_steps=10, guidance_scale=1.0, first_frame=tiny_models.encoded(render(KEYFRAME)),
    )  # fmt: skip
    assert np.array_equal(engine.generate(request, Unwatched()).frames, clips["static"])


@pytest.mark.parametrize(("width", "height"), [(100, 178), (300, 100)])
def test_the_whole_of_a_photo_conditions_a_clip(engine, width, height):
    def clip(ends):
        picture = np.full((height, width, 3), (220, 20, 20), np.uint8)
        along = picture if height >= width else picture.transpose(1, 0, 2)
        along[: len(along) // 5] = along[-(len(along) // 5) :] = ends
        reference = Reference(image=tiny_models.encoded(Image.fromarray(picture)), role="product")
        request = VideoRequest(
            prompt="a red box in a kitchen", width=64, height=64, num_frames=4, noise=NoiseSpec(seed=1),
            num_inference_steps=2, guidance_scale=1.0, references=(reference,), first_frame=tiny_models.png(1),
        )  # fmt: skip
        return engine.generate(request, Unwatched()).frames

    assert not np.array_equal(clip((255, 255, 255)), clip((20, 20, 220)))
