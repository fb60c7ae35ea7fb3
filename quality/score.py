"""Score: one measured dimension of one clip or video, with everything that must agree before two may be compared.

Plain data. A score that could not be computed has no value and a reason; there is no third case.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
