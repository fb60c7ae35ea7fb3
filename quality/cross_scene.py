"""Coherence of an ad across its scenes: is it the same product, the same character, the same look?

A scene counts only if it shows what was asked for: its alignment to its own prompt must reach a minimum, because scenes
that are wrong in the same way are alike too. How many were left out is in every score. A similarity of features tells a
wrong shape and hardly a wrong colour, and follows people's ratings badly (DINO 7.5 Spearman·100 on VideoFeedback): read
the alignment, `product_colour` and `product_keypoints` beside it.

Vectors are DINOv2's (arXiv 2304.07193), whose first token is the picture's and whose others are its patches', or, where
a deployment has none but of a toy world, its CLIP's; what is compared of a product or character is cut out of the frame
(`quality.finder`). Where a scene counts and nothing in it is like the reference, the middle of its frames is compared:
what stands there is mostly another product, and without it an ad would be the better for a wrong one. docs/quality.md
says how often each was right on rendered pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from quality.asked import Box
from quality.dimensions.product_colour import MIDDLE, crop
from quality.engine import measure, no_backbone
from quality.finder import DENSE, Finder, Found, finder_of, patches_of
from quality.preprocessing import embedded
from quality.references import of_references
from quality.registry import DIMENSIONS, check_dimension, of_name
from quality.score import Metric, NoValue, Score
from quality.stream import Accumulator, Array, Block, Pixels, Shot, Stream, TextEncoder

OWN_CLIP = Stream("clip", "hf.clip")
STILL = DENSE._replace(sampling="first")
PRODUCT = Metric("admint.product_similarity", "first_and_reference@2", "proxy", (-1, 1))
CHARACTER = Metric("admint.character_similarity", "first_and_reference@2", "proxy", (-1, 1))
STYLE = Metric("admint.style_similarity", "gram@1", "proxy", (-1, 1))
BOUNDARY = Metric("admint.boundary_similarity", "boundary@1", "proxy", (-1, 1))
GAP_DECAY = Metric("admint.gap_decay", "gap@2", "proxy", (-2, 2))
BRIEF = Metric("admint.brief_similarity", "minilm_brief_story_scenes@1", "proxy", (-1, 1))
SENTENCES = Stream("minilm", "text", "never")
Role = Literal["product", "character"]
ENTITIES: Mapping[str, Metric] = {"product": PRODUCT, "character": CHARACTER}
Floats = npt.NDArray[np.float64]
ONLY_TOGETHER = (
    "compares the scenes of an ad with one another, and this is one file: an ad's own report has it, and"
    " `pipelines.scoring.story_scores` measures it"
)


@dataclass(frozen=True)
class SceneLook:
    """What is compared of one scene."""

    scene_number: int
    alignment: float | None
    """How well the scene shows what was asked for, on the scale of the minimum; None: nobody judged it."""
    pictures: tuple[Pixels, ...]
    """Of the entity: its crops from this scene's frames. Of the style: whole frames."""
    patches: tuple[Array, ...] = ()
    """Of the style: those of its frames (`quality.finder.patches_of`), where they are known already."""
    unlike: bool = False
    """Whether nothing in the scene is like the entity's reference, so that the crops are the middle of its frames."""


@dataclass(frozen=True)
class Boundary:
    """A cut after which the next scene goes on where the last one ended."""

    after_scene: int
    last: Pixels
    first: Pixels
    """Of the next scene."""


def entity_similarity(
    role: str, scenes: Sequence[SceneLook], references: Sequence[Pixels], minimum: float, shot: Shot
) -> Score:
    """`admint.product_similarity` or `admint.character_similarity`: the mean cosine of the first scene that counts to
    each later one, and of every reference to each scene that counts; the worst pair is in the note.

    `role` is a key of ENTITIES. A scene's vector is the mean of its pictures' vectors at length 1. `shot` is the whole
    ad, with the backbone.
    """
    metric = ENTITIES[role]

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        vectors = [_scene_vector(scene, shot) for scene in counted]
        pairs = [(f"scenes {counted[0].scene_number} and {scene.scene_number}", float(vectors[0] @ vector))
                 for scene, vector in zip(counted[1:], vectors[1:], strict=True)]  # fmt: skip
        for number, reference in enumerate(_summaries(references, shot), start=1):
            pairs += [
                (f"reference {number} and scene {scene.scene_number}", float(reference @ vector))
                for scene, vector in zip(counted, vectors, strict=True)
            ]
        return _score(metric, pairs, len(counted), left_out, shot, unlike=[one for one in counted if one.unlike])

    return _or_reason(metric, measured, shot)


