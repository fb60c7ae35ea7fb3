"""What is measured (`Shot`), the model that learned dimensions see it through (`Encoder`), and the result (`Score`).

A score names everything that must agree before two may be compared. One that could not be computed has no value and a
reason; there is no third case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:  # a score is also read where nothing is measured, without numpy
    import numpy as np
    import numpy.typing as npt


class QualityError(Exception):
    """Base of everything `quality` raises on purpose."""


class UnknownDimension(QualityError):
    """No dimension of this name is registered. The message lists those that are."""


Fidelity = Literal["vbench_equal", "vbench_like", "proxy", "classical", "toy"]
"""How near to the published metric: bit-equal protocol, same formula, a stand-in, no learned part, toy weights."""
VBenchProtocol = Literal["short", "long2s", "i2v"]
"""Which of VBench's ways of cutting and averaging a video was followed."""


class Score(BaseModel):
    """One measured dimension of one picture, clip or video."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric_id: str
    """What is measured: `vbench.temporal_flickering`."""
    impl_id: str
    """Which code measured it, with its version: `temporal_flickering@1`. Different ones are never averaged."""
    scene_number: int | None = None
    """The scene that was measured; None: the whole video, or not set yet."""
    protocol: VBenchProtocol = "short"
    """Which of VBench's ways of cutting and averaging a video was followed."""
    fidelity: Fidelity | None = None
    """None when there is no value."""
    raw: float | None = None
    """The value on the metric's own scale."""
    normalised: float | None = None
    """VBench's normalisation of it; only for `vbench_equal`, because the others are on another footing."""
    reason: str | None = None
    """Why there is no value."""
    note: str | None = None
    """What a reader must know to read the value right."""
    frames_used: int = Field(default=0, ge=0)
    """How many frames it was measured on; 0 when there is no value."""
    backbone: str | None = None
    """Learned model behind the value; None for a formula."""
    weights_sha256: str | None = None
    """Hash of the weights of that model."""
    decoder: str | None = None
    """What decoded the frames, with its version."""
    dtype: str | None = None
    """Precision of the model: `float32`."""
    device: str | None = None
    """Device that it ran on: `cpu`."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Score:
        if (self.raw is None) == (self.reason is None):
            raise ValueError(f"score {self.metric_id!r} needs either a value or a reason, and not both")
        return self


Pixels: TypeAlias = "npt.NDArray[np.uint8]"
"""Shape (height, width, 3), RGB 0..255."""
Vectors: TypeAlias = "npt.NDArray[np.float32]"
"""Shape (items, width) or (width,), of length 1 each."""


class Encoder(Protocol):
    """A model that places pictures and texts in one space, such as CLIP."""

    @property
    def name(self) -> str:
        """Name of the backbone, as scores give it."""
        ...

    @property
    def fidelity(self) -> Literal["proxy", "toy"]:
        """`toy` for weights of a toy world, whose scores carry another metric's name."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Hash of its weights file."""
        ...

    @property
    def dtype(self) -> str:
        """Precision of its weights, as `float32`."""
        ...

    @property
    def device(self) -> str:
        """Device that it runs on, as `cpu`."""
        ...

    def images(self, frames: Iterable[Pixels]) -> Vectors:
        """Vectors of the frames, shape (frames, width), each row of length 1."""
        ...

    def text(self, text: str) -> tuple[Vectors, bool]:
        """Vector of a text, shape (width,), of length 1; and whether the text was cut to what the model reads."""
        ...


class Shot:
    """A picture, clip or video to be measured.

    Its frames are decoded anew for every dimension, so that none needs all of them in memory; they are embedded once.
    """

    def __init__(
        self,
        frames: Callable[[], Iterable[Pixels]],
        decoder: str,
        fps: float = 24.0,
        prompt: str | None = None,
        encoder: Encoder | None = None,
        times: Sequence[float] | None = None,
    ) -> None:
        """`frames` decodes them from the first on; `decoder` names what did it. A picture is one frame at any `fps`.

        `prompt` is what was to be shown, if that is known; without an `encoder` learned dimensions have no value.
        `times` says when each frame is shown, in seconds; None: at a constant `fps`.
        """
        self.frames = frames
        self.decoder = decoder
        self.fps = fps
        self.prompt = prompt
        self.encoder = encoder
        self._times = times

    def frames_every(self, seconds: float) -> Iterator[Pixels]:
        """The first frame, and then always the one that is shown nearest to `seconds` after the one before."""
        if self._times is None or _is_constant(self._times):
            step = max(1, round(self.fps * seconds))
            return islice(iter(self.frames()), 0, None, step)
        return self._by_time(self._times, seconds)

    def _by_time(self, times: Sequence[float], seconds: float) -> Iterator[Pixels]:
        wanted = 0
        for number, frame in enumerate(self.frames()):
            if number == wanted:
                yield frame
                due = times[number] + seconds
                wanted = min(range(number + 1, len(times)), key=lambda one: abs(times[one] - due), default=-1)

    @cached_property
    def vectors(self) -> Vectors:
        """The frames by the encoder. Raises ValueError without one."""
        if self.encoder is None:
            raise ValueError("a shot without an encoder has no vectors")
        return self.encoder.images(self.frames())


def _is_constant(times: Sequence[float]) -> bool:
    """Whether frames follow each other at one rate, but for what a container's clock rounds off."""
    mean = (times[-1] - times[0]) / max(1, len(times) - 1)
    return all(abs(time - times[0] - number * mean) <= mean / 4 for number, time in enumerate(times))
