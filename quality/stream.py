"""How frames and features reach a dimension: blocks of one pass over a clip, and what it is told beside them.

The clip is decoded once. Every dimension is fed the same blocks, and two that name the same `Stream` share its
features. Nothing here keeps a frame longer than its block.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import count, pairwise
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from quality.asked import NOTHING, Asked, Box, Sound
from quality.score import Medium, Metric, NoValue, Score

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB 0..255."""
FrameBlock: TypeAlias = npt.NDArray[np.uint8]
"""Shape (frames, height, width, 3), RGB 0..255."""
Array: TypeAlias = npt.NDArray[np.float32]
T = TypeVar("T")
Sampling = str
"""Which frames are taken: `every`; `first`; `never`, for a backbone that a dimension calls itself; `8fps` (any number:
VBench's rule, every round(fps/8)-th at a constant rate, else the frame nearest in time); `middle8` (any number: the
middle frames of so many equal parts of the clip, the last one repeated where the clip is shorter); `pieces`: the first
frame of each of VBench-Long's pieces."""
PIECE_SECONDS = 2
ROUNDED = 0.01
"""How much too low a rate may be that is computed from frames' times in milliseconds: 30 became 29.9999, and pieces
had 58 frames; VBench reads 30 in the file's header."""


class Stream(NamedTuple):
    """Features of the frames of a clip: by which model, after which preprocessing, of which frames."""

    backbone: str
    """Its name in the profile's `scorers`: `dino_vitb16`. `clip` is the profile's `scorer`."""
    preprocessing: str
    """A name of `quality.preprocessing`: `vbench.dino224`."""
    sampling: Sampling = "every"


class Features(NamedTuple):
    """What a backbone made of some frames of a block."""

    frames: tuple[int, ...]
    """Number of each item's frame in the clip, from 0; of a window of several frames, of its last one."""
    values: Array
    """Shape (items, ...), as the backbone says."""


@dataclass(frozen=True)
class Block:
    """Consecutive frames of a clip, and the features of those that were sampled."""

    frames: FrameBlock
    times: tuple[float, ...]
    """When each frame is shown, in seconds from the first one; not finite when the rate is not known."""
    first: int
    """Number of the first of these frames in the clip, from 0."""
    features: Mapping[Stream, Features] = field(default_factory=dict)


class Model(Protocol):
    """Whose answers a score rests on. Loaded by `models.scorers`; `quality` only calls it."""

    @property
    def name(self) -> str:
        """Name of the model, as scores give it: `dino-vitb16`."""
        ...

    @property
    def weights_sha256(self) -> str | None:
        """Hash of its weights; None where a server does not say."""
        ...

    @property
    def licence(self) -> str:
        """Licence of the weights, as its description gives it."""
        ...

    @property
    def fidelity(self) -> Literal["published", "proxy", "toy"]:
        """`published`: the weights that the published metric is defined with; `proxy`: others, trained for the same;
        `toy`: weights of a toy world or random ones, whose scores carry another metric's name."""
        ...

    @property
    def dtype(self) -> str:
        """Precision of its weights, as `float32`."""
        ...

    @property
    def device(self) -> str:
        """Torch device that it runs on, as `cpu`."""
        ...


class Backbone(Model, Protocol):
    """A network that turns frames into features."""

    @property
    def window(self) -> int:
        """How many consecutive sampled frames make an item: 1 for a picture encoder, 2 for optical flow. Items overlap
        in all frames but one."""
        ...

    @property
    def batch(self) -> int:
        """How many items it takes at once."""
        ...

    @property
    def min_side(self) -> int:
        """Least length in pixels of a frame's shorter side, after preprocessing: smaller ones give a reason."""
        ...

    def features(self, batch: Any) -> Array:
        """Features of `batch`, one row an item.

        With a window of 1, `batch` is what the stream's preprocessing made of uint8 frames (frames, 3, height, width)
        on this device: mostly a float tensor (frames, 3, h, w). With a longer window it is a tensor
        (items, window, 3, h, w).
        """
        ...