def style_similarity(scenes: Sequence[SceneLook], minimum: float, shot: Shot) -> Score:
    """`admint.style_similarity`: the mean cosine of the Gram matrices of all pairs of scenes that count.

    The Gram matrix of a picture is P'P over its patches' unit vectors P, which tells textures and colours and not
    where they are; of a scene it is the mean over its pictures.
    """

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        grams = [_scene_gram(scene, shot) for scene in counted]
        pairs = [
            (f"scenes {one.scene_number} and {other.scene_number}", float((a * b).sum()))
            for (one, a), (other, b) in combinations(zip(counted, grams, strict=True), 2)
        ]
        return _score(STYLE, pairs, len(counted), left_out, shot, DENSE)

    return _or_reason(STYLE, measured, shot, DENSE)


def boundary_similarity(boundaries: Sequence[Boundary], shot: Shot) -> Score:
    """`admint.boundary_similarity`: the mean cosine of the last frame before and the first frame after each cut at
    which the next scene is to go on. Other cuts are wanted changes and do not count."""

    def measured() -> Score:
        pairs = []
        for cut in boundaries:
            before, after = _summaries((cut.last, cut.first), shot)
            pairs.append((f"the cut after scene {cut.after_scene}", float(before @ after)))
        return _score(BOUNDARY, pairs, 2 * len(boundaries), [], shot)

    if not boundaries:
        return BOUNDARY.none("no scene goes on where the one before ended", shot, look_of(shot))
    return _or_reason(BOUNDARY, measured, shot)


def gap_decay(scenes: Sequence[SceneLook], minimum: float, shot: Shot) -> Score:
    """`admint.gap_decay`: by how much the similarity of two scenes changes with each scene between them.

    The slope of the least-squares line through (scenes apart, cosine) over all pairs that count: 0 for an entity that
    stays, below 0 for one that drifts away. Needs pairs of at least two distances. The mean by distance is in the note.
    """

    def measured() -> Score:
        counted, left_out = _counted(scenes, minimum)
        vectors = [_scene_vector(scene, shot) for scene in counted]
        apart: dict[int, list[float]] = {}
        for (one, a), (other, b) in combinations(zip(counted, vectors, strict=True), 2):
            apart.setdefault(abs(other.scene_number - one.scene_number), []).append(float(a @ b))
        if len(apart) < 2:
            raise NoValue(f"needs scenes at two distances that show what was asked for{_told(left_out)}")
        gaps = np.array([gap for gap, values in apart.items() for _ in values], np.float64)
        values = np.array([value for own in apart.values() for value in own], np.float64)
        centred = gaps - gaps.mean()
        slope = float(centred @ values / (centred @ centred))
        curve = ", ".join(f"{np.mean(apart[gap]):.4f} at {gap}" for gap in sorted(apart))
        told = f"{_told(left_out)}{_unlike([scene for scene in counted if scene.unlike])}"
        note = f"mean cosine by scenes apart: {curve}{told}"
        return GAP_DECAY.value(slope, shot, len(counted), stream=look_of(shot), note=note)

    return _or_reason(GAP_DECAY, measured, shot)


# --- what they share ---


def _counted(scenes: Sequence[SceneLook], minimum: float) -> tuple[list[SceneLook], list[int]]:
    """The scenes that show what was asked for, in order, and the numbers of the others. Raises NoValue for none."""
    counted = [
        scene
        for scene in sorted(scenes, key=lambda scene: scene.scene_number)
        if scene.pictures and scene.alignment is not None and scene.alignment >= minimum
    ]
    left_out = sorted({scene.scene_number for scene in scenes} - {scene.scene_number for scene in counted})
    if not counted:
        raise NoValue(f"none of {len(scenes)} scenes was seen to show what was asked for (least alignment {minimum:g})")
    return counted, left_out


