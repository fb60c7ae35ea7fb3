"""One pass over a clip: what it never depends on, what it never gives, and what it holds."""

from __future__ import annotations

import math
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quality import engine
from quality.engine import Clip, measure, measure_clips
from quality.registry import DIMENSIONS, of_name
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Features, Sampler, Shot, Stream, middle


class MeanColour:
    """A backbone in which a picture is its mean colour, and every text is red."""

    name, weights_sha256, licence, dtype, device = "mean", "0" * 64, "MIT", "float32", "cpu"
    fidelity: Literal["published", "proxy", "toy"] = "proxy"
    window, min_side = 1, 1

    def __init__(self, batch: int = 16) -> None:
        self.batch = batch
        self.seen = self.calls = 0

    def features(self, batch: Any) -> Any:
        self.seen += len(batch)
        self.calls += 1
        means = batch.float().mean(dim=(2, 3)) + 1
        return torch.nn.functional.normalize(means, dim=1).numpy()

    def text(self, text: str) -> Any:
        return np.array([1, 0, 0], np.float32), False


class Change(MeanColour):
    """A backbone of two frames: how much the mean changes from the first to the second."""

    window = 2

    def features(self, batch: Any) -> Any:
        means = batch.float().mean(dim=(2, 3, 4))
        return (means[:, 1] - means[:, 0]).numpy()


class Movement(MeanColour):
    """A flow that goes as far to the right as the mean changes."""

    window = 2

    def features(self, batch: Any) -> Any:
        means = batch.float().mean(dim=(2, 3, 4))
        flow = torch.zeros(len(batch), 2, *batch.shape[-2:])
        flow[:, 0] = (means[:, 1] - means[:, 0])[:, None, None]
        return flow.numpy()


def noise(frames: int, height: int = 40, width: int = 56) -> list[Any]:
    return list(np.random.default_rng(5).integers(0, 256, (frames, height, width, 3), dtype=np.uint8))


def shot(**fields: Any) -> Shot:
    known: dict[str, Any] = {"fps": 8.0, "prompt": "red", "backbones": {"clip": MeanColour()}, "decoder": "none"}
    return Shot(**known | fields)


ALL = tuple(DIMENSIONS)
OURS = ("temporal_flickering", "flow_smoothness", "flow_dynamics", "clip_consistency", "text_alignment")


def raws(frames: list[Any], names: tuple[str, ...] = OURS, block: int = 16, **fields: Any) -> list[float | None]:
    return [score.raw for score in measure(names, frames, shot(**fields), block)]


# --- what it does not depend on ---


def test_sizes_of_blocks_change_nothing_in_any_dimension():
    frames = noise(9, 24, 32)
    expected = raws(frames, ALL)
    assert sum(raw is not None for raw in expected) > len(OURS)
    for block in (1, 2, 4, 64):
        found = raws(frames, ALL, block)
        assert found == [None if raw is None else pytest.approx(raw, abs=1e-6) for raw in expected], block


def test_sizes_of_batches_change_nothing():
    frames, learned = noise(23), ("clip_consistency", "text_alignment")
    expected = raws(frames, learned)
    for batch in (1, 5, 64):
        assert raws(frames, learned, backbones={"clip": MeanColour(batch)}) == pytest.approx(expected, abs=1e-6)


def test_what_is_measured_beside_changes_nothing():
    frames = noise(9)
    assert raws(frames) == [raws(frames, (name,))[0] for name in OURS]


# --- once ---


def test_a_clip_is_decoded_once_and_embedded_once_for_all_dimensions():
    backbone, decoded = MeanColour(), []

    def frames() -> Any:
        for number, frame in enumerate(noise(20)):
            decoded.append(number)
            yield frame

    measure(OURS, frames(), shot(backbones={"clip": backbone}))
    assert decoded == list(range(20))
    assert backbone.seen == 20


def test_no_more_frames_are_held_for_a_longer_clip():
    def peak(count: int) -> int:
        frames = (np.full((120, 160, 3), number % 250, np.uint8) for number in range(count))
        tracemalloc.start()
        measure(OURS, frames, shot(), 4)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(8)  # what is imported and cached at first use
    assert peak(100) < peak(20) + 2 * 120 * 160 * 3


