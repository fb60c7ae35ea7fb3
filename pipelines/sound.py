"""The sound of a finished video: the stems of its clips, laid along the timeline as their pictures are.

A stem is what a model made to be heard with one clip, kept as a WAV file beside it. The mix is 48,000 samples a second
in two channels and exactly as long as the pictures. Rules:

- A stem is played faster or slower, at its own pitch, by as much as its clip is (`timeline.resampled_frame`).
- A crossfade is of equal power: stems of two scenes have nothing in common, so shares of their amplitudes that add up
  to one would sink by 3 dB in the middle. A dip to black is a dip to silence, in step with the picture.
- Where a stem begins or ends otherwise, it rises or falls within 5 ms: a cut through a wave is heard as a click.
- A scene without a stem is silent for as long as it is seen; a video without any stem has no sound track.
- A mix that would pass full scale is made quieter as a whole, never clipped.

No stage makes a narration or music, so nothing is mixed in besides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.interfaces import Audio, Samples
from pipelines.timeline import Segment, Timeline

RATE = 48_000
CHANNELS = 2
EDGE = RATE * 5 // 1000
"""Samples in which a stem rises or falls where nothing else is said."""
SLOWEST = 0.5
"""What one tempo filter can do."""


def mixed(timeline: Timeline, stems: Sequence[Audio | None]) -> Audio:
    """The sound of the video: one stem per segment, None for a silent scene."""
    mix = np.zeros((CHANNELS, _samples(timeline, timeline.frames)), np.float32)
    begin = 0
    for index, (segment, stem) in enumerate(zip(timeline.segments, stems, strict=True)):
        if stem is not None:
            first = _samples(timeline, begin - segment.head)
            last = _samples(timeline, begin + segment.frames + segment.tail)
            sound = fitted(stem, last - first) * _envelope(timeline, index, last - first)
            mix[:, first:last] += sound
        begin += segment.frames
    peak = float(np.abs(mix).max(initial=0.0))
    return Audio(mix / peak if peak > 1 else mix, RATE)


def fitted(audio: Audio, length: int) -> Samples:
    """`audio` as `length` samples of the mix, shape (2, length): at another tempo where need be, at its own pitch."""
    import av

    pairs = audio.samples if len(audio.samples) == CHANNELS else np.repeat(audio.samples[:1], CHANNELS, axis=0)
    rate = audio.sample_rate
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="fltp", layout="stereo", time_base=f"1/{rate}")
    tempo = pairs.shape[1] * RATE / (rate * length)
    nodes = [graph.add("atempo", f"{factor:.9f}") for factor in _factors(tempo)]
    ends = graph.add("aresample", str(RATE)), graph.add("aformat", "sample_fmts=fltp"), graph.add("abuffersink")
    graph.link_nodes(source, *nodes, *ends).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pairs), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = rate, 0
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray())
        except (av.EOFError, av.BlockingIOError):
            break
    # The filters end within some hundredths of a second of where they should.
    made = np.concatenate([*pieces, np.zeros((CHANNELS, length), np.float32)], axis=1)
    return np.asarray(made[:, :length], np.float32)


def _factors(tempo: float) -> list[float]:
    """`tempo` as a product of what one filter can do; none where it changes nothing."""
    if abs(tempo - 1) < 1e-6:
        return []
    factors = []
    while tempo < SLOWEST:
        factors.append(SLOWEST)
        tempo /= SLOWEST
    return [*factors, tempo]


def _envelope(timeline: Timeline, index: int, length: int) -> Samples:
    """How loud the stem of a segment is at each of its `length` samples, 0..1."""
    segment = timeline.segments[index]
    before = timeline.segments[index - 1] if index else Segment(frames=1)
    after = timeline.segments[index + 1] if index + 1 < len(timeline.segments) else Segment(frames=1)
    rise = _ramp(timeline, before.tail + segment.head, segment.fade_in, length)
    fall = _ramp(timeline, segment.tail + after.head, segment.fade_out, length)
    return rise * fall[::-1]


def _ramp(timeline: Timeline, crossfade: int, fade: int, length: int) -> Samples:
    """From silence to full, over `crossfade` or `fade` frames, or an edge."""
    frames = crossfade or fade
    count = min(_samples(timeline, frames) if frames else EDGE, length)
    share = (np.arange(count, dtype=np.float32) + 0.5) / max(count, 1)
    ramp = np.ones(length, np.float32)
    ramp[:count] = np.sin(share * np.float32(np.pi / 2)) if crossfade else share
    return ramp


def _samples(timeline: Timeline, frames: int) -> int:
    """Where delivery frame `frames` begins in the mix."""
    return round(frames * RATE / timeline.fps)
