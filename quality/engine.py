"""One pass over a clip: its frames are decoded once, embedded once per stream, and fed to every dimension.

Memory does not grow with the length of the clip: a block of frames is all that is held, beside what a dimension keeps;
and the next one, where backbones run on a device of their own and the frames are read while they do.
Several clips can be measured side by side, a block of each at a time: a backbone's batches are then filled from all of
them, which is worth most for sparse samplings (`first`, `2fps`), whose own batches are hardly filled.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from quality.registry import UNAVAILABLE, check_dimension, not_available, of_name
from quality.score import NoValue, Score
from quality.stream import Accumulator, Array, Backbone, Block, Features, Pixels, Sampler, Shot, Stream

BLOCK_FRAMES = 16
"""Frames held at once of a clip: 100 MB in Full HD."""
LARGE_BYTES = 32_000_000
"""Of the blocks at work, from which on freed memory goes back after each network: 16 frames of 1024x650."""
CLIPS_TOGETHER = 4
"""Clips that are measured side by side: a block of each is held."""


class Clip(NamedTuple):
    """What is to be measured of one clip."""

    names: Sequence[str]
    frames: Iterable[Pixels]
    shot: Shot


Item = TypeVar("Item")
Outcome = list[Score] | Exception
"""One score per dimension of a clip, in order; or what its frames or a backbone raised."""


def measure(
    names: Sequence[str], frames: Iterable[Pixels], shot: Shot, block_frames: int = BLOCK_FRAMES
) -> list[Score]:
    """One score per dimension of `names`, in order, of the `frames` of `shot`.

    A dimension that cannot be measured gives a score without a value, and the reason; so does every one when a frame
    has another size than the first. Raises UnknownDimension, and what `frames` raises.
    """
    (outcome,) = measure_clips([Clip(names, frames, shot)], block_frames)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def measure_clips(
    clips: Iterable[Clip | Exception], block_frames: int = BLOCK_FRAMES, together: int = CLIPS_TOGETHER
) -> Iterator[Outcome]:
    """The outcome of every clip, in order, each as soon as those before it are measured; `clips` is read as needed.

    Scores equal those of `measure` but for the last bits of a backbone's batch. An error of one clip is its outcome and
    ends no other; one in place of a clip is handed on. Raises what `clips` itself raises.
    """
    with ThreadPoolExecutor(together, "frames") as readers:
        yield from _measured(enumerate(clips), block_frames, together, readers)


def _measured(
    waiting: Iterator[tuple[int, Clip | Exception]], block_frames: int, together: int, readers: Executor
) -> Iterator[Outcome]:
    running: dict[int, _Pass] = {}
    ended: dict[int, Outcome] = {}
    given = 0
    while True:
        while given in ended:
            yield ended.pop(given)
            given += 1
        while len(running) < together and (following := next(waiting, None)) is not None:
            number, clip = following
            try:
                if isinstance(clip, Exception):
                    raise clip
                running[number] = _Pass(clip, block_frames, readers)
            except Exception as error:
                ended[number] = error
        if not running and not ended:
            return
        _advance(list(running.values()))
        for number, each in list(running.items()):
            if (outcome := each.outcome) is not None:
                ended[number] = outcome
                del running[number]


class _Pass:
    """One clip on its way through."""

    def __init__(self, clip: Clip, block_frames: int, readers: Executor) -> None:
        """Raises UnknownDimension."""
        for name in clip.names:
            check_dimension(name)
        self.shot = replace(clip.shot, shared={})
        self.outcome: Outcome | None = None
        self.streams: dict[Stream, _Taken] = {}
        self._names = clip.names
        self._measured = {
            name: _Measured(of_name(name), self.shot) for name in dict.fromkeys(clip.names) if name not in UNAVAILABLE
        }
        self._blocks = _blocks(clip.frames, self.shot, block_frames)
        if any(clip.shot.backbones[stream.backbone].device != "cpu" for stream in self.wanted()):
            self._blocks = _read_ahead(self._blocks, readers)

    def next_block(self) -> Block | None:
        """The next block; None at the end, which is when there is an outcome."""
        try:
            block = next(self._blocks, None)
        except NoValue as error:
            for each in self._measured.values():
                each.reason = str(error)
            block = None
        except Exception as error:
            self.outcome = error
            return None
        if block is None:
            try:
                self.outcome = [self._score(name) for name in self._names]
            except Exception as error:
                self.outcome = error
        return block

    def _score(self, name: str) -> Score:
        if name in UNAVAILABLE:
            return not_available(name)
        if len(self.streams) > 1:
            return_freed_memory()
        return self._measured[name].score()

    def wanted(self) -> dict[Stream, _Taken]:
        """The streams that a dimension still waits for, but those that the clip cannot have."""
        open_ones = {stream for each in self._measured.values() if each.reason is None for stream in each.needs}
        takes = {stream: self.streams.setdefault(stream, _Taken()) for stream in open_ones}
        return {stream: taken for stream, taken in takes.items() if taken.reason is None and stream.sampling != "never"}

    def feed(self, block: Block, made: dict[Stream, Features]) -> None:
        full = Block(block.frames, block.times, block.first, made)
        reasons = {stream: taken.reason for stream, taken in self.streams.items() if taken.reason is not None}
        try:
            for each in self._measured.values():
                each.feed(full, reasons)
        except Exception as error:
            self.outcome = error


@dataclass
class _Taken:
    """What one clip has given to one stream so far."""

    sampler: Sampler | None = None
    frames: Any = None
    """With a window: the last preprocessed frames, for the windows that reach into the next block."""
    numbers: list[int] = field(default_factory=list)
    """The numbers of those frames."""
    reason: str | None = None
    """Why the clip cannot have this stream."""


class _Share(NamedTuple):
    """The part of a block that a stream takes from one clip."""

    of: _Pass
    taken: _Taken
    block: Block
    places: list[int]


def _advance(passes: Sequence[_Pass]) -> None:
    """Take the next block of each clip, have the backbones make their features together, feed all dimensions."""
    blocks = [(each, block) for each in passes if (block := each.next_block()) is not None]
    pixels = _Pixels()
    made: dict[int, dict[Stream, Features]] = {id(each): {} for each, _ in blocks}
    shares = _shares(blocks)
    several = len({model for _, model, _ in shares}) > 1
    large = several and sum(block.frames.nbytes for _, block in blocks) > LARGE_BYTES
    for (stream, _, _), own in shares.items():
        _make(stream, own, pixels, made)
        if large:
            return_freed_memory()
    for each, block in blocks:
        if each.outcome is None:
            each.feed(block, made[id(each)])


def _make(stream: Stream, own: Sequence[_Share], pixels: _Pixels, made: dict[int, dict[Stream, Features]]) -> None:
    """Put the stream's features of each share into `made`, or why there are none into what they are of."""
    backbone = cast(Backbone, own[0].of.shot.backbones[stream.backbone])
    try:
        found = (_windows if backbone.window > 1 else _pictures)(stream, backbone, own, pixels)
    except NoValue as error:
        for share in own:
            share.taken.reason = str(error)
    except Exception as error:
        for share in own:
            share.of.outcome = error
    else:
        for share, features in zip(own, found, strict=True):
            made[id(share.of)][stream] = features