@pytest.mark.parametrize("name", [name for name in ALL if not of_name(name).NEEDS])
def test_no_dimension_holds_a_block_after_it_was_fed(name):
    try:
        at_work: Any = of_name(name)(shot())  # type: ignore[call-arg]
    except NoValue as reason:
        pytest.skip(str(reason))
    for first in (0, 16):
        frames = np.stack(noise(16, 32, 48))
        held = weakref.ref(frames)
        at_work.feed(Block(frames, tuple(number / 24 for number in range(first, first + 16)), first))
        del frames
        assert held() is None, "a view of one frame holds its whole block"


# --- windows and samplings ---


class Changes:
    """A dimension that keeps what a backbone of two frames gives."""

    METRIC = Metric("admint.changes", "changes@1", "proxy", (0, None))
    NEEDS: tuple[Stream, ...] = (Stream("change", "hf.clip", "4fps"),)

    def __init__(self, shot: Shot) -> None:
        self.found: list[tuple[int, float]] = []
        self._shot = shot

    def feed(self, block: Block) -> None:
        features: Features = block.features[self.NEEDS[0]]
        self.found += zip(features.frames, features.values.tolist(), strict=True)

    def score(self) -> Score:
        values = [value for _, value in self.found]
        at = [number for number, _ in self.found]
        return self.METRIC.value(sum(values), self._shot, len(values) + 1, series=values, at=at, stream=self.NEEDS[0])


@pytest.mark.parametrize("block", [1, 3, 4, 16])
def test_windows_reach_over_blocks_and_name_their_last_frame(monkeypatch, block):
    monkeypatch.setattr(engine, "of_name", lambda name: Changes)
    frames = [np.full((8, 8, 3), 2 * number, np.uint8) for number in range(17)]
    (score,) = measure(["text_alignment"], frames, shot(fps=16, backbones={"change": Change(2)}), block)
    assert score.series is not None
    assert score.series.values == (8.0, 8.0, 8.0, 8.0)
    assert score.series.seconds == (0.25, 0.5, 0.75, 1.0)
    assert (score.backbone, score.preproc, score.licence) == ("mean", "hf.clip", "MIT")


def test_a_backbone_that_needs_larger_frames_gives_a_reason_and_not_a_number():
    blind = MeanColour()
    blind.min_side = 128
    (alignment, flicker) = measure(["text_alignment", "temporal_flickering"], noise(3), shot(backbones={"clip": blind}))
    assert alignment.reason == "clip needs frames of at least 128 pixels on their shorter side"
    assert flicker.raw is not None


@pytest.mark.parametrize(
    ("parts", "frames", "expected"),
    [(8, 16, [0, 2, 4, 6, 8, 10, 12, 14]), (4, 4, [0, 1, 2, 3]), (4, 2, [0, 1, 1, 1]), (2, 9, [1, 6]), (3, 0, [])],
)
def test_middle_frames_are_those_of_vbench(parts, frames, expected):
    assert middle(parts, frames) == expected


def picked(sampling: str, count: int, **fields: Any) -> list[int]:
    sampler, found = Sampler(sampling, Shot(**fields)), []
    for first in range(0, count, 3):
        size = min(3, count - first)
        block = Block(np.zeros((size, 2, 2, 3), np.uint8), (0.0,) * size, first)
        found += [first + place for place in sampler.pick(block)]
    return found


def test_samplings_go_by_vbenchs_rule_at_a_constant_rate_and_by_time_at_another():
    assert picked("8fps", 10, fps=24) == [0, 3, 6, 9]
    assert picked("8fps", 5, fps=4) == [0, 1, 2, 3, 4]
    assert picked("middle4", 2, frame_count=2) == [0, 1, 1, 1]
    assert picked("first", 5) == [0]
    assert picked("never", 5) == []
    assert picked("pieces", 11, fps=2.5, frame_count=11) == [0, 4, 7]
    times = (0.0, 0.04, 0.12, 0.13, 0.2, 0.26, 0.9)
    assert picked("8fps", 7, times=times) == [0, 2, 5, 6]


