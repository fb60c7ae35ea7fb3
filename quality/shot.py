"""Shot: what is scored. One clip, video or picture, what it should show, and the encoder if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from quality.encoder import Encoder, Pixels, Vectors


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
