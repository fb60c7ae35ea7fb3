"""Scores of dimensions that use an encoder: with a value and its provenance, or with the reason for none."""

from __future__ import annotations

from quality.score import Encoder, Score, Shot

NO_ENCODER = "this deployment has no CLIP model: name one as `scorer` in the profile"


def without_value(name: str, impl_id: str, reason: str, shot: Shot) -> Score:
    """The score of dimension `name` that could not be computed, because of `reason`."""
    return Score(metric_id=_metric_id(name, shot.encoder), impl_id=impl_id, reason=reason, decoder=shot.decoder)


def with_value(
    name: str, impl_id: str, raw: float, shot: Shot, encoder: Encoder, frames: int, note: str | None = None
) -> Score:
    """The score of dimension `name`: `raw`, measured on so many `frames` by `encoder`."""
    return Score(
        metric_id=_metric_id(name, encoder),
        impl_id=impl_id,
        fidelity=encoder.fidelity,
        raw=raw,
        note=note,
        frames_used=frames,
        backbone=encoder.name,
        weights_sha256=encoder.weights_sha256,
        decoder=shot.decoder,
        dtype=encoder.dtype,
        device=encoder.device,
    )


def _metric_id(name: str, encoder: Encoder | None) -> str:
    """Weights of a toy world measure a toy: their scores stand under another name."""
    return f"{'toy' if encoder is not None and encoder.fidelity == 'toy' else 'admint'}.{name}"