# --- a score, a reason or a typed error ---


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_takes_no_value_that_is_not_finite(value):
    for field in ("raw", "normalised"):
        with pytest.raises(ValidationError, match="finite number"):
            Score(**{"metric_id": "a.b", "impl_id": "b@1", "raw": 0.5, "fidelity": "classical", field: value})


class Broken(MeanColour):
    """A backbone whose features of three frames are not finite."""

    def features(self, batch: Any) -> Any:
        found = super().features(batch)
        found[batch[:, 0, 0, 0].numpy() == 7] = math.nan
        return found


def test_what_is_not_finite_is_counted_and_told_instead_of_a_value():
    frames = [np.full((4, 4, 3), 7 if number in (3, 50, 51) else 90, np.uint8) for number in range(120)]
    scores = measure(["text_alignment", "clip_consistency"], frames, shot(backbones={"clip": Broken()}))
    assert [score.reason for score in scores] == ["not finite: 3 of 120 frames", "not finite: 5 of 119 values"]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 4), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, math.nan, math.inf, -3.0, 24.0])
)
def test_every_clip_gives_each_dimension_a_finite_value_or_a_reason(count, height, width, fps):
    for score in measure(ALL, noise(count, height, width), shot(fps=fps)):
        assert (score.raw is not None and math.isfinite(score.raw)) or score.reason
        assert Score.model_validate_json(score.model_dump_json()) == score


def test_four_by_four_pixels_have_no_flow_and_say_so():
    flicker, smooth, moves, *learned = measure(OURS, noise(9, 4, 4), shot())
    assert flicker.raw is not None and all(score.raw is not None for score in learned)
    assert "needs at least" in str(smooth.reason) and "needs at least" in str(moves.reason)


def test_a_clip_whose_frames_change_their_size_has_no_value_and_says_where():
    frames = [*noise(20, 40, 56), *noise(2, 32, 48)]
    for score in measure(OURS, frames, shot()):
        assert score.raw is None
        assert (
            score.reason == "frames change their size at frame 21: 56x40 became 48x32; save the clip again in one size"
        )


@pytest.mark.parametrize("fps", [0.0, math.nan, math.inf, -1.0])
def test_without_a_usable_rate_only_what_needs_time_has_no_value(fps):
    scores = dict(zip(OURS, measure(OURS, noise(9), shot(fps=fps)), strict=True))
    for name in ("flow_dynamics", "clip_consistency", "text_alignment"):
        assert "frames per second" in str(scores.pop(name).reason)
    assert all(score.raw is not None for score in scores.values())


def test_a_model_that_could_not_be_loaded_is_the_reason():
    (score,) = measure(["text_alignment"], noise(2), Shot(prompt="red", missing={"clip": "its weights are damaged"}))
    assert score.reason == "its weights are damaged"


# --- what a score says ---


def test_a_score_says_what_it_was_measured_with():
    (score,) = measure(["text_alignment"], noise(3), shot(source_sha256="a" * 64))
    assert (score.preproc, score.licence, score.range, score.source_sha256) == ("hf.clip", "MIT", (-1, 1), "a" * 64)
    assert score.series is not None
    assert len(score.series.values) == 3
    assert np.mean(score.series.values) == pytest.approx(score.raw)


@pytest.mark.parametrize(
    ("weights", "best", "label", "metric"),
    [
        ("published", "equal", "equal", "vbench.subject_consistency"),
        ("proxy", "equal", "proxy", "vbench.subject_consistency"),
        ("published", "proxy", "proxy", "vbench.subject_consistency"),
        ("toy", "equal", "toy", "toy.subject_consistency"),
    ],
)
def test_a_label_is_no_better_than_the_weights(weights, best, label, metric):
    backbone = MeanColour()
    backbone.fidelity = weights
    measured = Metric("vbench.subject_consistency", "x@1", best, (0, 1)).value(
        0.5, shot(backbones={"clip": backbone}), 3, stream=Stream("clip", "hf.clip")
    )
    assert (measured.fidelity, measured.metric_id) == (label, metric)


