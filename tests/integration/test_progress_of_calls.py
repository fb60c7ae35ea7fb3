"""Progress and cancelling of pipelines that have no callback after a step, by hooks on their denoisers."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel, WanPipeline

from models.diffusion.calls import Progress
from models.errors import Cancelled
from models.registry import load
from models.video.wan import WanText
from tests.support import tiny_clips
from tests.support.engine_calls import StopAt, video_request


class WithoutCallback(WanPipeline):  # type: ignore[misc]
    """Wan as a pipeline that nobody can follow; its denoiser runs twice a step under guidance, once without."""

    def __call__(
        self, *, num_inference_steps: int, guidance_scale: float, generator: Any, output_type: str, width: int,
        height: int, num_frames: int, latents: torch.Tensor, max_sequence_length: int, prompt_embeds: torch.Tensor,
        negative_prompt_embeds: torch.Tensor | None = None,
    ) -> Any:  # fmt: skip
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        return super().__call__(**given)


class Unfollowed(WanText):
    stock = WithoutCallback


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """One that is followed by the callback, one by hooks, over the same weights."""
    folders = tiny_clips.video_folders("wan-text", tmp_path_factory.mktemp("wan"))
    spec = tiny_clips.video_spec("wan-text", size_multiple=16, frame_multiple=4, first_frame="unused")
    return load(spec, folders, "cpu"), Unfollowed(spec, folders, "cpu")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_steps_are_counted_by_passes_of_the_denoiser_however_many_guidance_takes(engines, guidance):
    followed, unfollowed = engines
    request = video_request(guidance_scale=guidance)
    watcher, hooked = StopAt(), StopAt()
    frames = followed.generate(request, watcher).frames
    result = unfollowed.generate(request, hooked)
    assert np.array_equal(result.frames, frames)
    assert list(dict.fromkeys(hooked.reports)) == list(dict.fromkeys(watcher.reports)) == [(n, 3) for n in range(4)]
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert result.timings["denoise"] > 0


def test_a_cancel_stops_before_the_next_pass_and_leaves_no_hook_behind(engines):
    _, engine = engines
    before = engine.generate(video_request(), StopAt()).frames
    passes: list[int] = []

    class SecondPass:
        def step(self, done, total):
            passes.append(done)
            if len(passes) == 3:  # the start, the first pass of two, the second
                raise Cancelled("enough")

    with pytest.raises(Cancelled):
        engine.generate(video_request(), SecondPass())
    assert passes == [0] * 3
    assert not engine._pipeline.transformer._forward_pre_hooks
    assert np.array_equal(engine.generate(video_request(), StopAt()).frames, before)


def test_what_its_latents_would_be_for_is_said_where_they_cannot_be_had(engines):
    result = engines[1].generate(video_request(keep_latents=True), StopAt())
    assert result.latents is None
    assert result.notes == ("no latents were kept: this model could not start from them",)


def test_a_stock_pipeline_without_callback_is_followed_whatever_its_denoiser_is():
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipeline = DDIMPipeline(unet, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    watcher, before_steps = StopAt(), []
    progress = Progress(watcher, 5, lambda done, total: before_steps.append((done, total)))
    progress.encoded()
    with progress.follow(pipeline, [unet], ("latents",)) as arguments:
        assert arguments == {}
        pipeline(num_inference_steps=5)
    assert list(dict.fromkeys(watcher.reports)) == [(done, 5) for done in range(6)]
    assert before_steps == [(done, 5) for done in range(1, 5)]
