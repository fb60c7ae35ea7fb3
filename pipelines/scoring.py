"""A scoring call as plain data, and how it is carried out: file in, a score per dimension out.

What every scorer shares, in this process or in a replica.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from models.errors import InferenceFailed
from models.interfaces import EncodedImage, Pixels, Plain, Reference, Samples, Watcher
from pipelines.media import DECODER, clip_rate, clip_sound, clip_voice, decode_image, stream_clip
from pipelines.uploaded_videos import uploaded_frames, uploaded_sound, uploaded_voice
from quality.asked import NOTHING, Asked, Sound
from quality.engine import Clip, measure_clips
from quality.protocols import AskedProtocol, measure_in_pieces, protocol_of
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension, of_name
from quality.score import NoValue, Score
from quality.stream import Model, Shot
from quality.stream import Reference as ShownReference
from quality.summaries import dimension

STORY = tuple(name for name, each in DIMENSIONS.items() if "scenes" in each.media)
"""What is measured of all scenes of an ad together."""
PICTURES = 3
"""Frames of a clip that are compared with those of other scenes: its first, its middle, its last one."""


class SceneFile(Plain):
    """One scene of an ad, to be compared with the others."""

    scene_number: int
    data: bytes
    media: Literal["image", "video"] = "video"
    """As `ScoreRequest.media`: its still or its clip."""
    times: tuple[float, ...] | None = None
    """As `ScoreRequest.times`, of a video of a stranger."""
    alignment: float | None = None
    """How well it shows what was asked for, as `alignments` finds it; None: nobody judged it."""
    continues: bool = False
    """Whether it goes on from the last frame of the scene before."""
    text: str = ""
    """What it tells, in words."""


class AdTogether(Plain):
    """The scenes of an ad, to be compared with one another."""

    scenes: tuple[SceneFile, ...]
    minimum: float | None = None
    """The least alignment of a scene that shows what was asked for; None: nobody knows it for this scorer."""
    brief: str = ""
    story: str = ""


class ScoreRequest(Plain):
    """One file, or an ad's scenes together, and what to measure of it."""

    data: bytes = b""
    """The file; empty where `ad` is given."""
    media: Literal["image", "video"] = "video"
    """An MP4, or a PNG, JPEG or WebP picture."""
    ad: AdTogether | None = None
    """Files that are compared with one another, in dimensions of the medium `scenes`."""
    times: tuple[float, ...] | None = None
    """Of a video of a stranger: when each frame is shown, in seconds, as `check_video` found. None: a file of our own,
    at a constant rate."""
    dimensions: tuple[str, ...]
    prompt: str | None = None
    """What it was asked to show."""
    asked: Asked = NOTHING
    """What else it was asked to be."""
    references: tuple[Reference, ...] = ()
    """Pictures that it was to look like: bytes that this project wrote, as `pipelines.uploads` leaves them."""
    start: EncodedImage | None = None
    """The picture that a clip was made from: bytes that this project wrote."""
    against: EncodedImage | None = None
    """Another still of the same scene, which this one is compared with: bytes that this project wrote."""
    protocol: AskedProtocol = "custom"
    """How the clip is cut, where a dimension leaves the choice."""
    series: bool = False
    """Whether scores say what each is the mean of, frame by frame."""


LEAST_ALIGNMENT: Mapping[str, float] = {"sketch-clip": 0.7}
"""By scorer: the least alignment of a picture that shows what was asked for. The 5th percentile of 150 rendered scenes
with their own captions; 5 % of those with a caption that names another shape reach it too."""
LEAST_SEEN = 0.5
"""Of `asks.object`: the share of the things asked for that must beat their decoys."""


class Alignments(NamedTuple):
    """How well each scene shows what was asked for, by its number; and what is enough of it."""

    values: Mapping[int, float]
    minimum: float | None
    """None: nobody knows it for the scorer of these values."""


def alignments(
    scores: Iterable[Score], filmed: bool, minimums: Mapping[str, float | Mapping[str, float]]
) -> Alignments:
    """The alignment of the scenes by their own scores: what a vision model saw, else the CLIP's cosine of the clip (of
    the still where nothing is `filmed`) to its prompt.

    Enough is the larger of what is known for the scorer and of `minimums` (by dimension, each one number or by the name
    of the model that measures): a gate that lets more pass, because a retake costs, makes no scene show more.
    """
    own = [score for score in scores if score.scene_number is not None and score.raw is not None]
    for name in ("asks.object", "text_alignment" if filmed else "keyframe_alignment"):
        found = [score for score in own if dimension(score) == name]
        if found:
            model = found[0].backbone or ""
            known = LEAST_SEEN if name == "asks.object" else LEAST_ALIGNMENT.get(model)
            asked = minimums.get(name)
            asked = asked.get(model) if isinstance(asked, Mapping) else asked
            values = {score.scene_number or 0: score.raw or 0.0 for score in found}
            return Alignments(values, max((least for least in (known, asked) if least is not None), default=None))
    return Alignments({}, None)


