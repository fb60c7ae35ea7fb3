"""Which attention kernel `auto` means, from facts of a card as plain data."""

import pytest

from models.diffusion.attention import KERNELS, CardFacts, card_facts, chosen_backend, kernel_of, missing

PASCAL, AMPERE, ADA, HOPPER, BLACKWELL = (6, 1), (8, 0), (8, 9), (9, 0), (10, 0)
EVERYTHING = frozenset({"flash_attn", "flash_attn_interface", "sageattention"})


def kernel(backend):
    found = kernel_of(backend)
    assert found is not None
    return found


def card(capability, packages=frozenset(), cudnn=91900):
    return CardFacts(capability, frozenset(packages), cudnn)


@pytest.mark.parametrize(("facts", "backend"), [
    (card(HOPPER, EVERYTHING), "_flash_3"),
    (card(HOPPER, {"flash_attn"}), "_native_cudnn"),
    (card(HOPPER, {"flash_attn"}, cudnn=80900), "flash"),
    (card(HOPPER), "_native_cudnn"),
    (card(BLACKWELL, EVERYTHING), "_native_cudnn"),
    (card(ADA, {"flash_attn"}), "flash"),
    (card(AMPERE), "native"),
    (card(AMPERE, {"sageattention"}), "native"),
    (card(PASCAL, EVERYTHING), "native"),
    (CardFacts(None, EVERYTHING, 0), "native"),
])  # fmt: skip
def test_auto_takes_the_first_exact_kernel_that_the_card_and_the_packages_allow(facts, backend):
    assert chosen_backend("wan", "bfloat16", 128, facts) == backend


@pytest.mark.parametrize(("family", "dtype"), [("z-image", "bfloat16"), ("stable-diffusion", "float16"),
                                               ("wan", "float32")])  # fmt: skip
def test_auto_leaves_families_with_masks_and_full_precision_to_torch(family, dtype):
    assert chosen_backend(family, dtype, 128, card(HOPPER, EVERYTHING)) == "native"


def test_auto_leaves_heads_that_no_kernel_takes_to_torch():
    assert chosen_backend("wan", "bfloat16", 12, card(HOPPER, EVERYTHING)) == "native"


def test_a_kernel_that_rounds_to_eight_bits_is_never_chosen_and_may_be_named():
    rounding = [kernel for kernel in KERNELS if not kernel.exact]
    assert rounding
    for capability in (PASCAL, AMPERE, ADA, HOPPER, BLACKWELL):
        chosen = kernel_of(chosen_backend("flux", "float16", 128, card(capability, EVERYTHING)))
        assert chosen is None or chosen.exact
    assert all(missing(kernel, card(HOPPER, EVERYTHING)) is None for kernel in rounding)


def test_what_a_card_lacks_is_said():
    flash_3 = kernel("_flash_3")
    assert missing(flash_3, card(AMPERE, EVERYTHING)) == (
        "it needs compute capability 9.0 to below 10.0 and this card has 8.0"
    )
    assert missing(flash_3, card(HOPPER)) == "the package with the module 'flash_attn_interface' is not installed"
    assert missing(kernel("_native_cudnn"), card(HOPPER, cudnn=0)) == "it needs cuDNN 9"


def test_a_cpu_has_no_capability():
    assert card_facts("cpu").capability is None