def _score(
    metric: Metric,
    pairs: Sequence[tuple[str, float]],
    pictures: int,
    left_out: Sequence[int],
    shot: Shot,
    stream: Stream | None = None,
    unlike: Sequence[SceneLook] = (),
) -> Score:
    """The mean over the pairs. Raises NoValue without a pair."""
    if not pairs:
        raise NoValue(f"needs two scenes that show what was asked for, or a reference{_told(left_out)}")
    named, worst = min(pairs, key=lambda pair: pair[1])
    note = f"worst {worst:.4f}, {named}; {len(pairs)} pairs{_told(left_out)}{_unlike(unlike)}"
    mean = float(np.mean([value for _, value in pairs]))
    return metric.value(mean, shot, pictures, stream=stream or look_of(shot), note=note)


def _told(left_out: Sequence[int]) -> str:
    if not left_out:
        return "; no scene left out"
    numbers = ", ".join(map(str, left_out))
    return f"; {len(left_out)} left out, below the least alignment or not judged: {numbers}"


def _unlike(scenes: Sequence[SceneLook]) -> str:
    if not scenes:
        return ""
    numbers = ", ".join(str(scene.scene_number) for scene in scenes)
    return f"; nothing in the picture is like the reference, so that its middle was compared: {numbers}"


def look_of(shot: Shot) -> Stream:
    """What a picture's vector is taken from: DINOv2; where it is one of a toy world's, or there is none, CLIP.

    On 60 rendered pairs the toy world's observer told another shape in 90 %, its CLIP in 98 %.
    """
    dense = shot.backbones.get(DENSE.backbone)
    has_other = OWN_CLIP.backbone in shot.backbones and DENSE.backbone not in shot.missing
    return OWN_CLIP if has_other and (dense is None or dense.fidelity == "toy") else DENSE


def _or_reason(metric: Metric, measured: Callable[[], Score], shot: Shot, stream: Stream | None = None) -> Score:
    stream = stream or look_of(shot)
    if stream.backbone not in shot.backbones:
        return metric.none(shot.missing.get(stream.backbone) or no_backbone(stream.backbone), shot, stream)
    try:
        return measured()
    except NoValue as error:
        return metric.none(str(error), shot, stream)


def _summaries(pictures: Sequence[Pixels], shot: Shot) -> Floats:
    """Vectors of pictures, shape (pictures, width)."""
    if not pictures:
        return np.zeros((0, 0))
    stream = look_of(shot)
    rows = embedded(shot.backbones[stream.backbone], stream.preprocessing, pictures).astype(np.float64)
    return rows[:, 0] if stream == DENSE else rows


def _scene_vector(scene: SceneLook, shot: Shot) -> Floats:
    mean: Floats = _summaries(scene.pictures, shot).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _scene_gram(scene: SceneLook, shot: Shot) -> Floats:
    dense = shot.backbones[DENSE.backbone]
    return gram(scene.patches or [patches_of(dense, picture) for picture in scene.pictures])


def gram(pictures: Sequence[npt.NDArray[np.float32]]) -> Floats:
    """The mean Gram matrix of pictures, at length 1, by each one's patches at length 1, shape (patches, width)."""
    total: Floats = np.zeros((1, 1))
    for picture in pictures:
        patches = picture.astype(np.float64)
        total = total + patches.T @ patches / len(patches)
    return total / max(float(np.linalg.norm(total)), 1e-12)


# --- a whole ad ---


@dataclass(frozen=True)
class AdScene:
    """One scene of an ad."""

    scene_number: int
    pictures: tuple[Pixels, ...]
    """Its still; or frames of its clip in order, the first and the last one among them. Of one size."""
    alignment: float | None = None
    """How well it shows what was asked for, on the scale of `Ad.minimum`; None: nobody judged it."""
    continues: bool = False
    """Whether its first frame is to go on from the last one of the scene before."""
    text: str = ""
    """What it tells, in words."""