class TextEncoder(Model, Protocol):
    """A model that places texts by what they speak of. Its vectors are of length 1."""

    def text(self, text: str) -> tuple[Array, bool]:
        """Vector of a text, shape (width,), and whether the text was cut to what the model reads."""
        ...


class TextBackbone(Backbone, TextEncoder, Protocol):
    """A backbone that places pictures and texts in one space, such as CLIP. All its vectors are of length 1."""


@dataclass(frozen=True)
class Reference:
    """A picture that the clip was to look like."""

    pixels: Pixels
    role: Literal["product", "character", "style"] = "product"

    @cached_property
    def sha256(self) -> bytes:
        """Hash of its size and pixels."""
        return sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).digest()


@dataclass(frozen=True)
class Shot:
    """A picture, clip or video to be measured: all that is known of it but its frames."""

    decoder: str = "none"
    """What makes its frames."""
    medium: Medium = "clip"
    fps: float = 24.0
    """Frames per second, where `times` are not given."""
    times: tuple[float, ...] | None = None
    """When each frame is shown, in seconds from the first one; None: at a constant `fps`."""
    frame_count: int | None = None
    """How many frames it has, where that is known before they are decoded."""
    prompt: str | None = None
    """What it was to show."""
    references: tuple[Reference, ...] = ()
    start: Pixels | None = None
    """The picture that it was made from, of an image-to-video model."""
    against: Pixels | None = None
    """Another still of the same scene, which it is compared with."""
    asked: Asked = NOTHING
    """What it was to be, beside its prompt."""
    product: Mapping[int, Box] | None = None
    """Where the product is, by frame number; a frame without a box does not show it. None: nobody says."""
    sound: Sound | None = None
    """Its sound track; None: it is silent."""
    voice: Callable[[], Iterable[Array]] | None = None
    """Its sound track as a detector of speech hears it: from the first frame on, in one channel of 16,000 samples a
    second, -1..1, in pieces of any length; none when it is silent. Each call begins anew. May raise NoValue."""
    without_sound: str | None = None
    """Why its sound track could not be read though it has one."""
    source_sha256: str | None = None
    """Hash of the file that it was decoded from."""
    backbones: Mapping[str, Model] = field(default_factory=dict)
    """By name, as `Stream.backbone`. A dimension may call one itself for texts, references and whole clips."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a backbone is not among them though it was asked for, by its name."""
    shared: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    """What `once` keeps; the engine gives each pass over the clip its own."""

    def once(self, key: object, compute: Callable[[], T]) -> T:
        """What `compute` gives, computed once in a pass for all dimensions that ask with this key."""
        if key not in self.shared:
            self.shared[key] = compute()
        found: T = self.shared[key]
        return found

    def time(self, number: int) -> float:
        """When frame `number` is shown, in seconds from the first one; nan without a usable rate."""
        if self.times is not None and number < len(self.times):
            return self.times[number]
        return number / self.fps if _usable(self.fps) else math.nan

    def rate(self) -> float:
        """Frames per second, in the mean. Raises NoValue when that is no positive number."""
        if self.times is not None and len(self.times) > 1 and self.times[-1] > self.times[0]:
            return (len(self.times) - 1) / (self.times[-1] - self.times[0])
        if not _usable(self.fps):
            raise NoValue(f"the frame rate is {self.fps:g} frames per second: save the clip with a positive rate")
        return self.fps


class Accumulator(Protocol):
    """A dimension at work on one clip. Its class is named in `quality.registry` and is called with a Shot.

    The constructor, `feed` and `score` may raise NoValue with the reason for no value.
    """

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]]
    """The streams whose features it finds in its blocks. () for a formula on pixels."""

    def feed(self, block: Block) -> None:
        """Take the next frames. Keeps at most three of them."""
        ...

    def score(self) -> Score:
        """The score of all that was fed; called once, at the end."""
        ...


