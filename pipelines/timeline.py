"""The edit in frames: which delivery frames each clip must supply, and how neighbours blend.

Pure arithmetic on frame counts and arrays. The slots come from the brief and the framework, so the total is exactly
duration * fps whatever the transitions are.

A crossfade of n frames overlaps truly: around the boundary of two slots, clip k runs n - n//2 frames past it and clip
k+1 starts n//2 frames before it, so both move while they blend. A fade dips to black inside the slots, no overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from models.interfaces import Frames, Pixels, Plain
from models.spec import VideoModelSpec
from pipelines.recipe import Transition, Transitions


class Segment(Plain):
    """One scene on the delivery timeline. All numbers are delivery frames."""

    frames: int
    """The slot: these add up to the video."""
    head: int = 0
    """Frames that the clip starts before its slot, blending in over the scene before."""
    tail: int = 0
    """Frames that the clip runs past its slot, while the next scene blends in."""
    fade_in: int = 0
    """First frames of the slot that rise from black."""
    fade_out: int = 0
    """Last frames of the slot that fall to black."""

    @property
    def clip_frames(self) -> int:
        """Delivery frames that the clip must supply: slot and overlap handles."""
        return self.head + self.frames + self.tail


class Timeline(Plain):
    fps: int
    segments: tuple[Segment, ...]

    @property
    def frames(self) -> int:
        return sum(segment.frames for segment in self.segments)


class Layer(Plain):
    """One frame of one clip as it enters a delivery frame."""

    segment: int
    """Index into the segments."""
    frame: int
    """Index into the delivery frames of that clip, 0 .. clip_frames - 1."""
    weight: float
    """Share of the picture; the weights of a delivery frame add up to 1, or to less in a dip to black."""


@dataclass(frozen=True)
class NativeLength:
    """How many frames to ask of a video model."""

    num_frames: int
    retimed: bool
    """The model cannot make enough frames: the clip plays slower than it was made."""


def choose_transition(score: float | None, transitions: Transitions) -> Transition:
    """The transition for a cohesor's transition score (0..100), or for none."""
    if score is None:
        return transitions.unscored
    if score >= transitions.crossfade_at:
        return "crossfade"
    return "cut" if score >= transitions.cut_at else "fade"


def plan_timeline(
    slots: tuple[int, ...], transitions: tuple[Transition, ...], settings: Transitions, fps: int
) -> Timeline:
    """Lay `slots` (frames per scene) out with one transition between neighbours.

    A transition takes at most half of each slot that it touches, so a short slot shortens it, down to a cut. Raises
    ValueError when the counts do not fit together or a slot is empty.
    """
    if len(transitions) != max(len(slots) - 1, 0) or any(slot < 1 for slot in slots):
        raise ValueError(f"slots {slots!r} and transitions {transitions!r} do not make a timeline")
    crossfade = round(settings.crossfade_seconds * fps)
    dip = round(settings.fade_seconds * fps / 2)
    parts = [{"frames": slot} for slot in slots]
    for index, transition in enumerate(transitions):
        left, right = parts[index], parts[index + 1]
        room = min(slots[index], slots[index + 1]) // 2
        if transition == "crossfade":
            length = min(crossfade, 2 * room)
            left["tail"], right["head"] = length - length // 2, length // 2
        elif transition == "fade":
            left["fade_out"] = right["fade_in"] = min(dip, room)
    return Timeline(fps=fps, segments=tuple(Segment(**part) for part in parts))


def blend_plan(timeline: Timeline) -> Iterator[tuple[Layer, ...]]:
    """The layers of every delivery frame, in order: one layer, or two within a crossfade.

    Crossfade weights rise linearly and never reach 0 or 1, so that every overlap frame shows both scenes. A dip holds
    exactly two black frames, one on each side of the boundary.
    """
    for index, segment in enumerate(timeline.segments):
        before = timeline.segments[index - 1] if index else None
        after = timeline.segments[index + 1] if index + 1 < len(timeline.segments) else None
        for position in range(segment.frames):
            own = Layer(segment=index, frame=segment.head + position, weight=_brightness(segment, position))
            if before is not None and position < before.tail:
                share = (segment.head + position + 1) / (segment.head + before.tail + 1)
                frame = before.head + before.frames + position
                yield (
                    Layer(segment=index - 1, frame=frame, weight=1 - share),
                    own.model_copy(update={"weight": share}),
                )
            elif after is not None and position >= segment.frames - after.head:
                rise = position - (segment.frames - after.head)
                share = (rise + 1) / (after.head + segment.tail + 1)
                yield (
                    own.model_copy(update={"weight": 1 - share}),
                    Layer(segment=index + 1, frame=rise, weight=share),
                )
            else:
                yield (own,)


def _brightness(segment: Segment, position: int) -> float:
    rising = position / segment.fade_in if position < segment.fade_in else 1.0
    left = segment.frames - 1 - position
    falling = left / segment.fade_out if left < segment.fade_out else 1.0
    return min(rising, falling)


def native_frames(delivery_frames: int, fps: int, video_model: VideoModelSpec) -> NativeLength:
    """Frames to ask of `video_model` so that its clip covers `delivery_frames` at `fps`.

    Counts are `frame_multiple * k + 1` when the model has a multiple above 1, never above `max_frames`. Rounding up to
    the multiple makes the clip play faster than made by less than `frame_multiple` native frames over its length.
    """
    step = video_model.frame_multiple
    needed = ceil((delivery_frames - 1) * video_model.native_fps / fps) + 1
    allowed = ceil((needed - 1) / step) * step + 1
    longest = (video_model.max_frames - 1) // step * step + 1
    return NativeLength(num_frames=min(allowed, longest), retimed=needed > longest)


def resample(frames: Frames, count: int) -> Frames:
    """`frames` re-timed to `count` frames; the first and the last stay where they are."""
    return np.stack([resampled_frame(frames, count, index) for index in range(count)])


def resampled_frame(frames: Frames, count: int, index: int) -> Pixels:
    """Frame `index` of `frames` re-timed to `count` frames.

    With fewer frames than asked for, the two neighbours in time are blended linearly: looked at on 8 frames a second
    brought to 24, a paused frame of a fast pan shows a double edge, but the motion runs evenly, where the nearest frame
    stands still twice and then jumps three times as far (mean change of 0, 0, 10 instead of 3.5, 3.5, 3.4), and worse
    in slow motion. With enough frames the nearest one is taken: never half a frame off, and sharp.
    """
    steps = max(count - 1, 1)
    first, remainder = divmod(index * (len(frames) - 1), steps)
    if len(frames) >= count or remainder == 0:
        nearest: Pixels = frames[first + (2 * remainder >= steps)]
        return nearest
    share = remainder / steps
    return blend(((frames[first], 1 - share), (frames[first + 1], share)))


def blend(layers: tuple[tuple[Pixels, float], ...]) -> Pixels:
    """Weighted sum of pictures of one size, rounded."""
    if len(layers) == 1 and layers[0][1] == 1.0:
        return layers[0][0]
    total = sum(pixels.astype(np.float32) * np.float32(weight) for pixels, weight in layers)
    return np.asarray(np.rint(total).clip(0, 255), dtype=np.uint8)
