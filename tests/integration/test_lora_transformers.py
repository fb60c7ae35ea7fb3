"""LoRAs of the transformer families on tiny real weights: switched on for one call, gone afterwards, to the bit."""

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline, FluxPipeline, LTXConditionPipeline, WanPipeline, WanVACEPipeline
from peft import LoraConfig, get_peft_model_state_dict

from models.errors import InvalidRequest
from models.interfaces import ImageRequest, LoraUse, NoiseSpec, Unwatched, VideoRequest
from models.registry import load
from models.spec import LoraSource, lora_part
from tests.support import tiny_clips, tiny_models

FAMILIES = {
    "flux": (FluxPipeline, tiny_models.save_flux),
    "flux2-klein": (Flux2KleinPipeline, tiny_models.save_flux2_klein),
    "ltx": (LTXConditionPipeline, tiny_clips.save_ltx),
    "wan-text": (WanPipeline, tiny_clips.save_wan_text),
    "wan-vace": (WanVACEPipeline, tiny_clips.save_wan_vace),
}
SOURCE = LoraSource(repository="owner/lora", revision="0" * 40)
COMMON = {
    "prompt": "a bottle", "width": 32, "height": 32, "noise": NoiseSpec(seed=1), "num_inference_steps": 1,
    "guidance_scale": 1.0,
}  # fmt: skip


def spec_of(family, **changes):
    if family.startswith("flux"):
        return tiny_models.image_spec(family, references=0).model_copy(update=changes)
    return tiny_clips.video_spec(family, first_frame="optional", **changes)


def make(engine, family, *loras):
    if family.startswith("flux"):
        return engine.generate(ImageRequest(**COMMON, loras=loras), Unwatched()).image
    return engine.generate(VideoRequest(**COMMON, num_frames=1, loras=loras), Unwatched()).frames


def save_lora(folder, main, kind):
    """A strong random LoRA for the transformer, in the published format."""
    torch.manual_seed(0)
    transformer = kind.from_pretrained(main, local_files_only=True).transformer
    transformer.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = {name: value * 3 for name, value in get_peft_model_state_dict(transformer).items()}
    kind.save_lora_weights(folder, transformer_lora_layers=layers)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_acts_when_it_is_named_with_its_scale_and_leaves_no_trace(family, tmp_path):
    kind, save = FAMILIES[family]
    main = save(tmp_path / "main")
    folders = {"main": main, lora_part("neon"): save_lora(tmp_path / "lora", main, kind)}
    engine = load(spec_of(family, loras={"neon": SOURCE}), folders, "cpu")
    plain = make(load(spec_of(family), {"main": main}, "cpu"), family)
    assert np.array_equal(make(engine, family), plain)
    full, half = make(engine, family, LoraUse(name="neon")), make(engine, family, LoraUse(name="neon", scale=0.5))
    assert not np.array_equal(full, plain)
    assert not np.array_equal(half, plain)
    assert not np.array_equal(half, full)
    assert np.array_equal(make(engine, family), plain)
    with pytest.raises(InvalidRequest, match="has no LoRA 'noir'; it has: neon"):
        make(engine, family, LoraUse(name="noir"))
