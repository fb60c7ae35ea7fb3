"""One pass over a clip: its frames are decoded once, embedded once per stream, and fed to every dimension.

Memory does not grow with the length of the clip: a block of frames is all that is held, beside what a dimension keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np

from quality.registry import UNAVAILABLE, check_dimension, not_available, of_name
from quality.score import NoValue, Score
from quality.stream import Accumulator, Backbone, Block, Features, Pixels, Sampler, Shot, Stream

BLOCK_FRAMES = 16
"""Frames held at once: 57 MB of a clip in Full HD."""


def measure(
    names: Sequence[str], frames: Iterable[Pixels], shot: Shot, block_frames: int = BLOCK_FRAMES
) -> list[Score]:
    """One score per dimension of `names`, in order, of the `frames` of `shot`.

    A dimension that cannot be measured gives a score without a value, and the reason; so does every one when a frame
    has another size than the first. Raises UnknownDimension, and what `frames` raises.
    """
    for name in names:
        check_dimension(name)
    measured = {name: _Measured(of_name(name), shot) for name in dict.fromkeys(names) if name not in UNAVAILABLE}
    streams = _Streams(shot)
    try:
        for block in _blocks(frames, shot, block_frames):
            wanted = {stream for each in measured.values() if each.reason is None for stream in each.needs}
            made, reasons = streams.features(block, wanted)
            full = Block(block.frames, block.times, block.first, made)
            for each in measured.values():
                each.feed(full, reasons)
    except NoValue as error:
        for each in measured.values():
            each.reason = str(error)
    return [not_available(name) if name in UNAVAILABLE else measured[name].score() for name in names]


class _Measured:
    """A dimension at work, or the reason why it no longer is."""

    def __init__(self, dimension: type[Accumulator], shot: Shot) -> None:
        self.needs = dimension.NEEDS
        self.reason: str | None = None
        self._metric = dimension.METRIC
        self._shot = shot
        self._accumulator: Accumulator | None = None
        missing = next((stream.backbone for stream in self.needs if stream.backbone not in shot.backbones), None)
        if missing is not None:
            self.reason = shot.missing.get(missing) or no_backbone(missing)
            return
        try:
            self._accumulator = dimension(shot)  # type: ignore[call-arg]
        except NoValue as error:
            self.reason = str(error)

    def feed(self, block: Block, reasons: dict[Stream, str]) -> None:
        if self.reason is not None or self._accumulator is None:
            return
        self.reason = next((reasons[stream] for stream in self.needs if stream in reasons), None)
        if self.reason is not None:
            return
        try:
            self._accumulator.feed(block)
        except NoValue as error:
            self.reason = str(error)

    def score(self) -> Score:
        if self.reason is None and self._accumulator is not None:
            try:
                return self._accumulator.score()
            except NoValue as error:
                self.reason = str(error)
        return self._metric.none(self.reason or "", self._shot, next(iter(self.needs), None))


def no_backbone(name: str) -> str:
    """Why a dimension has no value where the profile has no model of this name."""
    if name == "clip":
        return "this deployment has no CLIP model: name one as `scorer` in the profile"
    return f"this deployment has no {name!r} model: name one under `scorers` in the profile"


class _Streams:
    """The features of the streams that are asked for, block by block."""

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._samplers: dict[Stream, Sampler] = {}
        self._before: dict[Stream, tuple[Any, list[int]]] = {}
        """Of a stream with a window: the last preprocessed frames, for the windows that reach into the next block."""
        self._reasons: dict[Stream, str] = {}

    def features(self, block: Block, wanted: Iterable[Stream]) -> tuple[dict[Stream, Features], dict[Stream, str]]:
        """What was made of the block by each stream of `wanted`, and why a stream can make nothing."""
        made: dict[Stream, Features] = {}
        for stream in wanted:
            if stream in self._reasons or stream.sampling == "never":
                continue
            try:
                if stream not in self._samplers:
                    self._samplers[stream] = Sampler(stream.sampling, self._shot)
                made[stream] = self._of(stream, block)
            except NoValue as error:
                self._reasons[stream] = str(error)
        return made, self._reasons

    def _of(self, stream: Stream, block: Block) -> Features:
        backbone = cast(Backbone, self._shot.backbones[stream.backbone])
        places = self._samplers[stream].pick(block)
        if backbone.window > 1:
            return self._windows(stream, backbone, block, places)
        rows = [
            backbone.features(_preprocessed(stream, backbone, block, places[start : start + backbone.batch]))
            for start in range(0, len(places), backbone.batch)
        ]
        values = np.concatenate(rows) if rows else np.zeros((0,), np.float32)
        return Features(tuple(block.first + place for place in places), values)

    def _windows(self, stream: Stream, backbone: Backbone, block: Block, places: list[int]) -> Features:
        import torch

        numbers = [block.first + place for place in places]
        if not places:
            return Features((), np.zeros((0,), np.float32))
        frames = _preprocessed(stream, backbone, block, places)
        if stream in self._before:
            earlier, earlier_numbers = self._before[stream]
            frames, numbers = torch.cat([earlier, frames]), earlier_numbers + numbers
        keep = backbone.window - 1
        self._before[stream] = frames[-keep:], numbers[-keep:]
        starts = range(len(numbers) - keep)
        rows = [
            backbone.features(
                torch.stack([frames[at : at + backbone.window] for at in starts[begin : begin + backbone.batch]])
            )
            for begin in range(0, len(starts), backbone.batch)
        ]
        values = np.concatenate(rows) if rows else np.zeros((0,), np.float32)
        return Features(tuple(numbers[keep:]), values)


def _preprocessed(stream: Stream, backbone: Backbone, block: Block, places: Sequence[int]) -> Any:
    import torch

    from quality.preprocessing import preprocess

    chosen = np.ascontiguousarray(block.frames[list(places)].transpose(0, 3, 1, 2))
    ready = preprocess(stream.preprocessing, torch.from_numpy(chosen).to(backbone.device))
    if isinstance(ready, torch.Tensor) and min(ready.shape[-2:]) < backbone.min_side:
        raise NoValue(f"{stream.backbone} needs frames of at least {backbone.min_side} pixels on their shorter side")
    return ready


def _blocks(frames: Iterable[Pixels], shot: Shot, block_frames: int) -> Iterator[Block]:
    """The frames in blocks, the last one shorter. Raises NoValue when a frame has another size than the first."""
    source = iter(frames)
    first = 0
    size: tuple[int, ...] | None = None
    for head in source:
        held: list[Pixels] = []
        for frame in chain((head,), source):
            size = size or frame.shape
            if frame.shape != size:
                raise NoValue(
                    f"frames change their size at frame {first + len(held) + 1}: {_size(size)} became"
                    f" {_size(frame.shape)}; save the clip again in one size"
                )
            held.append(frame)
            if len(held) == block_frames:
                break
        yield Block(np.stack(held), tuple(shot.time(first + place) for place in range(len(held))), first)
        first += len(held)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
