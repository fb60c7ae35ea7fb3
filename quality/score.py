"""Score: one measured dimension of one clip or video, with everything that must agree before two may be compared.

Plain data. A score that could not be computed has no value and a reason; there is no third case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Literal
from typing import Protocol as Protocol_encoder

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator


class QualityError(Exception):
    """Base of everything `quality` raises on purpose."""


class UnknownDimension(QualityError):
    """No dimension of this name is registered. The message lists those that are."""


Fidelity = Literal["vbench_equal", "vbench_like", "proxy", "classical", "toy"]
"""How near to the published metric: bit-equal protocol, same formula, a stand-in, no learned part, toy weights."""
Protocol = Literal["short", "long2s", "i2v"]


class Score(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_id: str
    """What is measured: `vbench.temporal_flickering`."""
    impl_id: str
    """Which code measured it, with its version: `temporal_flickering@1`. Different ones are never averaged."""
    scene_number: int | None = None
    """Set by who knows it; None: the whole video."""
    protocol: Protocol = "short"
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
    backbone: str | None = None
    """Learned model behind the value; None for a formula."""
    weights_sha256: str | None = None
    decoder: str | None = None
    dtype: str | None = None
    device: str | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Score:
        if (self.raw is None) == (self.reason is None):
            raise ValueError(f"score {self.metric_id!r} needs either a value or a reason, and not both")
        return self


Pixels = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB 0..255."""
Vectors = npt.NDArray[np.float32]


class Encoder(Protocol_encoder):
    @property
    def name(self) -> str:
        """The backbone, for the score."""
        ...

    @property
    def fidelity(self) -> Literal["proxy", "toy"]:
        """`toy`: weights of a toy world, whose scores carry another metric's name."""
        ...

    @property
    def weights_sha256(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...

    def images(self, frames: Iterable[Pixels]) -> Vectors:
        """Shape (frames, width), each row of length 1."""
        ...

    def text(self, text: str) -> tuple[Vectors, bool]:
        """Shape (width,), of length 1; and whether the text was cut to what the model reads."""
        ...


class Shot:
    """Frames are decoded anew for every dimension, so that none needs all of them in memory; embedded once."""

    def __init__(
        self,
        frames: Callable[[], Iterable[Pixels]],
        decoder: str,
        fps: float = 24.0,
        prompt: str | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """`fps` 1 or more for a picture: it has one frame. `prompt` is what it was asked to show, if that is known."""
        self.frames = frames
        self.decoder = decoder
        self.fps = fps
        self.prompt = prompt
        self.encoder = encoder

    @cached_property
    def vectors(self) -> Vectors:
        """The frames by the encoder. Raises ValueError without one."""
        if self.encoder is None:
            raise ValueError("a shot without an encoder has no vectors")
        return self.encoder.images(self.frames())