def of_all_kinds(backbones: dict[str, Any]) -> list[Clip]:
    """Clips of several lengths, sizes and rates, a still and one without a frame."""
    names = ("text_alignment", "keyframe_alignment", "clip_consistency", "temporal_flickering", "raft_dynamics")
    made = []
    for frames, height, width, fps in ((40, 40, 56, 24.0), (3, 40, 56, 8.0), (1, 30, 30, 8.0), (0, 8, 8, 8.0),
                                       (33, 30, 30, 30.0), (17, 40, 56, 24.0)):  # fmt: skip
        own = noise(frames, height, width)
        made.append(Clip(names, own, shot(fps=fps, frame_count=frames, backbones=backbones)))
    return made


@pytest.mark.parametrize("together", [1, 2, 6])
@pytest.mark.parametrize("block_frames", [3, 16])
def test_clips_measured_side_by_side_have_the_scores_of_each_alone_in_the_order_given(together, block_frames):
    backbones = {"clip": MeanColour(4), "raft": Movement(4)}
    clips = of_all_kinds(backbones)
    alone = [measure(*clip) for clip in clips]
    found = [scores for scores in measure_clips(clips, block_frames, together) if isinstance(scores, list)]
    assert [len(scores) for scores in found] == [5] * len(clips)
    for before, after in zip(alone, found, strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.raw == (None if other.raw is None else pytest.approx(other.raw, abs=1e-6))
            assert one.model_copy(update={"raw": other.raw, "series": other.series}) == other


def test_batches_are_filled_from_several_clips():
    mean = MeanColour(16)
    clips = [Clip(("keyframe_alignment",), noise(20), shot(backbones={"clip": mean})) for _ in range(4)]
    list(measure_clips(clips, together=4))
    assert (mean.calls, mean.seen) == (1, 4)


def test_a_clip_that_breaks_is_its_own_outcome_and_clips_are_read_only_as_needed():
    def broken() -> Any:
        yield from noise(2)
        raise OSError("the disk is gone")

    taken = []

    def clips() -> Any:
        for number, frames in enumerate((noise(9), broken(), noise(5), noise(5), noise(5))):
            taken.append(number)
            yield Clip(("temporal_flickering",), frames, shot())
        yield ValueError("no video")
        yield Clip(("beauty",), noise(2), shot())

    outcomes = measure_clips(clips(), together=2)
    first = next(outcomes)
    assert isinstance(first, list) and first[0].raw is not None
    assert taken == [0, 1, 2]
    rest = list(outcomes)
    assert [type(one).__name__ for one in rest] == ["OSError", "list", "list", "list", "ValueError", "UnknownDimension"]


# --- read ahead of a device ---


def test_frames_are_read_ahead_of_a_device_by_one_block_and_no_further():
    decoded: list[int] = []

    def blocks() -> Any:
        for number in range(4):
            decoded.append(number)
            yield Block(np.zeros((1, 2, 2, 3), np.uint8), (0.0,), number)

    with ThreadPoolExecutor(1) as readers:
        ahead = engine._read_ahead(blocks(), readers)
        seen = []
        for block in ahead:
            readers.submit(lambda: None).result()  # the reader does one thing after the other: it is through now
            seen.append((block.first, list(decoded)))
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, 3])]


class OnACard(MeanColour):
    """A backbone of a device that is not the CPU by its name only."""

    device = "cpu:0"


def test_a_backbone_on_a_device_gives_the_same_scores_and_a_clip_that_breaks_there_its_own_error():
    def broken() -> Any:
        yield from noise(20)
        raise OSError("the disk is gone")

    names = ("text_alignment", "clip_consistency", "temporal_flickering")
    there, here = shot(backbones={"clip": OnACard()}), shot()
    clips = [Clip(names, noise(40), there), Clip(names, broken(), there), Clip(names, noise(3), there)]
    whole, error, short = measure_clips(clips, 4)
    assert isinstance(error, OSError)
    for found, count in ((whole, 40), (short, 3)):
        assert isinstance(found, list)
        assert [score.raw for score in found] == [score.raw for score in measure(names, noise(count), here, 4)]
