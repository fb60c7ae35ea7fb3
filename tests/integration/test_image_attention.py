"""Attention shared between pictures, through a bank that one writes and others read, on tiny real weights."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models.diffusion.shared_attention import BANK_BYTES, tokens_of, up_attentions
from models.errors import Cancelled, InvalidRequest
from models.interfaces import NoiseSpec, Unwatched
from models.registry import load
from models.spec import Acceleration
from tests.support import tiny_models
from tests.support.engine_calls import StopAt, distance, image_request, picture, reference

OTHER: dict[str, Any] = {"prompt": "a blue mug", "noise": NoiseSpec(seed=5)}


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def engine(request, tmp_path_factory):
    folders = tiny_models.image_folders(request.param, tmp_path_factory.mktemp(request.param))
    loaded: Any = load(tiny_models.image_spec(request.param), folders, "cpu")
    return loaded


@pytest.fixture(scope="module")
def written(engine):
    return engine.generate(image_request(keep_attention=7), Unwatched())


def hooked(engine):
    return [layer for layer in up_attentions(engine._pipeline.unet) if layer._forward_pre_hooks]


def test_writing_a_bank_changes_no_bit_of_the_picture(engine, written):
    assert np.array_equal(written.image, picture(engine))
    assert not hooked(engine)


def test_a_reader_is_drawn_otherwise_and_again_with_the_same_bits_whatever_ran_between(engine, written):
    plain = picture(engine, **OTHER)
    shared = picture(engine, **OTHER, attention_bank=written.attention_bank)
    assert not np.array_equal(shared, plain)
    assert np.array_equal(picture(engine, **OTHER), plain), "off is as it was"
    assert np.array_equal(picture(engine, **OTHER, attention_bank=written.attention_bank), shared)


def test_a_bank_holds_half_of_the_tokens_of_each_layer_at_every_step_but_the_first(engine, written):
    tensors = load_tensors(written.attention_bank)
    layers = up_attentions(engine._pipeline.unet)
    assert sorted(tensors) == sorted(f"{step}.{layer}" for step in (1, 2, 3) for layer in range(len(layers)))
    for key, tensor in tensors.items():
        rows, count, width = tensor.shape
        assert (rows, width, tensor.dtype) == (2, layers[int(key.partition(".")[2])].query_dim, torch.float16)
        assert count in {(side * side) // 2 for side in (8, 4, 2)}


def test_another_seed_draws_other_tokens_and_the_same_seed_the_same(engine, written):
    assert engine.generate(image_request(keep_attention=7), Unwatched()).attention_bank == written.attention_bank
    assert engine.generate(image_request(keep_attention=8), Unwatched()).attention_bank != written.attention_bank


def test_a_layer_attends_to_its_own_tokens_and_to_those_of_the_bank(engine, written):
    """softmax(Q [K; K_bank]^T) [V; V_bank]: what the layer gives when it is told so outright."""
    layer: Any = up_attentions(engine._pipeline.unet)[0]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    try:
        picture(engine, **OTHER, attention_bank=written.attention_bank)
    finally:
        hook.remove()
    own, output = seen[1]
    beside = load_tensors(written.attention_bank)["1.0"].to(own)
    with torch.no_grad():
        told = layer(own, encoder_hidden_states=torch.cat([own, beside], dim=1))
        alone = layer(seen[0][0])
    assert torch.equal(output, told)
    assert torch.equal(seen[0][1], alone), "not in the first step"


def test_a_picture_that_starts_from_another_reads_the_last_steps_of_the_bank(engine, written):
    start = {"image": tiny_models.png(3), "strength": 0.5}
    plain, shared = (picture(engine, **OTHER, start=start, attention_bank=bank)
                     for bank in (None, written.attention_bank))  # fmt: skip
    assert not np.array_equal(plain, shared)
    late = {key: tensor for key, tensor in load_tensors(written.attention_bank).items() if key[0] in "23"}
    assert np.array_equal(shared, picture(engine, **OTHER, start=start, attention_bank=save_tensors(late)))


def test_references_act_beside_shared_attention(engine, written):
    both = picture(engine, **OTHER, attention_bank=written.attention_bank, references=(reference(2),))
    assert distance(both, picture(engine, **OTHER, attention_bank=written.attention_bank)) > 0


def test_a_stopped_call_leaves_no_hook_and_no_bank(engine):
    plain = picture(engine)
    with pytest.raises(Cancelled):
        engine.generate(image_request(keep_attention=7), StopAt(2))
    assert not hooked(engine)
    result = engine.generate(image_request(), Unwatched())
    assert result.attention_bank is None
    assert np.array_equal(result.image, plain)


def test_a_bank_that_does_not_fit_is_refused_and_leaves_no_hook(engine, written):
    for bank, asks, why in (
        (b"no bank", {}, "cannot be read"),
        (save_tensors({"1.9999": torch.zeros(2, 4, 8)}), {}, "cannot be read"),
        (save_tensors({"1.0": torch.zeros(2, 4, 7)}), {}, "same model"),
        (written.attention_bank, {"guidance_scale": 1.0}, "with or without guidance"),
        (written.attention_bank, {"keep_attention": 1}, "writes an attention bank or reads one"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            picture(engine, attention_bank=bank, **asks)
        assert not hooked(engine)


def test_pictures_that_share_attention_run_alone():
    spec = tiny_models.image_spec("stable-diffusion").model_copy(update={"batch_pixels": 10**6})
    assert spec.batch_key(image_request()) is not None
    assert spec.batch_key(image_request(keep_attention=0)) is None
    assert spec.batch_key(image_request(attention_bank=b"bank")) is None


def test_families_and_compiled_models_that_cannot_share_attention_say_so():
    assert "the family 'flux'" in str(tiny_models.image_spec("flux").attention_refusal)
    compiled = tiny_models.image_spec("stable-diffusion").model_copy(
        update={"acceleration": Acceleration(compile="regional")}
    )
    assert "set `compile: none`" in str(compiled.attention_refusal)
    assert tiny_models.image_spec("stable-diffusion-xl").attention_refusal is None


@pytest.mark.parametrize(
    ("layers", "steps"),
    [
        ([(256, 1280)] * 3 + [(1024, 640)] * 3 + [(4096, 320)] * 3, 30),  # Stable Diffusion 1.5 at 512 x 512
        ([(1024, 1280)] * 30 + [(4096, 640)] * 6, 30),  # SDXL at 1024 x 1024
        ([(1024, 1280)] * 30 + [(4096, 640)] * 6, 200),
    ],
)
def test_a_bank_is_never_larger_than_its_budget(layers, steps):
    kept = [tokens_of(count, width, len(layers), 2, steps) for count, width in layers]
    size = 2 * 2 * (steps - 1) * sum(each * width for each, (_, width) in zip(kept, layers, strict=True))
    assert BANK_BYTES / 2 < size <= BANK_BYTES
    assert min(kept) > 0
