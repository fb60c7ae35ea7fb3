"""Every shipped description of a picture model on a CUDA device, from the published layout in tiny widths.

In its own precision and in float32, and each family with what can be set in `acceleration`. What widths of 8 to 64 say
nothing of, memory and speed, `benchmarks/gpu_session.py` measures.
"""

from typing import Any

import numpy as np
import pytest
import torch

from configs.settings import load_model_specs
from models.diffusion.placement import DENOISERS, denoisers
from models.errors import InvalidRequest, WeightsError
from models.interfaces import LoraUse
from models.registry import load
from models.spec import Acceleration
from tests.layouts.published import make, publish, small
from tests.support import tiny_clips

CUDA = "cuda:0"
SPECS = {
    name: spec
    for name, spec in load_model_specs().items()
    if spec.kind in ("image", "video")
    and not any(part.repository.startswith("embedded:") for part in spec.weights.values())
}
FAMILIES = {spec.family: name for name, spec in reversed(SPECS.items()) if spec.weights_of is None}
"""One description of each family."""
HALF_NEAR = 22.0
"""Mean levels of 255 between a picture in half precision, whatever it is rounded to, and the float32 one: LTX differs
by 18.3 to 20.4 on an H200, every other family by less than 16."""
ACCELERATIONS: dict[str, dict[str, Any]] = {
    "model offload": {"offload": "model"},
    "group offload": {"offload": "group"},
    "float8 storage": {"storage": "float8_e4m3fn"},
    "automatic attention": {"attention_backend": "auto"},
    "tiles": {"vae_tiling": True},
}
ROUNDED = ("int8_weights", "float8_weights")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inductor's own
]


def mean_difference(one, other):
    return np.abs(one.astype(np.float32) - other.astype(np.float32)).mean()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Folders by the name of a description, written when they are first asked for."""
    found: dict[str, Any] = {}

    def folders(name):
        if SPECS[name].loras:
            pytest.importorskip("peft")
        if SPECS[name].family == "ltx2":
            pytest.importorskip("av")  # diffusers encodes its first frame as a video would be
        if SPECS[name].family.startswith("wan"):
            pytest.importorskip("ftfy")
        if name not in found:
            spec: Any = small(SPECS[name])
            found[name] = publish(spec, tmp_path_factory.mktemp("published")).folders(spec)
        return found[name]

    return folders


@pytest.fixture(scope="module")
def plain(library):
    """Pixels of a description in float32 on the CPU, without rounded weights, computed once."""
    found: dict[str, Any] = {}

    def pixels(name):
        if name not in found:
            spec = small(SPECS[name], dtype="float32", acceleration=Acceleration())
            # `tests/layouts` holds that it loads with this project's libraries; a machine with a GPU may have others.
            try:
                engine = load(spec, library(name), "cpu")
            except (ImportError, WeightsError, InvalidRequest) as error:
                found[name] = f"{name} does not load with the libraries of this machine: {error}"
            else:
                found[name] = make(engine, spec)
        if isinstance(found[name], str):
            pytest.skip(found[name])
        return found[name]

    return pixels


def on_cuda(library, name, **changes):
    spec: Any = small(SPECS[name], **changes)
    return make(load(spec, library(name), CUDA), spec)


@pytest.mark.parametrize("name", SPECS)
def test_a_description_makes_on_cuda_what_it_makes_on_the_cpu(library, plain, name):
    expected = plain(name)
    if SPECS[name].acceleration.quantisation is not None:
        pytest.importorskip("torchao")
    exact = on_cuda(library, name, dtype="float32", acceleration=Acceleration())
    assert mean_difference(exact, expected) < 1
    described = on_cuda(library, name)
    assert described.std() > 0
    assert mean_difference(described, expected) < HALF_NEAR


@pytest.mark.parametrize("setting", ACCELERATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_acceleration_changes_a_family_s_picture_by_rounding_alone(library, plain, family, setting):
    name = FAMILIES[family]
    wanted = Acceleration.model_validate(ACCELERATIONS[setting])
    expected = plain(name)
    assert mean_difference(on_cuda(library, name, acceleration=wanted), expected) < HALF_NEAR


@pytest.mark.parametrize("to", ROUNDED)
@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_weights_change_a_family_s_picture_by_rounding_alone(library, plain, family, to):
    pytest.importorskip("torchao")
    name = FAMILIES[family]
    expected = plain(name)
    spec: Any = small(SPECS[name])
    engine = load(spec, library(name), "cpu")
    components = [part for part in DENOISERS if getattr(engine._pipeline, part, None) is not None]
    for offload in ("none", "model"):
        wanted = {"quantisation": {"to": to, "components": components}, "offload": offload}
        rounded = on_cuda(library, name, acceleration=Acceleration.model_validate(wanted))
        assert mean_difference(rounded, expected) < HALF_NEAR


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Wan text-to-video whose sides are multiples of 16: products in float8 and flash kernels take no others."""
    return {"main": tiny_clips.save_wan_text(tmp_path_factory.mktemp("wide"), head=16)}


