"""DOVER against its formulas: windows and their shift as loops, biases, calibration; and what must not change it."""

import math
from itertools import product

import pytest
import torch

from models.scorers.dover import APART, FRAGMENTS, WINDOW, Dover, _Block, joined, split, windows_of

WIDTH = 32


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    module = Dover(WIDTH, (2, 2, 2, 2), (2, 1, 1, 1)).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("_table"):
                parameter.normal_()
    return module


def attended_by_loops(block, x, shifted):
    """The attention of one block: every pair of tokens by itself."""
    frames, rows, columns = x.shape[:3]
    window, shift = windows_of((frames, rows, columns), shifted=shifted)
    attention = block.attn
    query, key, value = attention.qkv(x).split(WIDTH, dim=-1)
    heads = attention.heads

    def group(place):
        """The window of a token, and whether the shift carried it around an edge, by axis."""
        moved = [(at - by) % length for at, by, length in zip(place, shift, (frames, rows, columns), strict=True)]
        number = tuple(at // side for at, side in zip(moved, window, strict=True))
        inside = tuple(at % side for at, side in zip(moved, window, strict=True))
        around = tuple(at < by for at, by in zip(place, shift, strict=True))
        return number, inside, around

    places = list(product(range(frames), range(rows), range(columns)))
    groups = {place: group(place) for place in places}
    out = torch.zeros_like(x)
    for place in places[:: max(1, len(places) // 40)]:
        number, inside, around = groups[place]
        others = [other for other in places if groups[other][0] == number]
        logits = torch.zeros(len(others), heads)
        for index, other in enumerate(others):
            apart = [a - b for a, b in zip(inside, groups[other][1], strict=True)]
            row = 0
            for step, side in zip(apart, WINDOW, strict=True):
                row = row * (2 * side - 1) + step + side - 1
            bias = attention.relative_position_bias_table[row]
            if attention.fragment_position_bias_table is not None:
                between = sum(
                    abs(place[n] * FRAGMENTS // x.shape[n] - other[n] * FRAGMENTS // x.shape[n]) for n in (1, 2)
                )
                bias = bias * between + attention.fragment_position_bias_table[row] * (1 - between)
            for head in range(heads):
                own = slice(head * 32, head * 32 + 32)
                logits[index, head] = query[place][own] @ key[other][own] / math.sqrt(32) + bias[head]
            if around != groups[other][2]:
                logits[index] += APART
        shares = logits.softmax(dim=0)
        for head in range(heads):
            own = slice(head * 32, head * 32 + 32)
            out[place][own] = sum(shares[n, head] * value[other][own] for n, other in enumerate(others))
    return {place: attention.proj(out[place]) for place in places[:: max(1, len(places) // 40)]}


@torch.no_grad()
@pytest.mark.parametrize("apart", [True, False], ids=["with fragments", "last stage"])
@pytest.mark.parametrize("shifted", [False, True], ids=["plain", "shifted"])
def test_windows_attend_as_a_loop_over_pairs_of_tokens_does(shifted, apart):
    torch.manual_seed(1)
    block = _Block(WIDTH, shifted=shifted, apart=apart).eval()
    for name, parameter in block.named_parameters():
        if name.endswith("_table"):
            parameter.normal_()
    x = torch.randn(1, 16, 14, 7, WIDTH)
    found = block._attended(x)[0]
    for place, by_hand in attended_by_loops(block, x[0], shifted).items():
        torch.testing.assert_close(found[place], by_hand, atol=1e-5, rtol=1e-4)


def test_windows_are_put_together_as_they_were_split():
    x = torch.randn(2, 16, 14, 21, 3)
    assert joined(split(x, WINDOW), WINDOW, 2, (16, 14, 21)).equal(x)


@pytest.mark.parametrize(
    ("tokens", "window", "shift"),
    [((16, 56, 56), (8, 7, 7), (4, 3, 3)), ((16, 7, 7), (8, 7, 7), (4, 0, 0)), ((2, 14, 14), (2, 7, 7), (0, 3, 3))],
)
def test_an_axis_without_room_for_two_windows_is_not_shifted(tokens, window, shift):
    assert windows_of(tokens, shifted=True) == (window, shift)
    assert windows_of(tokens, shifted=False) == (window, (0, 0, 0))


@torch.inference_mode()
@pytest.mark.parametrize("network", ["technical", "aesthetic"])
def test_the_batch_changes_nothing(tiny, network):
    clips = torch.randn(2, 3, 8, 112, 112, generator=torch.Generator().manual_seed(2))
    together = getattr(tiny, network)(clips)
    alone = torch.cat([getattr(tiny, network)(clips[:1]), getattr(tiny, network)(clips[1:])])
    assert together.shape == (2,)
    assert together[0] != together[1]
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-6)