@dataclass(frozen=True)
class Ad:
    """The scenes of an ad, and what is known of them together."""

    scenes: tuple[AdScene, ...]
    shot: Shot
    """References and backbones; its frames and its prompt are not read."""
    minimum: float | None = None
    """The least alignment of a scene that shows what was asked for; None: nobody knows it for this scorer."""
    brief: str = ""
    story: str = ""


def measure_ad(names: Sequence[str], ad: Ad) -> list[Score]:
    """One score per dimension of `names`, in order, of all scenes of `ad` together; `scene_number` is None.

    A dimension that cannot be measured gives a score without a value, and the reason. Raises UnknownDimension.
    """
    seen = _Seen(ad)
    found = []
    for name in names:
        check_dimension(name)
        dimension = of_name(name) if name in DIMENSIONS else None
        if dimension is None or "scenes" not in DIMENSIONS[name].media:
            raise ValueError(f"dimension {name!r} is not measured on the scenes of an ad together")
        try:
            score = dimension.of(seen) if issubclass(dimension, Together) else _by_scene(name, dimension, seen)
        except NoValue as error:
            score = dimension.METRIC.none(str(error), ad.shot, next(iter(dimension.NEEDS), None))
        found.append(score)
    return found


class _Seen:
    """The scenes of an ad, and where in them its product and its characters are; found at first need."""

    def __init__(self, ad: Ad) -> None:
        self.ad = ad
        self._found: dict[str, list[tuple[Found | None, ...]]] = {}
        self._patches: list[tuple[Array, ...]] | None = None

    def least(self) -> float:
        """Raises NoValue when nobody knows it."""
        if self.ad.minimum is None:
            raise NoValue(
                "no minimum of alignment is known for this deployment's scorer, so nobody can say which scenes show"
                " what was asked for: name one for text_alignment or keyframe_alignment in the recipe's quality gate"
            )
        return self.ad.minimum

    def finder(self, role: Role) -> Finder:
        """Raises NoValue without a reference of this role, or without a network that finds it."""
        shot = self.ad.shot
        pictures = [one for one in shot.references if one.role == role]
        if not pictures:
            raise NoValue(f"needs a picture of the {role} as a reference")
        if DENSE.backbone not in shot.backbones:
            raise NoValue(shot.missing.get(DENSE.backbone) or no_backbone(DENSE.backbone))
        return finder_of(pictures, shot.backbones[DENSE.backbone])

    def patches(self) -> list[tuple[Array, ...]]:
        """Of each picture of each scene, for which there must be a network: `quality.finder.patches_of`."""
        if self._patches is None:
            dense = self.ad.shot.backbones[DENSE.backbone]
            self._patches = [
                tuple(patches_of(dense, picture) for picture in scene.pictures) for scene in self.ad.scenes
            ]
        return self._patches

    def found(self, role: Role) -> list[tuple[Found | None, ...]]:
        """By scene and picture. Raises NoValue as `finder`."""
        finder = self.finder(role)
        if role not in self._found:
            self._found[role] = [
                tuple(map(finder.find, scene.pictures, patches))
                for scene, patches in zip(self.ad.scenes, self.patches(), strict=True)
            ]
        return self._found[role]

    def entities(self, role: Role) -> list[SceneLook]:
        """What is compared of each scene. Raises NoValue as `finder`."""
        looks = []
        for scene, found in zip(self.ad.scenes, self.found(role), strict=True):
            own = tuple(each.picture for each in found if each is not None)
            middle = () if own else tuple(crop(picture, MIDDLE) for picture in scene.pictures)
            looks.append(SceneLook(scene.scene_number, scene.alignment, own or middle, unlike=not own))
        return looks

    def whole(self) -> list[SceneLook]:
        """The scenes with their whole frames, and their patches where a network gives some."""
        scenes, dense = self.ad.scenes, DENSE.backbone in self.ad.shot.backbones
        return [
            SceneLook(scene.scene_number, scene.alignment, scene.pictures, patches)
            for scene, patches in zip(scenes, self.patches() if dense else ((),) * len(scenes), strict=True)
        ]