def story_scores(
    measured: Callable[[ScoreRequest], tuple[Score, ...]],
    scenes: Sequence[SceneFile],
    prompts: Mapping[int, str],
    references: tuple[Reference, ...] = (),
    dimensions: tuple[str, ...] = STORY,
    brief: str = "",
    story: str = "",
) -> tuple[Score, ...]:
    """Every scene's alignment to its prompt (by scene number), where it has one, and then the scenes of an ad against
    one another: `dimensions` of the medium `scenes`, in order.

    `measured` carries a request out, as `pipelines.runtime.lanes.Scorers.measured` does. All scenes are stills, or all
    are clips. Raises what `measured` raises.
    """
    filmed = all(scene.media == "video" for scene in scenes)
    found: list[Score] = []
    for scene in scenes:
        if (prompt := prompts.get(scene.scene_number)) is not None:
            name = "text_alignment" if filmed else "keyframe_alignment"
            asked = ScoreRequest(
                data=scene.data, media=scene.media, times=scene.times, dimensions=(name,), prompt=prompt
            )
            found += [one.model_copy(update={"scene_number": scene.scene_number}) for one in measured(asked)]
    shown = alignments(found, filmed, {})
    judged = tuple(
        scene.model_copy(update={"alignment": shown.values.get(scene.scene_number, scene.alignment)})
        for scene in scenes
    )
    ad = AdTogether(scenes=judged, minimum=shown.minimum, brief=brief, story=story)
    return (*found, *measured(ScoreRequest(ad=ad, dimensions=dimensions, references=references)))


def backbones_of(dimensions: Iterable[str]) -> tuple[str, ...]:
    """Names of the backbones that the dimensions need, in the order of first need. Raises UnknownDimension."""
    needed: dict[str, None] = {}
    for name in dimensions:
        check_dimension(name)
        if name not in UNAVAILABLE:
            needed |= {stream.backbone: None for stream in of_name(name).NEEDS}
    return tuple(needed)


def score_file(
    request: ScoreRequest, backbones: Mapping[str, Model], watcher: Watcher, missing: Mapping[str, str] | None = None
) -> tuple[Score, ...]:
    """One score per dimension, in order; the file is decoded once, and once more for what is measured in pieces.
    `watcher` hears of every frame.

    `missing` says why a backbone is not among `backbones`. Raises UnknownDimension, Cancelled from `watcher`,
    InferenceFailed when the file cannot be decoded.
    """
    if request.ad is not None:
        return _score_ad(request, request.ad, backbones, watcher, missing or {})
    (outcome,) = score_files([request], backbones, watcher, missing)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def score_files(
    requests: Iterable[ScoreRequest | Exception],
    backbones: Mapping[str, Model],
    watcher: Watcher,
    missing: Mapping[str, str] | None = None,
) -> Iterator[tuple[Score, ...] | Exception]:
    """As `score_file` of many: what each one gives or raises, in order, the backbones' batches filled from several.

    `requests` is read as needed, a few ahead; an error in place of a request is handed on. Scores equal those of single
    files within 1e-6.
    """
    ahead: deque[_Work | None] = deque()

    def clips() -> Iterator[Clip | Exception]:
        for request in requests:
            try:
                if isinstance(request, Exception):
                    raise request
                ahead.append(work := _work(request, backbones, watcher, missing or {}))
                yield Clip(work.whole, work.frames() if work.whole else (), work.shot)
            except Exception as error:
                ahead.append(None)
                yield error

    for outcome in measure_clips(clips()):
        work = ahead.popleft()
        if work is None or isinstance(outcome, Exception):
            yield outcome if isinstance(outcome, Exception) else ()
            continue
        try:
            yield work.ended(outcome)
        except Exception as error:
            yield error


@dataclass(frozen=True)
class _Work:
    """One file to be measured."""

    request: ScoreRequest
    shot: Shot
    watcher: Watcher
    protocols: Mapping[str, str]

    @property
    def whole(self) -> tuple[str, ...]:
        """The dimensions that see the whole."""
        return tuple(name for name in self.request.dimensions if self.protocols[name] != "long2s")

    def frames(self) -> Iterator[Pixels]:
        total = self.shot.frame_count or 0
        self.watcher.step(0, total)
        for number, frame in enumerate(_frames(self.request), start=1):
            self.watcher.step(number, total)
            yield frame

    def ended(self, scores: Iterable[Score]) -> tuple[Score, ...]:
        """All scores in the order asked for, with those that are measured in pieces."""
        found = dict(zip(self.whole, scores, strict=True))
        if cut := [name for name, protocol in self.protocols.items() if protocol == "long2s"]:
            found |= zip(cut, measure_in_pieces(cut, self.frames(), self.shot), strict=True)
        made = []
        for name in self.request.dimensions:
            update: dict[str, object] = {} if self.request.series else {"series": None}
            if self.protocols[name] == "standard":
                update |= {"protocol": "standard"}
            made.append(found[name].model_copy(update=update) if update else found[name])
        return tuple(made)


