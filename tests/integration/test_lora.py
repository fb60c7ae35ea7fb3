"""LoRAs on tiny real weights: switched on by name and scale for one call, gone afterwards, and in the right batch."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict

from models.errors import Cancelled, InvalidRequest, WeightsError
from models.interfaces import LoraUse, Unwatched
from models.registry import load
from models.spec import ImageModelSpec, LoraSource, Preset, lora_part
from pipelines.recipe import SampleSettings
from pipelines.stages.pictures import sampling
from tests.support import tiny_models
from tests.support.engine_calls import StopAt, assert_all_differ, image_request, reference

SOURCE = LoraSource(repository="owner/lora", revision="0" * 40)


def request(**changes):
    return image_request(**{"num_inference_steps": 3} | changes)


def picture(engine, *loras, **changes):
    return engine.generate(request(loras=loras, **changes), Unwatched()).image


def save_lora(folder, main, kind, seed, *, text):
    """A strong random LoRA in the published format, for the UNet or for the (first) text encoder."""
    torch.manual_seed(seed)
    pipeline = kind.from_pretrained(main, local_files_only=True)
    module = pipeline.text_encoder if text else pipeline.unet
    targets = ["q_proj", "v_proj"] if text else ["to_q", "to_k", "to_v"]
    module.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets, init_lora_weights=False))
    layers = {name: value * 3 for name, value in get_peft_model_state_dict(module).items()}
    if text:
        layers = convert_state_dict_to_diffusers(layers)
    kind.save_lora_weights(folder, **{"text_encoder_lora_layers" if text else "unet_lora_layers": layers})
    return folder


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folders(family, tmp_path_factory):
    root = tmp_path_factory.mktemp(family)
    kind = StableDiffusionXLPipeline if family.endswith("xl") else StableDiffusionPipeline
    folders = tiny_models.image_folders(family, root)
    main = folders["main"]
    return folders | {
        lora_part("neon-1.5"): save_lora(root / "neon-1.5", main, kind, 1, text=False),
        lora_part("pastel"): save_lora(root / "pastel", main, kind, 2, text=False),
        lora_part("words"): save_lora(root / "words", main, kind, 3, text=True),
    }


def spec_of(family, *names, **changes):
    loras = {name: SOURCE for name in names or ("neon-1.5", "pastel", "words")}
    return tiny_models.image_spec(family).model_copy(update={"loras": loras, "batch_pixels": 4 * 64 * 64} | changes)


@pytest.fixture(scope="module")
def engine(family, folders):
    return load(spec_of(family), folders, "cpu")


@pytest.fixture(scope="module")
def bare(family, folders):
    return load(tiny_models.image_spec(family), folders, "cpu")


NEON, PASTEL, WORDS = (LoraUse(name=name) for name in ("neon-1.5", "pastel", "words"))


def test_a_call_without_loras_runs_the_untouched_weights(engine, bare):
    plain = picture(bare)
    assert np.array_equal(picture(engine), plain)
    for loras in ([NEON], [WORDS], [NEON, PASTEL]):
        assert not np.array_equal(picture(engine, *loras), plain)
        assert np.array_equal(picture(engine), plain)


def test_each_lora_its_scale_and_their_sum_act(engine):
    pictures = [
        picture(engine, *loras)
        for loras in ([NEON], [PASTEL], [NEON, PASTEL], [LoraUse(name="neon-1.5", scale=0.5)], [WORDS])
    ]
    assert_all_differ(pictures)
    assert np.array_equal(picture(engine, NEON), pictures[0])


def test_a_recipe_s_preset_is_its_lora_with_its_few_steps(family, folders, engine):
    fast = Preset(loras=(NEON,), num_inference_steps=2, guidance_scale=1.0)
    spec = spec_of(family, presets={"fast": fast})
    asked = sampling(spec, SampleSettings(preset="fast"))
    made = picture(engine, NEON, num_inference_steps=2, guidance_scale=1.0)
    assert np.array_equal(engine.generate(request(**asked), Unwatched()).image, made)
    assert not np.array_equal(picture(engine, num_inference_steps=2, guidance_scale=1.0), made)
    assert sampling(spec, SampleSettings(preset="fast", num_inference_steps=3))["num_inference_steps"] == 3
    assert sampling(spec, SampleSettings())["num_inference_steps"] == spec.num_inference_steps
    with pytest.raises(InvalidRequest, match="no preset 'slow'; it has: fast"):
        sampling(spec, SampleSettings(preset="slow"))


def test_a_preset_of_a_lora_that_is_not_described_is_refused():
    with pytest.raises(ValueError, match=r"presets\.fast: the model has no LoRA 'x'"):
        ImageModelSpec.model_validate(
            tiny_models.image_spec("stable-diffusion").model_dump()
            | {"presets": {"fast": {"loras": [{"name": "x"}], "num_inference_steps": 4, "guidance_scale": 1.0}}}
        )


def test_scale_0_is_no_lora(engine, bare):
    none = picture(engine, LoraUse(name="neon-1.5", scale=0.0), LoraUse(name="words", scale=0.0))
    assert np.allclose(none.astype(int), picture(bare).astype(int), atol=1)


def test_a_lora_equals_the_stock_pipeline_with_it(family, folders, engine):
    kind = StableDiffusionXLPipeline if family.endswith("xl") else StableDiffusionPipeline
    stock: Any = load(tiny_models.image_spec(family, references=0), folders, "cpu")
    stock._pipeline.load_lora_weights(
        str(folders[lora_part("neon-1.5")]), weight_name="pytorch_lora_weights.safetensors"
    )
    assert isinstance(stock._pipeline, kind)
    assert np.array_equal(stock.generate(request(), Unwatched()).image, picture(engine, NEON))


def test_a_text_encoder_lora_does_not_stay_in_remembered_prompts(engine):
    with_words = picture(engine, WORDS, prompt="a green lamp")
    plain = picture(engine, prompt="a green lamp")
    assert not np.array_equal(with_words, plain)
    assert np.array_equal(picture(engine, WORDS, prompt="a green lamp"), with_words)


def test_loras_act_together_with_references(engine):
    references = (reference(1),)
    assert not np.array_equal(picture(engine, NEON, references=references), picture(engine, NEON))
    assert not np.array_equal(picture(engine, NEON, references=references), picture(engine, references=references))


def test_a_cancelled_call_leaves_its_loras_off(engine, bare):
    with suppress(Cancelled):
        engine.generate(request(loras=(NEON, WORDS)), StopAt(1))
    assert np.array_equal(picture(engine), picture(bare))


def test_only_requests_with_the_same_loras_share_a_batch(engine):
    keys = {
        engine.batch_key(request(loras=loras))
        for loras in ((), (NEON,), (PASTEL,), (LoraUse(name="neon-1.5", scale=0.5),), (NEON, PASTEL))
    }
    assert len(keys) == 5
    outcomes = engine.generate_batch([request(loras=(NEON,))] * 2, [Unwatched()] * 2)
    assert np.allclose(outcomes[1].image.astype(int), picture(engine, NEON).astype(int), atol=2)


def test_an_unknown_and_a_doubled_lora_are_refused(engine, bare):
    with pytest.raises(InvalidRequest, match=r"has no LoRA .chrome.; it has: neon-1\.5, pastel, words"):
        picture(engine, LoraUse(name="chrome"))
    with pytest.raises(InvalidRequest, match="it has: none"):
        picture(bare, NEON)
    with pytest.raises(InvalidRequest, match=r"'neon-1\.5' is named twice"):
        picture(engine, NEON, LoraUse(name="neon-1.5", scale=0.5))


def test_a_lora_folder_with_no_or_several_files_is_refused(family, folders, tmp_path):
    with pytest.raises(WeightsError, match="has 0 safetensors files"):
        load(spec_of(family, "neon-1.5"), folders | {lora_part("neon-1.5"): tmp_path}, "cpu")
    with pytest.raises(WeightsError, match="needs the weight part 'lora-mist'"):
        load(spec_of(family, "mist"), folders, "cpu")