class Together(ABC):
    """A dimension of an ad's scenes together. Of a single file it has no value, and says what can measure it."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = (DENSE,)

    def __init__(self, shot: Shot) -> None:
        """Raises NoValue."""
        raise NoValue(ONLY_TOGETHER)

    def feed(self, block: Block) -> None:
        raise NoValue(ONLY_TOGETHER)

    def score(self) -> Score:
        raise NoValue(ONLY_TOGETHER)

    @classmethod
    @abstractmethod
    def of(cls, seen: _Seen) -> Score:
        """The score of an ad. Raises NoValue."""


class ProductSimilarity(Together):
    """The product, first scene against each later one and each reference against each scene, -1 to 1."""

    METRIC = PRODUCT
    ROLE: ClassVar[Role] = "product"
    NEEDS = (DENSE, OWN_CLIP)

    @classmethod
    def of(cls, seen: _Seen) -> Score:
        references = seen.finder(cls.ROLE).references
        return entity_similarity(cls.ROLE, seen.entities(cls.ROLE), references, seen.least(), seen.ad.shot)


class KeyframeProductSimilarity:
    """The product in one still against each reference, cut out of both, -1 to 1: `ProductSimilarity` of a still by
    itself, to rank candidates by. Needs a picture of the product, on a plain background."""

    METRIC: ClassVar[Metric] = Metric("admint.keyframe_product_similarity", "reference_crop@2", "proxy", (-1, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (STILL, OWN_CLIP._replace(sampling="never"))

    def __init__(self, shot: Shot) -> None:
        pictures = [one for one in shot.references if one.role == "product"]
        if not pictures:
            raise NoValue("needs a picture of the product as a reference")
        self._shot = shot
        self._finder = finder_of(pictures, shot.backbones[DENSE.backbone])
        self._wanted = of_references(
            shot.backbones[look_of(shot).backbone],
            "cut out",
            pictures,
            lambda: _summaries(self._finder.references, shot),
        )
        self._cosines: list[float] = []
        self._unlike = False

    def feed(self, block: Block) -> None:
        if block.first > 0:
            return
        found = self._finder.find(block.frames[0], block.features[STILL].values[0, 1:])
        self._unlike = found is None
        seen = crop(block.frames[0], MIDDLE) if found is None else found.picture
        (own,) = _summaries((seen,), self._shot)
        self._cosines = [float(wanted @ own) for wanted in self._wanted]

    def score(self) -> Score:
        if not self._cosines:
            raise NoValue("needs at least 1 frame")
        worst = min(range(len(self._cosines)), key=self._cosines.__getitem__)
        note = f"worst {self._cosines[worst]:.4f}, reference {worst + 1}; {len(self._cosines)} references"
        if self._unlike:
            note += "; nothing in the picture is like them, so that its middle was compared"
        mean = sum(self._cosines) / len(self._cosines)
        return self.METRIC.value(mean, self._shot, 1, stream=look_of(self._shot), note=note)


class CharacterSimilarity(ProductSimilarity):
    """The same of the character."""

    METRIC = CHARACTER
    ROLE = "character"


class StyleSimilarity(Together):
    """Textures and colours of whole frames, of all pairs of scenes, -1 to 1."""

    METRIC = STYLE

    @classmethod
    def of(cls, seen: _Seen) -> Score:
        return style_similarity(seen.whole(), seen.least(), seen.ad.shot)


class BoundarySimilarity(Together):
    """Last frame against first where a scene goes on from the one before, -1 to 1."""

    METRIC = BOUNDARY
    NEEDS = (DENSE, OWN_CLIP)

    @classmethod
    def of(cls, seen: _Seen) -> Score:
        scenes = [scene for scene in seen.ad.scenes if scene.pictures]
        cuts = [
            Boundary(one.scene_number, one.pictures[-1], other.pictures[0])
            for one, other in pairwise(scenes)
            if other.continues
        ]
        return boundary_similarity(cuts, seen.ad.shot)


class GapDecay(Together):
    """Change of the product's similarity with each scene between, 0 for one that stays."""

    METRIC = GAP_DECAY
    NEEDS = (DENSE, OWN_CLIP)

    @classmethod
    def of(cls, seen: _Seen) -> Score:
        return gap_decay(seen.entities("product"), seen.least(), seen.ad.shot)