def _work(request: ScoreRequest, backbones: Mapping[str, Model], watcher: Watcher, missing: Mapping[str, str]) -> _Work:
    """Raises UnknownDimension, InferenceFailed."""
    if request.ad is not None:
        raise ValueError("the scenes of an ad are compared by score_file, one ad at a time")
    for name in request.dimensions:
        check_dimension(name)
    is_image = request.media == "image"
    fps, count = 24.0, 1 if is_image else None
    if not is_image and request.times is None:  # the header of a stranger's file is not read in this process
        fps, count = clip_rate(request.data)
    sound, why = _sound(request)
    shot = Shot(
        decoder=DECODER,
        medium="keyframe" if is_image else "clip",
        fps=fps,
        times=request.times,
        frame_count=count if request.times is None else len(request.times),
        prompt=request.prompt,
        references=tuple(ShownReference(decode_image(one.image.data), one.role) for one in request.references),
        start=None if request.start is None else decode_image(request.start.data),
        against=None if request.against is None else decode_image(request.against.data),
        asked=request.asked,
        sound=sound,
        voice=None if is_image else partial(_voice, request),
        without_sound=why,
        source_sha256=hashlib.sha256(request.data).hexdigest(),
        backbones=backbones,
        missing=missing,
    )
    seconds = 0.0 if is_image else _seconds(shot)
    protocols = {name: protocol_of(name, request.protocol, seconds) for name in request.dimensions}
    return _Work(request, shot, watcher, protocols)


def _seconds(shot: Shot) -> float:
    """Length of a clip, its last frame included; 0 when that is not known."""
    try:
        return (shot.frame_count or 0) / shot.rate()
    except NoValue:
        return 0.0


def _score_ad(
    request: ScoreRequest, ad: AdTogether, backbones: Mapping[str, Model], watcher: Watcher, missing: Mapping[str, str]
) -> tuple[Score, ...]:
    from quality.cross_scene import Ad, AdScene, measure_ad  # with what it needs, where scenes are compared

    scenes = []
    for number, scene in enumerate(ad.scenes):
        watcher.step(number, len(ad.scenes))
        pictures = (decode_image(scene.data),) if scene.media == "image" else _spread(scene)
        scenes.append(AdScene(scene.scene_number, pictures, scene.alignment, scene.continues, scene.text))
    references = tuple(ShownReference(decode_image(one.image.data), one.role) for one in request.references)
    shot = Shot(decoder=DECODER, medium="scenes", references=references, backbones=backbones, missing=missing)
    return tuple(measure_ad(request.dimensions, Ad(tuple(scenes), shot, ad.minimum, ad.brief, ad.story)))


def _spread(scene: SceneFile) -> tuple[Pixels, ...]:
    """PICTURES frames of a clip, evenly from the first to the last one."""
    if scene.times is None:
        count = clip_rate(scene.data)[1] or sum(1 for _ in stream_clip(scene.data))
        frames = stream_clip(scene.data)
    else:
        count, frames = len(scene.times), iter(uploaded_frames(scene.data))
    wanted = {round(place * (count - 1) / (PICTURES - 1)) for place in range(PICTURES)}
    return tuple(frame.copy() for number, frame in enumerate(frames) if number in wanted)


def _sound(request: ScoreRequest) -> tuple[Sound | None, str | None]:
    """The sound track, where a dimension hears it; or why it could not be read."""
    if request.media == "image" or "ad.loudness" not in request.dimensions:
        return None, None
    try:
        audio = clip_sound(request.data) if request.times is None else uploaded_sound(request.data)
    except InferenceFailed as error:
        return None, str(error)
    return (None if audio is None else Sound(audio.samples.T, audio.sample_rate)), None


def _voice(request: ScoreRequest) -> Iterator[Samples]:
    """The sound track as a detector of speech hears it. Raises NoValue where it cannot be read."""
    try:
        yield from clip_voice(request.data) if request.times is None else uploaded_voice(request.data)
    except InferenceFailed as error:
        raise NoValue(str(error)) from error


def _frames(request: ScoreRequest) -> Iterable[Pixels]:
    if request.media == "image":
        return [decode_image(request.data)]
    if request.times is None:
        return stream_clip(request.data)
    return uploaded_frames(request.data)
