"""Every image family on tiny real weights: bare diffusers, own noise, cancelling, turns, lack of memory, refusals."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    Flux2KleinPipeline,
    FluxPipeline,
    QwenImagePipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    ZImagePipeline,
)

from models.diffusion.memory import SECOND_TRY
from models.diffusion.noise import draw, noise_sha256
from models.errors import Cancelled, InvalidRequest, OutOfMemory, WeightsError
from models.interfaces import AdapterSettings, Inpaint, LoraUse, NoiseSpec, StartImage, Unwatched
from models.registry import FAMILIES, load
from tests.support import tiny_models
from tests.support.engine_calls import (
    NOISE,
    StopAt,
    assert_all_differ,
    image_request,
    picture,
    reference,
)

START = StartImage(image=tiny_models.png(5), strength=0.75)
NO_STRENGTH, WEAK = (START.model_copy(update={"strength": strength}) for strength in (0.0, 0.2))
INPAINT = Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(), strength=0.75)
REFERENCES = (reference(3), reference(4))


def sd_call(stock: Any, noise: torch.Tensor, negative: str) -> Any:
    # SDXL was trained without a negative prompt where there is none, SD1.5 with the empty text.
    return stock("a red bottle", negative_prompt=negative or None, latents=noise, **COMMON)


def flux_call(stock: Any, noise: torch.Tensor, negative: str) -> Any:
    return stock("a red bottle", latents=stock._pack_latents(noise, *noise.shape), **COMMON)


def klein_call(stock: Any, noise: torch.Tensor, negative: str) -> Any:
    images = [tiny_models.opened(each.image) for each in REFERENCES]
    return stock(images, "a red bottle", latents=stock._patchify_latents(noise), **COMMON | {"guidance_scale": 1.0})


def qwen_call(stock: Any, noise: torch.Tensor, negative: str) -> Any:
    given = {"latents": stock._pack_latents(noise, *noise.shape), "true_cfg_scale": COMMON["guidance_scale"]}
    return stock("a red bottle", negative_prompt=negative or " ", **COMMON | {"guidance_scale": None} | given)


COMMON = {"width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 4.0, "output_type": "np"}


@dataclass(frozen=True)
class Family:
    """What the tests must know of a family."""

    stock: Any
    call: Callable[[Any, torch.Tensor, str], Any]
    channels: int
    multiple: int
    guided: bool = False
    """Whether it has guidance at run time, and so a negative prompt."""
    references: bool = True


TABLE = {
    "stable-diffusion": Family(StableDiffusionPipeline, sd_call, 4, 8, guided=True),
    "stable-diffusion-xl": Family(StableDiffusionXLPipeline, sd_call, 4, 8, guided=True),
    "flux": Family(FluxPipeline, flux_call, 16, 16),
    "flux2-klein": Family(Flux2KleinPipeline, klein_call, 32, 16),
    "qwen-image": Family(QwenImagePipeline, qwen_call, 16, 16, guided=True, references=False),
    "qwen-image-edit": Family(QwenImagePipeline, qwen_call, 16, 16, guided=True),
    "z-image": Family(ZImagePipeline, sd_call, 16, 16, guided=True, references=False),
}
REFERRING = [name for name, family in TABLE.items() if family.references]


pytestmark = pytest.mark.usefixtures("small_references")


@pytest.fixture(scope="module")
def folders_of(tmp_path_factory):
    return cache(lambda family: tiny_models.image_folders(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def engine_of(folders_of):
    """The engine of a family, loaded once."""
    return cache(lambda family: load(spec_of(family), folders_of(family), "cpu"))


def spec_of(family, **changes):
    references = 3 if family not in TABLE or TABLE[family].references else 0
    return tiny_models.image_spec(family, **{"references": references} | changes)


@pytest.fixture(scope="module")
def without_adapter(folders_of):
    """The engine of a family without room for references."""
    return cache(
        lambda family: load(tiny_models.image_spec(family, references=0), {"main": folders_of(family)["main"]}, "cpu")
    )


@pytest.fixture(scope="module", params=TABLE)
def family(request):
    return request.param


@pytest.fixture
def engine(family, engine_of):
    return engine_of(family)


@pytest.mark.parametrize(("family", "negative"), [
    ("stable-diffusion", "blurry"), ("stable-diffusion", ""), ("stable-diffusion-xl", "blurry"),
    ("stable-diffusion-xl", ""), ("flux", ""), ("flux2-klein", ""), ("z-image", "blurry"), ("z-image", ""),
    ("qwen-image", "blurry"), ("qwen-image", ""),
])  # fmt: skip
def test_a_request_equals_the_bare_stock_pipeline_and_repeats_its_bits(
    family, negative, folders_of, engine_of, without_adapter
):
    facts, native = TABLE[family], family == "flux2-klein"
    engine = engine_of(family) if native else without_adapter(family)
    asked = {"negative_prompt": negative} | ({"references": REFERENCES, "guidance_scale": 1.0} if native else {})
    ours, again = picture(engine, **asked), picture(engine, **asked)
    stock = facts.stock.from_pretrained(folders_of(family)["main"], local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    bare = facts.call(stock, draw(NOISE, facts.channels, 8, 8)[None], negative).images[0]
    assert np.array_equal(ours, (bare * 255).round().astype("uint8"))
    assert np.array_equal(ours, again)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (32, 80)])
def test_a_picture_has_the_size_asked_for_and_names_its_noise_and_its_time(family, engine, width, height):
    result = engine.generate(image_request(width=width, height=height), Unwatched())
    assert result.image.shape == (height, width, 3)
    assert result.image.dtype == np.uint8
    assert result.noise_sha256 == noise_sha256(draw(NOISE, TABLE[family].channels, height // 8, width // 8))
    assert set(result.timings) == {"encode", "denoise", "decode"}
    assert sum(result.timings.values()) == pytest.approx(result.seconds)


def test_sizes_need_be_multiples_of_8_only_in_unet_families(engine_of):
    for family in ("stable-diffusion", "stable-diffusion-xl"):
        assert picture(engine_of(family), width=64, height=104).shape == (104, 64, 3)
        assert picture(engine_of(family), width=128, height=72).shape == (72, 128, 3)


def test_prompt_noise_guidance_steps_and_references_reach_the_picture(family, engine):
    changes: list[dict[str, Any]] = [
        {}, {"prompt": "a blue mug"}, {"noise": NoiseSpec(seed=2)}, {"num_inference_steps": 5},
    ]  # fmt: skip
    if TABLE[family].references:
        changes += [
            {"references": (reference(3),)}, {"references": (reference(4),)}, {"references": REFERENCES},
            {"references": (*REFERENCES, reference(5, 96, 64))},
        ]  # fmt: skip
    if family != "flux2-klein":
        changes.append({"guidance_scale": 8.0})
    if TABLE[family].guided:
        changes += [{"negative_prompt": "blurry"}, {"negative_prompt": "dark"}, {"guidance_scale": 1.0}]
    assert_all_differ([picture(engine, **each) for each in changes])


@pytest.mark.parametrize("family", REFERRING)
def test_cached_texts_and_references_do_not_change_the_picture(family, engine_of, folders_of):
    engine = engine_of(family)
    first, again = (picture(engine, references=(reference(8),)) for _ in range(2))
    fresh = load(spec_of(family), folders_of(family), "cpu")
    assert np.array_equal(first, again)
    assert np.array_equal(first, picture(fresh, references=(reference(8),)))


# --- cancelling, turns, memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "changes"), [
    *((family, {"prompt": "a mug", "references": REFERENCES}) for family in REFERRING),
    *((family, {"prompt": "a mug"}) for family in TABLE if family not in REFERRING),
    *((family, {"start": START}) for family in TABLE), *((family, {"inpaint": INPAINT}) for family in TABLE),
])  # fmt: skip
def test_a_cancelled_call_stops_within_its_step_and_leaves_nothing_behind(engine_of, family, changes):
    engine = engine_of(family)
    plain, before = picture(engine), picture(engine, **changes)
    watcher = StopAt(2)
    with pytest.raises(Cancelled):
        engine.generate(image_request(**changes), watcher)
    assert [done for done, _ in watcher.reports] == [0, 1, 2]
    assert np.array_equal(picture(engine, **changes), before)
    assert np.array_equal(picture(engine), plain)


def test_a_call_cancelled_before_its_first_step_does_not_start(engine):
    watcher = StopAt(0)
    with pytest.raises(Cancelled):
        engine.generate(image_request(), watcher)
    assert watcher.reports == [(0, 4)]


def test_every_step_is_reported_once(engine):
    watcher = StopAt()
    engine.generate(image_request(), watcher)
    assert watcher.reports == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


class CancelsAnother:
    """Holds the engine at step 1 until a second call, cancelled while it waits, has come back."""

    def __init__(self, engine):
        self.engine, self.second = engine, StopAt(0)

    def step(self, done, total):
        if done == 1:
            with ThreadPoolExecutor(1) as thread, pytest.raises(Cancelled):
                thread.submit(self.engine.generate, image_request(), self.second).result()


def test_a_call_can_be_cancelled_while_it_waits_for_its_turn(engine):
    watcher = CancelsAnother(engine)
    assert np.array_equal(engine.generate(image_request(), watcher).image, picture(engine))
    assert watcher.second.reports == [(0, 4)]


def test_concurrent_calls_take_turns_and_get_their_own_pictures(engine):
    prompts = ["a red bottle", "a blue mug", "a green lamp"]
    alone = [picture(engine, prompt=prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as threads:
        together = list(threads.map(lambda prompt: picture(engine, prompt=prompt), prompts))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_out_of_memory_is_answered_by_a_second_try_and_then_by_an_error_that_leaves_the_engine_whole(
    engine, monkeypatch
):
    before, decode, fails = picture(engine), engine._pipeline.vae.decode, [1]
    notes = engine.generate(image_request(), Unwatched()).notes

    def run_out(*args, **options):
        if fails and fails.pop():
            raise torch.OutOfMemoryError("out of memory")
        return decode(*args, **options)

    monkeypatch.setattr(engine._pipeline.vae, "decode", run_out)
    assert engine.generate(image_request(), Unwatched()).notes == (*notes, SECOND_TRY)
    fails += [1, 1]
    with pytest.raises(OutOfMemory, match="no room for 1 image of 64x64"):
        picture(engine)
    assert np.array_equal(picture(engine), before)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl"])
@pytest.mark.parametrize("scheduler", [
    {"class": "DPMSolverMultistepScheduler"}, {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
    {"class": "EulerAncestralDiscreteScheduler"}, {"class": "PNDMScheduler", "skip_prk_steps": True},
], ids=lambda scheduler: scheduler["class"])  # fmt: skip
def test_the_scheduler_of_the_spec_is_used_and_repeats_its_bits(folders_of, family, scheduler):
    spec = tiny_models.image_spec(family, references=0, scheduler=scheduler)
    engine: Any = load(spec, folders_of(family), "cpu")
    assert type(engine._pipeline.scheduler).__name__ == scheduler["class"]
    for changes in ({}, {"start": START}):
        assert np.array_equal(picture(engine, **changes), picture(engine, **changes))


def test_an_unknown_scheduler_class_is_refused(family, folders_of):
    with pytest.raises(InvalidRequest, match="'MagicScheduler'"):
        load(spec_of(family, scheduler={"class": "MagicScheduler"}), folders_of(family), "cpu")


def test_a_missing_part_and_an_empty_folder_are_named(family, folders_of, tmp_path):
    folders = folders_of(family)
    for missing in folders:
        with pytest.raises(WeightsError, match=f"needs the weight part '{missing}'"):
            load(spec_of(family), {k: v for k, v in folders.items() if k != missing}, "cpu")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(spec_of(family), dict.fromkeys(folders, tmp_path), "cpu")


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"unknown family 'sculptor'.*animatediff, "):
        load(tiny_models.image_spec("sculptor"), {}, "cpu")
    assert {*TABLE, "animatediff", "wan", "llava", "openai"} <= set(FAMILIES)


# --- what cannot be done ----------------------------------------------------------------------------------------------


def test_a_size_off_the_grid_is_refused_with_the_nearest_one(family, engine):
    for width, height in ((60, 64), (64, 65)):
        with pytest.raises(
            InvalidRequest, match=rf"multiples of {TABLE[family].multiple}; the nearest such size is 64x64"
        ):
            picture(engine, width=width, height=height)


def test_a_size_over_the_budget_is_refused_with_the_limit(engine):
    with pytest.raises(InvalidRequest, match="takes at most 16384 per request"):
        picture(engine, width=640, height=640)


def test_an_unlisted_lora_is_refused(engine):
    with pytest.raises(InvalidRequest, match="has no LoRA 'neon'; it has: none"):
        picture(engine, loras=(LoraUse(name="neon"),))


@pytest.mark.parametrize("family", [name for name in TABLE if name != "flux2-klein"])
def test_references_without_an_adapter_are_refused(family, without_adapter):
    with pytest.raises(InvalidRequest, match="takes no reference images"):
        picture(without_adapter(family), references=(reference(3),))


@pytest.mark.parametrize(("family", "changes", "message"), [
    *((family, {"start": START, "inpaint": INPAINT}, "give one of them") for family in TABLE),
    *((family, {"start": NO_STRENGTH}, r"0\.0 of 4 steps runs no step; use at least 0\.250$") for family in TABLE),
    ("stable-diffusion", {"start": WEAK}, r"0\.2 of 4 steps runs no step; use at least 0\.250 or more steps"),
    ("stable-diffusion-xl", {"start": WEAK, "num_inference_steps": 3}, "use at least 0.334 or more steps"),
    ("flux", {"references": REFERENCES, "adapter": AdapterSettings(blocks="style")}, "use blocks 'all'"),
    ("flux2-klein", {"references": (reference(2), reference(3, 64, 48))}, "reference 2 is 64x48; .* scale or crop it"),
    ("flux2-klein", {"references": (reference(2, weight=0.0), reference(3, 640, 64))}, "reference 2 is 640x64"),
    ("flux2-klein", {"inpaint": INPAINT, "width": 48}, "the image to inpaint is 48x64; .* scale or crop it"),
    *((family, {"inpaint": Inpaint(image=tiny_models.png(5), mask=tiny_models.half_mask(96, 64))},
       "the mask is 96x64 and the image to inpaint 64x64: give a mask of the shape of its image") for family in TABLE),
    ("qwen-image-edit", {"references": (reference(2), reference(3, 800, 4))}, "reference 2 is 800x4; .* less than 200"),
])  # fmt: skip
def test_a_request_that_the_model_cannot_serve_is_refused(engine_of, family, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        picture(engine_of(family), **changes)


@pytest.mark.parametrize("family", REFERRING)
def test_an_undecodable_reference_is_refused_by_number(family, engine_of):
    engine = engine_of(family)
    with pytest.raises(InvalidRequest, match=r"reference 2 cannot be decoded \(no known image format\)"):
        picture(engine, references=(reference(1), reference(2, image={"data": b"x"})))
