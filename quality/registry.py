"""The dimensions by name: which can be measured here, and why the others cannot.

A new dimension is one file in `quality/dimensions/` and one entry in `DIMENSIONS`; one of VBench's is then taken out of
`UNAVAILABLE`. Modules are imported at first use.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from quality.score import Medium, Score, UnknownDimension, dimension_name

if TYPE_CHECKING:  # names of dimensions are also listed where nothing is measured, without numpy
    from quality.stream import Accumulator


class Dimension(NamedTuple):
    """Where a dimension's code is, and what it measures."""

    path: str
    """`module:Class` of its accumulator (`quality.stream.Accumulator`)."""
    version: int
    """Version of the formula: values of different versions are different measures."""
    media: tuple[Medium, ...]


EVERY: tuple[Medium, ...] = ("keyframe", "clip", "video")
OF_PRODUCT: tuple[Medium, ...] = (*EVERY, "scenes")
TOGETHER: tuple[Medium, ...] = ("scenes",)
PREFERENCE = "preference"
"""The dimension in which two stills of a scene are compared with each other."""
DIMENSIONS: dict[str, Dimension] = {
    "temporal_flickering": Dimension("quality.dimensions.temporal_flickering:TemporalFlickering", 2, ("clip", "video")),
    "temporal_flickering.static_filtered": Dimension(
        "quality.dimensions.temporal_flickering:StaticFlickering", 1, ("clip",)
    ),
    "flow_smoothness": Dimension("quality.dimensions.flow_smoothness:FlowSmoothness", 2, ("clip",)),
    "flow_dynamics": Dimension("quality.dimensions.flow_dynamics:FlowDynamics", 2, ("clip",)),
    "clip_consistency": Dimension("quality.dimensions.clip_consistency:ClipConsistency", 1, ("clip",)),
    "text_alignment": Dimension("quality.dimensions.text_alignment:TextAlignment", 1, ("clip",)),
    "keyframe_alignment": Dimension("quality.dimensions.text_alignment:KeyframeAlignment", 1, ("keyframe",)),
    "colour_margin": Dimension("quality.dimensions.text_alignment:ColourMargin", 1, ("clip",)),
    "keyframe_colour_margin": Dimension("quality.dimensions.text_alignment:KeyframeColourMargin", 1, ("keyframe",)),
    "keyframe_product_similarity": Dimension("quality.cross_scene:KeyframeProductSimilarity", 2, ("keyframe",)),
    PREFERENCE: Dimension("quality.dimensions.asks:Preference", 1, ("pair",)),
    "clipscore.text": Dimension("quality.dimensions.text_alignment:ClipScore", 1, ("keyframe", "clip")),
    "subject_consistency": Dimension("quality.dimensions.clip_consistency:SubjectConsistency", 1, ("clip",)),
    "background_consistency": Dimension("quality.dimensions.clip_consistency:BackgroundConsistency", 1, ("clip",)),
    "imagenet_consistency": Dimension("quality.dimensions.clip_consistency:ImagenetConsistency", 1, ("clip",)),
    "aesthetic_quality": Dimension("quality.dimensions.aesthetic_quality:AestheticQuality", 1, EVERY),
    "appearance_style": Dimension("quality.dimensions.text_alignment:AppearanceStyle", 1, ("clip",)),
    "overall_consistency": Dimension("quality.dimensions.text_alignment:OverallConsistency", 1, ("clip",)),
    "temporal_style": Dimension("quality.dimensions.text_alignment:TemporalStyle", 1, ("clip",)),
    "vbench_i2v.subject": Dimension("quality.dimensions.i2v_subject:I2VSubject", 3, ("clip",)),
    "vbench_long.subject_slow_fast": Dimension("quality.dimensions.clip_consistency:SubjectSlowFast", 1, ("clip",)),
    "long_horizon": Dimension("quality.dimensions.long_horizon:LongHorizon", 1, ("clip",)),
    "product_keypoints": Dimension("quality.dimensions.product_keypoints:ProductKeypoints", 4, OF_PRODUCT),
    "copy_paste": Dimension("quality.dimensions.product_keypoints:CopyPaste", 4, OF_PRODUCT),
    "technical": Dimension("quality.dimensions.technical:Technical", 1, EVERY),
    "technical.sharpness": Dimension("quality.dimensions.technical:Sharpness", 1, EVERY),
    "technical.noise": Dimension("quality.dimensions.technical:Noise", 1, EVERY),
    "technical.clipping": Dimension("quality.dimensions.technical:Clipping", 1, EVERY),
    "technical.blockiness": Dimension("quality.dimensions.technical:Blockiness", 1, EVERY),
    "technical.exposure": Dimension("quality.dimensions.technical:Exposure", 1, EVERY),
    "product_colour": Dimension("quality.dimensions.product_colour:ProductColour", 2, OF_PRODUCT),
    "freeze_loop.frozen": Dimension("quality.dimensions.freeze_loop:FrozenShare", 1, ("clip", "video")),
    "freeze_loop.repeat": Dimension("quality.dimensions.freeze_loop:Repeat", 1, ("clip",)),
    "unwanted_cuts": Dimension("quality.dimensions.unwanted_cuts:HistogramCuts", 1, ("clip",)),
    "unwanted_cuts.transnetv2": Dimension("quality.dimensions.unwanted_cuts:TransNetCuts", 1, ("clip",)),
    "dynamic_degree": Dimension("quality.dimensions.dynamic_degree:DynamicDegree", 1, ("clip",)),
    "raft_dynamics": Dimension("quality.dimensions.dynamic_degree:RaftDynamics", 1, ("clip",)),
    "imaging_quality": Dimension("quality.dimensions.musiq:ImagingQuality", 1, ("clip",)),
    "musiq.spaq": Dimension("quality.dimensions.musiq:MusiqSpaq", 1, EVERY),
    "musiq.koniq": Dimension("quality.dimensions.musiq:MusiqKoniq", 1, EVERY),
    "dover.technical": Dimension("quality.dimensions.dover:DoverTechnical", 1, ("clip", "video")),
    "dover.aesthetic": Dimension("quality.dimensions.dover:DoverAesthetic", 1, ("clip", "video")),
    "dover.fused": Dimension("quality.dimensions.dover:DoverFused", 1, ("clip", "video")),
    "ad.duration": Dimension("quality.dimensions.ad:Duration", 1, ("video",)),
    "ad.ratio": Dimension("quality.dimensions.ad:Ratio", 1, EVERY),
    "ad.black_frames": Dimension("quality.dimensions.ad:BlackFrames", 1, ("clip", "video")),
    "ad.luminance_clipping": Dimension("quality.dimensions.ad:LuminanceClipping", 1, ("clip", "video")),
    "ad.first_product": Dimension("quality.dimensions.ad:FirstProduct", 2, ("video",)),
    "ad.loudness": Dimension("quality.dimensions.ad:Loudness", 1, ("video",)),
    "ad.speech": Dimension("quality.dimensions.speech:Speech", 1, ("video",)),
    "ad.first_speech": Dimension("quality.dimensions.speech:FirstSpeech", 1, ("video",)),
    "ad.safe_zones": Dimension("quality.dimensions.text:SafeZones", 1, EVERY),
    "text_legibility": Dimension("quality.dimensions.text:TextLegibility", 1, ("clip", "video")),
    "gibberish": Dimension("quality.dimensions.text:Gibberish", 1, EVERY),
    "vqascore.text": Dimension("quality.dimensions.asks:VqaScore", 1, ("keyframe", "clip")),
    "asks.object": Dimension("quality.dimensions.asks:AsksObject", 1, ("keyframe", "clip")),
    "asks.count": Dimension("quality.dimensions.asks:AsksCount", 1, ("keyframe", "clip")),
    "asks.color": Dimension("quality.dimensions.asks:AsksColor", 1, ("keyframe", "clip")),
    "asks.spatial": Dimension("quality.dimensions.asks:AsksSpatial", 1, ("keyframe", "clip")),
    "asks.scene": Dimension("quality.dimensions.asks:AsksScene", 1, ("keyframe", "clip")),
    "asks.action": Dimension("quality.dimensions.asks:AsksAction", 1, ("keyframe", "clip")),
    "product_similarity": Dimension("quality.cross_scene:ProductSimilarity", 2, TOGETHER),
    "character_similarity": Dimension("quality.cross_scene:CharacterSimilarity", 2, TOGETHER),
    "style_similarity": Dimension("quality.cross_scene:StyleSimilarity", 1, TOGETHER),
    "boundary_similarity": Dimension("quality.cross_scene:BoundarySimilarity", 1, TOGETHER),
    "gap_decay": Dimension("quality.cross_scene:GapDecay", 2, TOGETHER),
    "brief_similarity": Dimension("quality.cross_scene:BriefSimilarity", 1, TOGETHER),
}
COMPANIONS: dict[str, tuple[str, ...]] = {
    "keyframe_product_similarity": ("keyframe_alignment",),
    "clip_consistency": ("text_alignment", "flow_dynamics"),
    "subject_consistency": ("text_alignment", "flow_dynamics"),
    "background_consistency": ("text_alignment", "flow_dynamics"),
    "imagenet_consistency": ("text_alignment", "flow_dynamics"),
    "vbench_i2v.subject": ("text_alignment", "flow_dynamics"),
    "vbench_long.subject_slow_fast": ("text_alignment", "flow_dynamics"),
    "long_horizon": ("text_alignment", "flow_dynamics"),
    "product_similarity": ("text_alignment", "flow_dynamics"),
    "character_similarity": ("text_alignment", "flow_dynamics"),
    "style_similarity": ("text_alignment", "flow_dynamics"),
    "boundary_similarity": ("text_alignment", "flow_dynamics"),
    "gap_decay": ("text_alignment", "flow_dynamics"),
}
"""What is always measured beside a dimension: a similarity says nothing without the alignment, and a
frozen clip wins every one."""
IDENTITY = ("product_similarity", "product_keypoints", "product_colour", "copy_paste")
"""What is measured of all scenes together where the first one is: none of them sees every way to be another product,
and a pasted photograph wins them all."""
ON_A_STILL: dict[str, str] = {
    "text_alignment": "keyframe_alignment",
    "colour_margin": "keyframe_colour_margin",
    "product_similarity": "keyframe_product_similarity",
}
"""The same measure by the name that it has for one still, of dimensions that are measured on clips or on all scenes."""
OF_A_PRODUCT = frozenset({
    "keyframe_product_similarity", "product_keypoints", "product_colour", "copy_paste", "ad.first_product",
})  # fmt: skip
"""What has a value only where a reference shows the product, of one file by itself."""
OF_A_COLOUR = frozenset({"colour_margin", "keyframe_colour_margin"})
"""What has a value only where the prompt names a colour, and is no fair judge where it names several: a CLIP does not
bind them to their things."""
UNAVAILABLE: dict[str, str] = {
    "motion_smoothness": "AMT-S, whose weights are not for commercial use (CC BY-NC 4.0): see `flow_smoothness`",
    "object_class": "GRiT, which has no implementation here: see `asks.object`",
    "multiple_objects": "GRiT, which has no implementation here: see `asks.object`",
    "human_action": "UMT ViT-L/16, which has no implementation here: see `asks.action`",
    "color": "GRiT, which has no implementation here: see `asks.color`",
    "spatial_relationship": "GRiT, which has no implementation here: see `asks.spatial`",
    "scene": "Tag2Text, which has no implementation here: see `asks.scene`",
    "vbench_i2v.background": "DreamSim's ensemble, which has no implementation here: see `vbench_i2v.subject`",
    "vbench_long.background_slow_fast": "DreamSim's ensemble, which has no implementation here; the part in pieces is"
    " the protocol `long2s`: see `background_consistency`",
}
"""VBench dimensions that cannot be measured: what each needs, and what is measured here in its place under another
name."""
_VBENCH_LOOKS = (
    "subject_consistency", "background_consistency", "motion_smoothness", "dynamic_degree", "aesthetic_quality",
    "imaging_quality",
)  # fmt: skip
SUITES: dict[str, tuple[str, ...]] = {
    "vbench-custom": (*_VBENCH_LOOKS, "temporal_flickering"),
    "vbench-i2v": ("vbench_i2v.subject", "vbench_i2v.background", *_VBENCH_LOOKS),
    "story": (
        "text_alignment", "keyframe_alignment", "colour_margin", "keyframe_colour_margin", "vqascore.text",
        "asks.object", "asks.count", "asks.color", "asks.spatial", "asks.scene", "asks.action", "clip_consistency",
        "subject_consistency", "long_horizon", "product_colour", "product_keypoints", "copy_paste", "unwanted_cuts",
        "unwanted_cuts.transnetv2", "freeze_loop.frozen", "freeze_loop.repeat", "flow_dynamics", "brief_similarity",
    ),
    "ad": (
        "ad.duration", "ad.ratio", "ad.black_frames", "ad.luminance_clipping", "ad.first_product", "ad.loudness",
        "ad.speech", "ad.first_speech", "ad.safe_zones", "text_legibility", "gibberish", "technical",
        "technical.exposure", "product_colour", "freeze_loop.frozen",
    ),
    "all": (*DIMENSIONS, *UNAVAILABLE),
}  # fmt: skip
"""Dimensions that are measured together, by name. `vbench-custom`: what VBench measures of its users' videos;
`vbench-i2v`: of clips made from a picture; `story`: whether scenes show what was asked and stay what they are; `ad`:
what a broadcaster or platform checks. What cannot be measured in one has its reason."""