def clip(wide, device=CUDA, **acceleration):
    spec = tiny_clips.video_spec(
        "wan-text",
        size_multiple=16,
        frame_multiple=4,
        first_frame="unused",
        dtype="bfloat16",
        acceleration=acceleration,
    )
    engine = load(spec, wide, device)
    return make(engine, spec), engine


@pytest.mark.parametrize("backend", ["auto", "_native_cudnn", "_native_flash", "_native_efficient", "flash", "sage"])
def test_an_attention_backend_gives_the_plain_clip_or_is_refused_by_name(wide, backend):
    expected, _ = clip(wide)
    try:
        made, _ = clip(wide, attention_backend=backend)
    except InvalidRequest as error:
        assert "attention_backend" in str(error)
        assert backend in ("flash", "sage")
    else:
        assert mean_difference(made, expected) < HALF_NEAR


@pytest.mark.parametrize("acceleration", [
    {"compile": "regional"},
    {"compile": "regional", "attention_backend": "auto", "storage": "float8_e4m3fn"},
    {"compile": "regional", "quantisation": {"to": "int8_weights", "components": ["transformer", "text_encoder"]}},
    {"compile": "regional", "quantisation": {"to": "float8_products", "components": ["transformer"]}},
    {"quantisation": {"to": "float8_products", "components": ["transformer"]}},
    {"quantisation": {"to": "int8_weights", "components": ["transformer"]}, "offload": "group"},
], ids=["compiled", "compiled stored small", "compiled rounded", "compiled rounded products", "rounded products",
        "rounded offloaded"])  # fmt: skip
def test_accelerations_together_change_the_clip_by_rounding_alone(wide, acceleration):
    if "quantisation" in acceleration:
        pytest.importorskip("torchao")
    if "float8_products" in str(acceleration) and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this card does not multiply in float8")
    expected, _ = clip(wide)
    made, engine = clip(wide, **acceleration)
    assert mean_difference(made, expected) < HALF_NEAR
    if acceleration.get("quantisation", {}).get("to") == "float8_products":
        weight = denoisers(engine._pipeline)[0].blocks[0].attn1.to_q.weight
        assert type(weight).__module__.startswith("torchao")


@pytest.mark.parametrize("acceleration", [
    {}, {"compile": "regional"},
    {"quantisation": {"to": "int8_weights", "components": ["transformer", "transformer_2"]}},
], ids=["plain", "compiled", "rounded"])  # fmt: skip
def test_the_pair_of_loras_acts_on_both_denoisers(library, acceleration):
    pytest.importorskip("peft")
    name = "wan2.2-i2v-a14b"
    spec: Any = small(SPECS[name], acceleration=Acceleration.model_validate(acceleration))
    engine = load(spec, library(name), CUDA)
    without, fast = (make(engine, spec, loras=loras) for loras in ((), (LoraUse(name="fast"),)))
    assert mean_difference(without, fast) > 0