def _shares(blocks: Iterable[tuple[_Pass, Block]]) -> dict[tuple[Stream, int, tuple[int, ...]], list[_Share]]:
    """What each stream takes, by what can be one batch: frames of one size, for the same model."""
    shares: dict[tuple[Stream, int, tuple[int, ...]], list[_Share]] = {}
    for each, block in blocks:
        for stream, taken in each.wanted().items():
            try:
                taken.sampler = taken.sampler or Sampler(stream.sampling, each.shot)
            except NoValue as error:
                taken.reason = str(error)
                continue
            key = (stream, id(each.shot.backbones[stream.backbone]), block.frames.shape[1:])
            shares.setdefault(key, []).append(_Share(each, taken, block, taken.sampler.pick(block)))
    return shares


def return_freed_memory() -> None:
    """Give memory that is free back to the system, where the C library is GNU's.

    It keeps what a network has freed, in sizes that the next one, or a score made at the end (DOVER's is a pass of its
    own), has no use for: of 20 dimensions in one pass over 60 frames in Full HD 116 MB. A call takes a millisecond, and
    the next network has its memory anew, for which small frames are too quick (13 CPU seconds for 11, tiny networks at
    480p).
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; Windows, which has no handle of the program
        return None
    return found


class _Pixels:
    """The frames of the blocks as tensors, on each device that asks for them: every block goes there once."""

    def __init__(self) -> None:
        self._on: dict[tuple[int, str], Any] = {}

    def of(self, share: _Share, device: str) -> Iterator[Any]:
        """The frames of a share, each (height, width, 3), uint8; a view of the block itself on the CPU."""
        import torch

        key = (id(share.block), device)
        if share.places and key not in self._on:
            self._on[key] = torch.from_numpy(share.block.frames).to(device)
        return (self._on[key][place] for place in share.places)


def _pictures(stream: Stream, backbone: Backbone, shares: Sequence[_Share], pixels: _Pixels) -> list[Features]:
    """Features of the frames of all shares, one batch after the other, given back by share."""
    picked = chain.from_iterable(pixels.of(share, backbone.device) for share in shares)
    rows = [backbone.features(_preprocessed(stream, backbone, batch)) for batch in _batches(picked, backbone.batch)]
    return _by_share(rows, [[share.block.first + place for place in share.places] for share in shares])


def _windows(stream: Stream, backbone: Backbone, shares: Sequence[_Share], pixels: _Pixels) -> list[Features]:
    """The same of windows of several frames, which reach from one block into the next."""
    import torch

    keep = backbone.window - 1
    numbers: list[list[int]] = []

    def windows() -> Iterator[Any]:
        """Of one share after the other, so that the preprocessed frames of one are held at a time."""
        for share in shares:
            taken, own = share.taken, [share.block.first + place for place in share.places]
            numbers.append([])
            if not own:
                continue
            frames = _preprocessed(stream, backbone, list(pixels.of(share, backbone.device)))
            if taken.frames is not None:
                frames, own = torch.cat([taken.frames, frames]), taken.numbers + own
            taken.frames, taken.numbers = frames[-keep:].clone(), own[-keep:]
            numbers[-1] = own[keep:]
            yield from (frames[at : at + backbone.window] for at in range(len(own) - keep))

    rows = [backbone.features(torch.stack(batch)) for batch in _batches(windows(), backbone.batch)]
    return _by_share(rows, numbers)


def _by_share(rows: Sequence[Array], numbers: Sequence[Sequence[int]]) -> list[Features]:
    """The rows of all batches as features of each share, whose frames have these numbers."""
    values = np.concatenate(rows) if rows else np.zeros((0,), np.float32)
    shared, start = [], 0
    for own in numbers:
        shared.append(Features(tuple(own), values[start : start + len(own)]))
        start += len(own)
    return shared


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _preprocessed(stream: Stream, backbone: Backbone, frames: Sequence[Any]) -> Any:
    import torch

    from quality.preprocessing import preprocess

    ready = preprocess(stream.preprocessing, torch.stack(list(frames)).permute(0, 3, 1, 2))
    if isinstance(ready, torch.Tensor) and min(ready.shape[-2:]) < backbone.min_side:
        raise NoValue(f"{stream.backbone} needs frames of at least {backbone.min_side} pixels on their shorter side")
    return ready


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


def _blocks(frames: Iterable[Pixels], shot: Shot, block_frames: int) -> Iterator[Block]:
    """The frames in blocks, the last one shorter. Raises NoValue when a frame has another size than the first."""
    source = iter(frames)
    first = 0
    size: tuple[int, ...] | None = None
    for head in source:
        size = size or head.shape
        held = np.empty((block_frames, *size), head.dtype)  # filled as frames come, so that they are held once
        count = 0
        for frame in chain((head,), source):
            if frame.shape != size:
                raise NoValue(
                    f"frames change their size at frame {first + count + 1}: {_size(size)} became"
                    f" {_size(frame.shape)}; save the clip again in one size"
                )
            held[count] = frame
            count += 1
            if count == block_frames:
                break
        yield Block(held[:count], tuple(shot.time(first + place) for place in range(count)), first)
        del held  # before the next one is there
        first += count


def _read_ahead(blocks: Iterator[Block], readers: Executor) -> Iterator[Block]:
    """The same blocks, each read by one of `readers` while the one before is at work."""
    following: Future[Block | None] = readers.submit(next, blocks, None)
    while (block := following.result()) is not None:
        following = readers.submit(next, blocks, None)
        yield block


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