def check_dimension(name: str) -> None:
    """Raises UnknownDimension when no dimension has this name."""
    if name not in DIMENSIONS and name not in UNAVAILABLE:
        known = sorted({*DIMENSIONS, *UNAVAILABLE})
        meant = dimension_name(name)
        remedy = f"it is called {meant!r} here" if meant in known else f"choose from {', '.join(known)}"
        raise UnknownDimension(f"quality dimension {name!r} is unknown: {remedy}")


def measured_on(medium: Medium, names: Collection[str]) -> tuple[str, ...]:
    """The dimensions of `names` that are measured on `medium`, with their companions, in the registry's order.

    One that cannot be measured at all is kept for clips and video, where its score says why. Raises UnknownDimension.
    """
    for name in names:
        check_dimension(name)
    wanted = {*names, *(companion for name in names for companion in COMPANIONS.get(name, ()))}
    if medium == "scenes" and IDENTITY[0] in wanted:
        wanted |= {*IDENTITY}
    here = [name for name, dimension in DIMENSIONS.items() if name in wanted and medium in dimension.media]
    return (*here, *(name for name in UNAVAILABLE if name in wanted and medium in ("clip", "video")))


def of_name(name: str) -> type[Accumulator]:
    """The class of the accumulator of a dimension in `DIMENSIONS`."""
    module, _, attribute = DIMENSIONS[name].path.partition(":")
    found: type[Accumulator] = getattr(import_module(module), attribute)
    return found


def not_available(name: str) -> Score:
    """The empty score of a dimension in `UNAVAILABLE`."""
    return Score(
        metric_id=name if "." in name else f"vbench.{name}",
        impl_id=f"{name}@none",
        reason=f"needs {UNAVAILABLE[name]}",
    )
