"""Every video family on tiny real weights: bare diffusers, own noise, frame counts, cancelling, memory, refusals."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LTX2ConditionPipeline,
    LTXConditionPipeline,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanVACEPipeline,
)
from diffusers.pipelines.ltx import pipeline_ltx_condition
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from diffusers.pipelines.ltx2 import pipeline_ltx2_condition
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models.diffusion.latents import begin_within
from models.diffusion.memory import SECOND_TRY
from models.diffusion.noise import draw, draw_sound, noise_sha256, step_generator
from models.diffusion.placement import denoisers
from models.errors import Cancelled, InvalidRequest, OutOfMemory
from models.interfaces import LoraUse, NoiseSpec, StartLatents, Unwatched
from models.registry import load
from models.video.first_frame import coarse
from models.video.ltx2 import recompressed
from tests.support import tiny_clips, tiny_models
from tests.support.engine_calls import NOISE, StopAt, assert_all_differ, reference, video_request

FIRST, LAST = tiny_models.png(1), tiny_models.png(2)
REFERENCE = (reference(3),)
OPTIONAL = {"first_frame": "optional", "last_frame": True}
SPECS: dict[str, dict[str, Any]] = {
    "animatediff": {"references": 3},
    "ltx": {"size_multiple": 32, "frame_multiple": 8, "max_frames": 33, **OPTIONAL},
    "ltx2": {"size_multiple": 32, "frame_multiple": 8, "max_frames": 33, **OPTIONAL},
    "helios": {"size_multiple": 16, "frame_multiple": 4, "first_frame": "optional"},
    "wan": {"size_multiple": 16, "frame_multiple": 4},
    "wan-text": {"size_multiple": 16, "frame_multiple": 4, "first_frame": "unused"},
    "wan-vace": {"size_multiple": 16, "frame_multiple": 4, "references": 3, **OPTIONAL},
}
PLAIN: dict[str, dict[str, Any]] = {
    "animatediff": {"num_frames": 4, "first_frame": FIRST}, "ltx": {"num_frames": 9, "first_frame": FIRST},
    "ltx2": {"num_frames": 9, "first_frame": FIRST}, "helios": {"first_frame": FIRST},
    "wan": {"first_frame": FIRST}, "wan-text": {}, "wan-vace": {},
}  # fmt: skip
"""A request that the family takes."""
NOISES = {
    "animatediff": (4, 8, 8, 4), "ltx": (8, 2, 2, 2), "ltx2": (8, 2, 2, 2), "helios": (16, 8, 8, 9),
    "wan": (16, 8, 8, 2), "wan-text": (16, 8, 8, 2), "wan-vace": (16, 8, 8, 2),
}  # fmt: skip
"""Channels, height, width and frames of its start noise."""


@pytest.fixture(scope="module")
def folders_of(tmp_path_factory):
    return cache(lambda family: tiny_clips.video_folders(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def engine_of(folders_of):
    """The engine of a family, loaded once."""
    return cache(lambda family: load(tiny_clips.video_spec(family, **SPECS[family]), folders_of(family), "cpu"))


@pytest.fixture(scope="module", params=SPECS)
def family(request):
    return request.param


@pytest.fixture
def engine(family, engine_of):
    return engine_of(family)


def asked(family, **changes):
    return video_request(**PLAIN[family] | changes)


def clip(engine, family, **changes):
    return engine.generate(asked(family, **changes), Unwatched()).frames


# --- bare diffusers ---------------------------------------------------------------------------------------------------

COMMON = {
    "prompt": "a bottle, static camera", "negative_prompt": "", "width": 64, "height": 64, "num_inference_steps": 3,
    "guidance_scale": 4.0, "output_type": "np",
}  # fmt: skip


def wan_call(stock, monkeypatch):
    image = tiny_models.opened(FIRST)
    return stock(image, num_frames=5, latents=draw(NOISE, 16, 8, 8, frames=2)[None], **COMMON)


def wan_text_call(stock, monkeypatch):
    return stock(num_frames=5, latents=draw(NOISE, 16, 8, 8, frames=2)[None], **COMMON)


def wan_vace_call(stock, monkeypatch):
    grey, keep, make = Image.new("RGB", (64, 64), (128,) * 3), Image.new("L", (64, 64)), Image.new("L", (64, 64), 255)
    # The clip's noise is that of a request without references; theirs comes after it in the drawing, before it here.
    noise = draw(NOISE, 16, 8, 8, frames=4)[None]
    assert torch.equal(noise[:, :, :2], draw(NOISE, 16, 8, 8, frames=2)[None])
    return stock(
        num_frames=5, latents=torch.cat([noise[:, :, 2:], noise[:, :, :2]], dim=2),
        video=[tiny_models.opened(FIRST), *[grey] * 4], mask=[keep, *[make] * 4],
        reference_images=[tiny_models.opened(tiny_models.png(seed)) for seed in (3, 4)], **COMMON,
    )  # fmt: skip


def ltx_call(stock, monkeypatch):
    draws: list[torch.Tensor] = []

    def ours_first(*args, **options):
        draws.append(randn_tensor(*args, **options))
        return draw(NOISE, 8, 2, 2, frames=3)[None] if len(draws) == 1 else draws[-1]

    monkeypatch.setattr(pipeline_ltx_condition, "randn_tensor", ours_first)
    made = stock(
        conditions=[LTXVideoCondition(tiny_models.opened(FIRST), frame_index=0),
                    LTXVideoCondition(tiny_models.opened(LAST), frame_index=16)],
        num_frames=17, frame_rate=8, generator=step_generator(NOISE), decode_timestep=0.05, decode_noise_scale=0.025,
        **COMMON,
    )  # fmt: skip
    monkeypatch.undo()
    return made


def ltx2_call(stock, monkeypatch):
    draws: list[torch.Tensor] = []

    def ours(shape, **options):
        """The noise of the frames as tokens, then that of the sound as frames of channels and bins."""
        draws.append(randn_tensor(shape, **options))
        sound = draw_sound(NOISE, 2, 4, 53)
        noises = {1: draw(NOISE, 8, 2, 2, frames=3).flatten(1).T[None], 2: sound.transpose(0, 1).flatten(1)[None]}
        assert draws[-1].shape == noises[len(draws)].shape
        return noises[len(draws)]

    monkeypatch.setattr(pipeline_ltx2_condition, "randn_tensor", ours)
    first = recompressed(tiny_models.opened(FIRST), 33)
    made = stock(
        conditions=[LTX2VideoCondition(first, index=0, crf=0)], num_frames=17, frame_rate=8.0,
        audio_guidance_scale=4.0 * 7 / 3, spatio_temporal_guidance_blocks=[29], use_cross_timestep=False, **COMMON,
    )  # fmt: skip
    monkeypatch.undo()
    return made


@pytest.mark.parametrize(("family", "kind", "call", "changes"), [
    ("ltx2", LTX2ConditionPipeline, ltx2_call, {"num_frames": 17}),
    ("ltx", LTXConditionPipeline, ltx_call, {"num_frames": 17, "last_frame": LAST}),
    ("wan", WanImageToVideoPipeline, wan_call, {}),
    ("wan-text", WanPipeline, wan_text_call, {}),
    ("wan-vace", WanVACEPipeline, wan_vace_call, {"first_frame": FIRST, "references": (reference(3), reference(4))}),
])  # fmt: skip
def test_a_request_equals_the_bare_stock_pipeline_and_repeats_its_bits(
    family, kind, call, changes, engine_of, folders_of, monkeypatch
):
    result = engine_of(family).generate(asked(family, **changes), Unwatched())
    stock = kind.from_pretrained(folders_of(family)["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = call(stock, monkeypatch).frames[0]
    assert np.array_equal(result.frames, (bare * 255).round().astype("uint8"))
    assert np.array_equal(result.frames, clip(engine_of(family), family, **changes))


# --- latents of a clip ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["animatediff", "ltx", "ltx2", "wan", "wan-text", "wan-vace"])
def test_a_clip_starts_from_the_latents_of_another_as_near_to_it_as_the_strength_says(family, engine_of):
    engine = engine_of(family)
    first = engine.generate(asked(family, keep_latents=True, num_inference_steps=4), Unwatched())
    channels, height, width, frames = NOISES[family]
    latents = load_tensors(first.latents)["latents"]
    assert latents.shape == (channels, frames, height, width)
    noise = NoiseSpec(seed=77)

    def distance(strength):
        start = StartLatents(data=first.latents, strength=strength)
        made = clip(engine, family, noise=noise, start=start, num_inference_steps=4)
        return np.abs(made.astype(int) - first.frames).mean()

    assert 0 < distance(0.25) < distance(0.75)
    free = clip(engine, family, noise=noise, num_inference_steps=4)
    assert distance(1.0) == np.abs(free.astype(int) - first.frames).mean()


def test_only_the_steps_of_the_strength_run_and_the_next_call_runs_all(engine_of):
    engine = engine_of("wan-text")
    kept = engine.generate(asked("wan-text", keep_latents=True), Unwatched()).latents
    steps: list[tuple[int, int]] = []

    class Watch:
        def step(self, done, total):
            steps.append((done, total))

    half = StartLatents(data=kept, strength=0.5)
    engine.generate(asked("wan-text", num_inference_steps=4, start=half), Watch())
    assert steps == [(0, 2), (1, 2), (2, 2)]
    plain = clip(engine, "wan-text")
    assert np.array_equal(clip(engine, "wan-text"), plain)


def test_latents_of_another_length_and_a_strength_of_no_step_are_refused(engine_of):
    engine = engine_of("wan-text")
    kept = engine.generate(asked("wan-text", keep_latents=True), Unwatched()).latents
    with pytest.raises(InvalidRequest, match=r"have the shape \(16, 2, 8, 8\), but .* starts from \(16, 3, 8, 8\)"):
        clip(engine, "wan-text", num_frames=9, start=StartLatents(data=kept, strength=0.9))
    with pytest.raises(InvalidRequest, match=r"strength 0\.1 of 3 steps runs no step"):
        clip(engine, "wan-text", start=StartLatents(data=kept, strength=0.1))


@pytest.fixture(scope="module")
def sounding(engine_of):
    """A clip with its latents, and its sound."""
    return engine_of("ltx2").generate(asked("ltx2", num_frames=17, keep_latents=True), Unwatched())


def test_a_clip_with_sound_is_heard_for_exactly_as_long_as_it_is_seen(sounding):
    samples, rate = sounding.audio.samples, sounding.audio.sample_rate
    assert (samples.shape, samples.dtype, rate) == ((2, 51_000), np.float32, 24_000)
    assert samples.shape[1] / rate == len(sounding.frames) / 8
    assert 0.01 < samples.std() < 1
    assert np.abs(samples).max() <= 1


def test_seeds_prompt_and_guidance_reach_the_sound_and_shared_noise_is_shared_in_it(engine_of, sounding):
    def heard(**changes):
        made = engine_of("ltx2").generate(asked("ltx2", **{"num_frames": 17, **changes}), Unwatched())
        assert made.audio is not None
        return made.audio.samples

    assert np.array_equal(heard(), sounding.audio.samples)
    common = {"shared_seed": NOISE.seed, "shared_strength": 1.0}
    assert np.array_equal(heard(noise=NoiseSpec(seed=9, **common)), heard(noise=NoiseSpec(seed=NOISE.seed)))
    changes: list[dict[str, Any]] = [
        {}, {"noise": NoiseSpec(seed=3)}, {"prompt": "a mug"}, {"guidance_scale": 1.0}, {"last_frame": LAST},
    ]  # fmt: skip
    assert_all_differ([heard(**each) for each in changes])


def test_a_clip_from_latents_sounds_the_more_like_the_other_the_less_is_made_anew(engine_of, sounding):
    tensors = load_tensors(sounding.latents)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "latents": (8, 3, 2, 2), "audio_latents": (2, 53, 4),
    }  # fmt: skip

    def apart(strength):
        start = StartLatents(data=sounding.latents, strength=strength)
        changes = {"num_frames": 17, "noise": NoiseSpec(seed=77), "start": start, "num_inference_steps": 4}
        made = engine_of("ltx2").generate(asked("ltx2", **changes), Unwatched())
        return float(np.abs(made.audio.samples - sounding.audio.samples).mean())

    assert 0 < apart(0.25) < apart(0.75)


def test_latents_without_sound_are_no_start_for_a_clip_with_sound(engine_of, sounding):
    silent = save_tensors({"latents": load_tensors(sounding.latents)["latents"]})
    with pytest.raises(
        InvalidRequest, match=r"hold \['latents'\], not the float32 tensors \['audio_latents', 'latents'\]"
    ):
        clip(engine_of("ltx2"), "ltx2", num_frames=17, start=StartLatents(data=silent, strength=0.5))


def test_a_family_that_cannot_start_from_latents_says_so(engine_of):
    with pytest.raises(InvalidRequest, match="cannot start a clip from latents"):
        clip(engine_of("helios"), "helios", start=StartLatents(data=b"x", strength=0.5))


def test_a_start_beside_given_frames_and_references_keeps_the_clip_s_own_latents(engine_of):
    given = {"first_frame": FIRST, "last_frame": LAST, "num_inference_steps": 4}
    for family, changes, others in (
        ("ltx", {"num_frames": 17}, {}),
        ("wan-vace", {"references": (reference(3), reference(4))}, {"reference_latents": (16, 2, 8, 8)}),
    ):
        asks = given | changes
        kept = engine_of(family).generate(asked(family, keep_latents=True, **asks), Unwatched())
        shapes = {name: tuple(tensor.shape) for name, tensor in load_tensors(kept.latents).items()}
        channels, height, width, frames = NOISES[family]
        frames = 3 if family == "ltx" else frames
        assert shapes == {"latents": (channels, frames, height, width), **others}

        def distance(strength, family=family, asks=asks, kept=kept):
            start = StartLatents(data=kept.latents, strength=strength)
            made = clip(engine_of(family), family, noise=NoiseSpec(seed=77), start=start, **asks)
            return np.abs(made.astype(int) - kept.frames).mean()

        assert 0 < distance(0.25) < distance(0.75)


def test_a_start_of_vace_wants_as_many_references_as_its_clip_had(engine_of):
    kept = engine_of("wan-vace").generate(asked("wan-vace", keep_latents=True), Unwatched()).latents
    start = StartLatents(data=kept, strength=0.5)
    with pytest.raises(InvalidRequest, match=r"not the float32 tensors \['latents', 'reference_latents'\]"):
        clip(engine_of("wan-vace"), "wan-vace", references=REFERENCE, start=start)


@pytest.mark.parametrize("scheduler", [
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
])  # fmt: skip
def test_flow_schedulers_begin_with_the_mix_that_their_sigma_says(scheduler):
    clean, noise = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    begun = begin_within(scheduler, clean, noise, 2, 5)
    scheduler.set_timesteps(5)
    sigma = scheduler.sigmas[3]
    assert len(scheduler.timesteps) == 2
    assert torch.allclose(begun, (1 - sigma) * clean + sigma * noise, atol=1e-5)


# --- what a clip is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "sizes"), [
    ("animatediff", [(1, 64, 64), (4, 96, 64), (9, 64, 72)]),
    ("ltx", [(1, 64, 64), (9, 96, 64), (25, 32, 64)]), ("ltx2", [(1, 64, 64), (9, 96, 64), (25, 64, 96)]),
    *((family, [(1, 64, 64), (5, 96, 64), (9, 48, 80)]) for family in ("helios", "wan", "wan-text", "wan-vace")),
])  # fmt: skip
def test_a_clip_has_exactly_the_frames_and_the_size_asked_for(engine_of, family, sizes):
    for frames, width, height in sizes:
        made = clip(engine_of(family), family, num_frames=frames, width=width, height=height)
        assert made.shape == (frames, height, width, 3)
        assert made.dtype == np.uint8


def test_the_result_names_its_noise_its_time_and_an_unread_prompt(family, engine):
    result = engine.generate(asked(family), Unwatched())
    assert result.noise_sha256 == noise_sha256(draw(NOISE, *NOISES[family]))
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert sum(result.timings.values()) == pytest.approx(result.seconds)
    assert result.notes == ()
    read = {"animatediff": 77, "ltx": 256, "ltx2": 1024}.get(family, 512)
    assert f"reads the first {read}" in engine.generate(asked(family, prompt="bottle " * 180), Unwatched()).notes[0]


def test_the_same_request_gives_the_same_bits(family, engine):
    assert np.array_equal(clip(engine, family), clip(engine, family))


def test_camera_prompt_guidance_noise_given_frames_and_references_reach_the_clip(family, engine):
    changes: list[dict[str, Any]] = [
        {}, {"camera": "pan_left"}, {"prompt": "a mug"}, {"noise": NoiseSpec(seed=3)}, {"negative_prompt": "dark"},
        {"guidance_scale": 1.0},
    ]  # fmt: skip
    if family != "wan-text":
        changes.append({"first_frame": LAST})
    if family in ("ltx", "ltx2", "wan-vace"):
        changes += [{"last_frame": LAST}, {"last_frame": tiny_models.png(4)}]
        changes += [{"first_frame": None, "last_frame": LAST}] if family != "wan-vace" else []
    if SPECS[family].get("references"):
        changes += [{"references": REFERENCE}, {"references": (reference(4),)}]
        changes += [{"references": (reference(3), reference(4))}, {"references": REFERENCE, "first_frame": LAST}]
    assert_all_differ([clip(engine, family, **{"num_inference_steps": 2} | each) for each in changes])


# --- cancelling, memory, accelerations --------------------------------------------------------------------------------


def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(family, engine):
    before, watcher = clip(engine, family), StopAt(2)
    references = REFERENCE if SPECS[family].get("references") else ()
    with pytest.raises(Cancelled):
        engine.generate(asked(family, prompt="a mug", references=references), watcher)
    assert watcher.reports == [(0, 3), (1, 3), (2, 3)]
    assert np.array_equal(clip(engine, family), before)


def test_out_of_memory_is_answered_by_a_second_try_and_then_by_an_error_that_leaves_the_engine_whole(
    family, engine, monkeypatch
):
    short = {"num_frames": 1, "num_inference_steps": 2}
    before, vae, fails, tiled = clip(engine, family, **short), engine._pipeline.vae, [1], []
    decode = vae.decode

    def run_out(*args, **options):
        tiled.append(vae.use_tiling)
        if fails and fails.pop():
            raise torch.OutOfMemoryError("out of memory")
        return decode(*args, **options)

    monkeypatch.setattr(vae, "decode", run_out)
    second = engine.generate(asked(family, **short), Unwatched())
    assert second.notes == (SECOND_TRY,)
    assert tiled[0] is False
    assert set(tiled[1:]) == {True}
    assert not vae.use_tiling
    fails += [1, 1]
    with pytest.raises(OutOfMemory, match="no room for 1 frame of 64x64"):
        clip(engine, family, **short)
    assert np.array_equal(clip(engine, family, **short), before)


def test_a_deterministic_clip_does_not_use_the_cache_which_a_cancelled_one_leaves_empty(engine_of, folders_of):
    cache_of_blocks = {"cache": {"class": "FirstBlockCacheConfig", "threshold": 10.0}}
    spec = tiny_clips.video_spec("wan", frame_multiple=4, acceleration=cache_of_blocks)
    cached = load(spec, folders_of("wan"), "cpu")
    plain, before = clip(engine_of("wan"), "wan"), clip(cached, "wan")
    assert not np.array_equal(before, plain)
    assert np.array_equal(clip(cached, "wan", deterministic=True), plain)
    with pytest.raises(Cancelled):
        cached.generate(asked("wan", prompt="a green mug", noise=NoiseSpec(seed=9)), StopAt(1))
    assert np.array_equal(clip(cached, "wan"), before)


# --- what cannot be done ----------------------------------------------------------------------------------------------

WAN_FRAMES = ({"num_frames": 8}, r"makes 4k \+ 1 frames, not 8; ask for 5 or 9")


def test_what_no_family_can_do_is_refused(family, engine):
    grid = {"animatediff": 8, "ltx": 32, "ltx2": 32}.get(family, 16)
    for changes, message in (
        ({"width": 60}, f"multiples of {grid}"),
        ({"camera": "orbit"}, "does not know the camera move 'orbit'; it knows static, push_in, pan_left"),
        ({"loras": (LoraUse(name="neon"),)}, "has no LoRA 'neon'; it has: none"),
        ({"width": 4096, "height": 4096}, "takes at most"),
        ({"num_frames": 49}, "at most 33" if "ltx" in family else "at most 16"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            clip(engine, family, **changes)


@pytest.mark.parametrize(("family", "changes", "message"), [
    ("animatediff", {"last_frame": LAST}, "cannot end on a given frame"),
    ("animatediff", {"first_frame": {"data": b"x"}}, "the first frame cannot be decoded"),
    ("animatediff", {"first_frame": None}, "give first_frame"),
    ("ltx", {"num_frames": 16}, r"makes 8k \+ 1 frames, not 16; ask for 9 or 17"),
    ("ltx", {"num_frames": 1, "last_frame": LAST}, "cannot have both a first and a last frame; give one of them"),
    ("ltx", {"references": REFERENCE}, "takes no reference images"),
    ("ltx2", {"num_inference_steps": 1}, "needs at least 2 steps"),
    ("ltx2", {"width": 32}, "size 32x64 is too small .* each side at least 64"),
    ("helios", *WAN_FRAMES), ("helios", {"last_frame": LAST}, "cannot end on a given frame"),
    ("helios", {"continues": b"x"}, "leave out first_frame or continues"),
    ("ltx2", {"continues": b"x"}, "cannot go on from another clip"),
    ("wan", *WAN_FRAMES), ("wan", {"num_frames": 16}, r"not 16; ask for 13 and"),
    ("wan", {"last_frame": LAST}, "cannot end on a given frame"), ("wan", {"first_frame": None}, "give first_frame"),
    ("wan", {"references": REFERENCE}, "takes no reference images"),
    ("wan-text", *WAN_FRAMES),
    ("wan-text", {"first_frame": LAST}, "makes clips from text alone; leave out first_frame"),
    ("wan-text", {"last_frame": LAST}, "makes clips from text alone; leave out last_frame"),
    ("wan-text", {"references": REFERENCE}, "takes no reference images"),
    ("wan-vace", *WAN_FRAMES),
    ("wan-vace", {"num_frames": 1, "references": (reference(3), reference(4))}, "too few for 2 references; .* least 5"),
    ("wan-vace", {"num_frames": 1, "first_frame": FIRST, "last_frame": LAST}, "give one of them"),
    ("wan-vace", {"references": (reference(3, image={"data": b"no image"}),)}, "reference 1 cannot be decoded"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine_of, family, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        clip(engine_of(family), family, **changes)


@pytest.mark.parametrize(("family", "spec", "changes", "message"), [
    ("animatediff", {"references": 0}, {"references": REFERENCE}, "takes no reference images"),
    ("ltx", {"first_frame": "required"}, {"first_frame": None}, "makes clips from a first frame; give first_frame"),
    ("ltx", {"last_frame": False}, {"last_frame": LAST}, "cannot end on a given frame; leave out last_frame"),
    ("wan-vace", {"first_frame": "required"}, {}, "makes clips from a first frame; give first_frame"),
    ("wan-vace", {"first_frame": "unused"}, {"first_frame": FIRST}, "cannot start from a given frame"),
    ("wan-vace", {"last_frame": False}, {"last_frame": LAST}, "leave out last_frame"),
    ("wan-vace", {"references": 1}, {"references": (reference(3), reference(4))}, "takes 1 reference images, but 2"),
])  # fmt: skip
def test_a_request_that_the_spec_does_not_allow_is_refused(folders_of, family, spec, changes, message):
    limited = load(tiny_clips.video_spec(family, **SPECS[family] | spec), folders_of(family), "cpu")
    with pytest.raises(InvalidRequest, match=message):
        clip(limited, family, **changes)


@pytest.mark.parametrize("family", ["animatediff", "wan"])
def test_a_given_frame_is_seen_without_its_detail_in_the_early_steps_only(engine_of, family):
    engine: Any = engine_of(family)
    asks: dict[str, Any] = {"num_inference_steps": 5, "guidance_scale": 1.0}
    plain = clip(engine, family, **asks)
    seen: list[torch.Tensor] = []
    (denoiser,) = denoisers(engine._pipeline)
    noisy = NOISES[family][0]
    hook = denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"])[:, noisy:].clone()),
        with_kwargs=True,
    )
    try:
        early = clip(engine, family, cond_lowpass_until=0.2, **asks)
    finally:
        hook.remove()
    assert len(seen) == 5
    assert torch.equal(seen[0], coarse(seen[1], noisy)) and not torch.equal(seen[0], seen[1])
    assert all(torch.equal(each, seen[1]) for each in seen[2:])
    assert not np.array_equal(early, plain)
    assert np.array_equal(clip(engine, family, **asks), plain)


@pytest.mark.parametrize("family", sorted(SPECS.keys() - {"animatediff", "wan"}))
def test_a_family_that_cannot_look_at_a_coarse_frame_says_so(engine_of, family):
    with pytest.raises(InvalidRequest, match=f"of the family '{family}' cannot look at a coarse first frame"):
        clip(engine_of(family), family, cond_lowpass_until=0.1)