class Sampler:
    """Picks the frames of a sampling from blocks, in order."""

    def __init__(self, sampling: Sampling, shot: Shot) -> None:
        """Raises NoValue when the shot does not tell what the sampling needs, ValueError for an unknown sampling."""
        self._numbers = _numbers(sampling, shot)
        self._next = next(self._numbers, None)

    def pick(self, block: Block) -> list[int]:
        """Places in the block of the frames to take, ascending; one may be there more than once."""
        places = []
        while self._next is not None and self._next < block.first + len(block.frames):
            places.append(self._next - block.first)
            self._next = next(self._numbers, None)
        return places


def _numbers(sampling: Sampling, shot: Shot) -> Iterator[int]:
    if sampling == "every":
        return count()
    if sampling == "never":
        return iter(())
    if sampling == "first":
        return iter((0,))
    if found := re.fullmatch(r"(\d+)fps", sampling):
        return _at_rate(int(found[1]), shot)
    if found := re.fullmatch(r"middle(\d+)", sampling):
        if shot.frame_count is None:
            raise NoValue("needs the number of frames before they are decoded")
        return iter(middle(int(found[1]), shot.frame_count))
    if sampling == "pieces":
        return (piece.start for piece in pieces_of(shot))
    raise ValueError(f"sampling {sampling!r} is unknown: write every, first, never, 8fps, middle8 or pieces")


def middle(parts: int, frames: int) -> list[int]:
    """VBench's "middle" frames: of `parts` equal parts of a clip of `frames`; the last one repeated when it is shorter.

    With n = min(parts, frames) and edges = int(linspace(0, frames, n + 1)): (edge_i + edge_{i+1} - 1) // 2.
    """
    if frames == 0:
        return []
    edges = np.linspace(0, frames, min(parts, frames) + 1).astype(int)
    found = [int(before + after - 1) // 2 for before, after in pairwise(edges)]
    return found + found[-1:] * (parts - len(found))


def pieces_of(shot: Shot) -> list[range]:
    """The pieces of a shot. Raises NoValue when its number of frames or its rate is not known."""
    if shot.frame_count is None:
        raise NoValue("needs the number of frames before they are decoded")
    return pieces(shot.frame_count, shot.rate())


def pieces(frames: int, rate: float) -> list[range]:
    """VBench-Long's pieces, as frame numbers: of 2 * int(rate) frames, the last one reaching back to be as long."""
    length = max(1, PIECE_SECONDS * int(rate + ROUNDED))
    if frames <= length:
        return [range(frames)]
    starts = [*range(0, frames - length, length), frames - length]
    return [range(start, start + length) for start in starts]


def _at_rate(per_second: int, shot: Shot) -> Iterator[int]:
    rate = shot.rate()
    if shot.times is None or len(shot.times) < 2 or _is_constant(shot.times):
        return count(0, max(1, round(rate / per_second)))
    return _by_time(shot.times, 1 / per_second)


def _by_time(times: Sequence[float], seconds: float) -> Iterator[int]:
    """The first frame, and then always the one that is shown nearest to `seconds` after the one before."""
    number = 0
    while number < len(times):
        yield number
        due = times[number] + seconds
        after = max(number + 1, bisect_left(times, due))
        is_before_nearer = after - 1 > number and (after == len(times) or due - times[after - 1] <= times[after] - due)
        number = after - 1 if is_before_nearer else after


def _is_constant(times: Sequence[float]) -> bool:
    """Whether frames follow each other at one rate, but for what a container's clock rounds off."""
    mean = (times[-1] - times[0]) / max(1, len(times) - 1)
    return all(abs(time - times[0] - number * mean) <= mean / 4 for number, time in enumerate(times))


def _usable(fps: float) -> bool:
    return math.isfinite(fps) and fps > 0