class BriefSimilarity(Together):
    """The brief against the story and each scene, as words, -1 to 1: mean cosine of MiniLM's sentence vectors.

    Whether the ad is still about what was asked for; it sees no picture and no negation.
    """

    METRIC = BRIEF
    NEEDS = (SENTENCES,)

    @classmethod
    def of(cls, seen: _Seen) -> Score:
        ad = seen.ad
        if SENTENCES.backbone not in ad.shot.backbones:
            raise NoValue(ad.shot.missing.get(SENTENCES.backbone) or no_backbone(SENTENCES.backbone))
        texts = {"the story": ad.story} | {f"scene {scene.scene_number}": scene.text for scene in ad.scenes}
        texts = {name: text for name, text in texts.items() if text}
        if not ad.brief or not texts:
            raise NoValue("needs the brief, and a story or scenes in words")
        encoder = cast(TextEncoder, ad.shot.backbones[SENTENCES.backbone])
        (brief, _), read = encoder.text(ad.brief), {name: encoder.text(text) for name, text in texts.items()}
        pairs = {name: float(brief.astype(np.float64) @ vector) for name, (vector, _) in read.items()}
        worst = min(pairs, key=lambda name: pairs[name])
        note = f"worst {pairs[worst]:.4f}, the brief and {worst}; {len(pairs)} pairs"
        if any(cut for _, cut in read.values()):
            note += "; a text is longer than the model reads, and its end was left out"
        return cls.METRIC.value(float(np.mean([*pairs.values()])), ad.shot, len(pairs), stream=SENTENCES, note=note)


ROW_BY_ROW = {"product_colour": max, "product_keypoints": min, "copy_paste": max}
"""Which of the scenes' values is the worst one."""


def _by_scene(name: str, dimension: type[Accumulator], seen: _Seen) -> Score:
    """A dimension of one scene's pictures and the references, as the mean over the scenes that count.

    Of `copy_paste` the largest of all scenes: a copied picture is one whether or not it shows what was asked for.
    """
    ad, is_copy = seen.ad, name == "copy_paste"
    boxes, how = _boxes(seen) if name == "product_colour" else (None, "")
    values: dict[int, float] = {}
    reason: str | None = None
    least = -np.inf if is_copy else seen.least()
    for number, scene in enumerate(ad.scenes):
        if not scene.pictures or (not is_copy and (scene.alignment is None or scene.alignment < least)):
            continue
        times = tuple(map(float, range(len(scene.pictures))))
        shot = replace(ad.shot, medium="keyframe", times=times, product=None if boxes is None else boxes[number])
        (score,) = measure([name], scene.pictures, shot)
        if score.raw is None:
            reason = score.reason
        else:
            values[scene.scene_number] = score.raw
    left_out = sorted({scene.scene_number for scene in ad.scenes} - values.keys())
    if not values:
        raise NoValue(reason or f"no scene was seen to show what was asked for{_told(left_out)}")
    worst = ROW_BY_ROW[name](values, key=lambda scene: values[scene])
    mean = float(np.mean([*values.values()]))
    note = f"worst {values[worst]:.4f}, scene {worst}; {len(values)} scenes, mean {mean:.4f}{_told(left_out)}{how}"
    stream = next(iter(dimension.NEEDS), None)
    return dimension.METRIC.value(values[worst] if is_copy else mean, ad.shot, len(values), stream=stream, note=note)


def _boxes(seen: _Seen) -> tuple[list[dict[int, Box]] | None, str]:
    """Where the product is in the pictures of each scene, and how that is known. Raises NoValue without a reference."""
    try:
        found = seen.found("product")
    except NoValue as error:
        return None, f"; the middle of each frame was looked at: the product's place is not known ({error})"
    boxes, unlike = [], []
    for scene, own in zip(seen.ad.scenes, found, strict=True):
        places = {place: each.box for place, each in enumerate(own) if each is not None}
        boxes.append(places or dict.fromkeys(range(len(own)), MIDDLE))
        if not places:
            unlike.append(str(scene.scene_number))
    how = "; the product was looked for by its reference's patches"
    return boxes, how + (f", the middle looked at where nothing is like them: {', '.join(unlike)}" if unlike else "")
