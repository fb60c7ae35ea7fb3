"""Coherence: settings and scenes in, one plan per scene out. A pure function; draws no noise and runs no model.

The four settings of the contract switch the mechanisms; the knobs behind them tune each one. The formulas are in
`models/diffusion/noise.py`; what each knob is expected to change is in the design's reference on coherence (section C).
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.interfaces import AdapterBlocks, AdapterSettings, Cutoff, LowpassShare, NoiseSpec, Plain, Unit
from models.spec import LOWPASSES_CONDITION, ImageModelSpec, VideoModelSpec
from pipelines.errors import BadInput

Chain = Literal["none", "last_frame", "keyframe", "first_last"]
SeedPolicy = Literal["fixed", "derived", "blend", "exact"]
EXACT_IN_JSON = 2**53
"""Seeds that the program draws stay below it: JavaScript rounds larger integers."""


class CoherenceSettings(Plain):
    """Coherence of a generation; the first four fields are the contract's."""

    use_seed_control: bool = True
    """Off: every scene has an independent seed (policy `derived`)."""
    seed_value: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Overrides the seed of the generation."""
    use_latent_reuse: bool = False
    """Start each scene's keyframe from the last frame of the scene before."""
    use_ip_adapter: bool = True
    """Let the reference images condition keyframes and clips."""

    seed_policy: SeedPolicy = "blend"
    """`fixed`: all scenes share one noise; `derived`: independent; `blend`: correlation `blend_strength`; `exact`: the
    seed itself, blended with `shared_seed` when there is one."""
    # benchmarks/results/coherence.md: blend
    blend_strength: Unit = 0.25
    """Correlation between the noises of the scenes for `blend`, 0 (independent) to 1 (the same)."""
    # benchmarks/results/coherence.md: frequency_split
    shared_cutoff: Cutoff | None = None
    """Only what is coarser than this is shared, in cycles per latent cell, 0 (nothing) to 0.5; null: every frequency.
    With `blend` and `exact`; at `blend_strength` 1 scenes share their layout and keep their own detail."""
    shared_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Only for `exact`: the noise that other generations share."""
    latent_strength: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    """SDEdit strength of the latent start: 1.0 forgets the scene before, 0.3 nearly copies it."""
    # benchmarks/results/coherence.md: latent_start, chaining
    chain: Chain = "none"
    """What ties a scene to its neighbour. `none`: its clip starts from its own keyframe; `last_frame`: from the last
    frame of the clip before instead; `keyframe`: its keyframe is drawn from the keyframe before (`latent_strength`);
    `first_last`: its clip starts from its own keyframe and ends on the keyframe of the scene after."""
    # benchmarks/results/coherence.md: consistent_attention
    consistent_attention: bool = False
    """Let the pictures of all scenes look at the first scene's while they are drawn (StoryDiffusion's idea), through a
    stored bank of its tokens: each can be drawn again alone. It costs one further picture."""
    # benchmarks/results/coherence.md: cond_lowpass_until
    cond_lowpass_until: LowpassShare | None = None
    """Share of a clip's steps, 0 to 0.2 from the first, in which the model sees its first frame without fine detail:
    clips that start from a picture move more. 0: never; null: as long as the video model's description says."""
    # benchmarks/results/coherence.md: adapter_scale
    adapter_scale: Unit = 0.6
    """Strength of the references, 0 (none) to 1."""
    # benchmarks/results/coherence.md: adapter_blocks
    adapter_blocks: AdapterBlocks = "all"
    """Blocks of the denoiser that the references reach: `all`, `style` or `layout`."""
    reference_weights: Annotated[tuple[Unit, ...], Field(max_length=3)] | None = None
    """Weights of the references in their order, 0 (none) to 1, instead of their own; null: their own. Models with an
    IP-Adapter share `adapter_scale` among them by weight; where all have weight 1, each acts alike."""
    adapter_begin: Unit = 0.0
    """Where in the denoising the references begin to act, 0 to 1 (its end)."""
    # benchmarks/results/coherence.md: adapter_end
    adapter_end: Unit = 1.0
    """Where in the denoising the references cease to act, 0 to 1 (its end)."""

    @model_validator(mode="after")
    def _one_start_per_keyframe(self) -> CoherenceSettings:
        if self.use_latent_reuse and self.chain in ("keyframe", "first_last"):
            raise ValueError(
                f"use_latent_reuse draws each keyframe from the clip before, chain {self.chain!r} wants the keyframes"
                " before any clip: switch one of them off"
            )
        return self

    @property
    def acting(self) -> CoherenceSettings:
        """The settings as they act: without seed control every scene is independent, whatever policy is set."""
        return self if self.use_seed_control else self.model_copy(update={"seed_policy": "derived"})


class ScenePlan(Plain):
    """How one scene is kept coherent with the others."""

    scene_number: int
    """The scene, counted from 1."""
    keyframe_noise: NoiseSpec
    """Start noise of the scene's keyframe."""
    clip_noise: NoiseSpec
    """Start noise of the scene's clip."""
    start_from_scene: int | None
    """Scene whose keyframe or clip the keyframe starts from (`latent_strength`); None: pure noise."""
    latent_strength: float
    """Strength of the start from the scene before, 0 to 1; 1 forgets it."""
    chain_from_scene: int | None
    """Scene whose last clip frame replaces this scene's keyframe as the first frame."""
    keyframe_from_scene: int | None = None
    """Scene whose keyframe this scene's keyframe is drawn from (`latent_strength`); None: from pure noise."""
    end_on_scene: int | None = None
    """Scene whose keyframe is the last frame of this scene's clip; None: the clip ends as it likes."""
    attention_from_scene: int | None = None
    """Scene whose picture this scene's keyframe looks at while it is drawn; None: at no other."""
    attention_seed: int = 0
    """Which of that picture's tokens it looks at."""
    cond_lowpass_until: float | None = None
    """Share of the clip's steps in which its given frames are seen without fine detail; None: the model's own."""
    use_references: bool
    """Whether the reference images condition the scene."""
    adapter: AdapterSettings
    """How strongly, where and when they do."""


def check_models(settings: CoherenceSettings, image: ImageModelSpec, video: VideoModelSpec) -> None:
    """Raises BadInput, with the field, for a knob that models of these families do not have."""
    if settings.chain == "first_last" and not video.last_frame:
        raise BadInput(
            f"video model {video.name!r} of the family {video.family!r} cannot end a clip on a given frame: choose"
            " another chain, or a video model that says last_frame",
            "chain",
        )
    if settings.consistent_attention and image.attention_refusal:
        raise BadInput(f"attention cannot be shared: {image.attention_refusal}", "consistent_attention")
    if settings.cond_lowpass_until and video.family not in LOWPASSES_CONDITION:
        raise BadInput(
            f"video model {video.name!r} of the family {video.family!r} cannot look at a coarse first frame in early"
            f" steps: leave it at 0, or choose a model of the family {' or '.join(sorted(LOWPASSES_CONDITION))}",
            "cond_lowpass_until",
        )


def random_seed() -> int:
    """A fresh seed for what was asked for without one, 0 to EXACT_IN_JSON - 1."""
    return secrets.randbelow(EXACT_IN_JSON)


def derived_seed(seed: int, *parts: object) -> int:
    """A seed below EXACT_IN_JSON that depends on `seed` and `parts` alone (sha256 of their text).

    It is shown with what it made, and sent back to make it again: a page must not round it.
    """
    text = ":".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11


def plan_coherence(
    settings: CoherenceSettings, seed: int, scene_numbers: tuple[int, ...], has_references: bool
) -> tuple[ScenePlan, ...]:
    """One plan per scene, in order. `seed` is the generation's; `settings.seed_value` overrides it."""
    root = seed if settings.seed_value is None else settings.seed_value
    return tuple(
        _plan_scene(settings, root, number, scene_numbers[0], before, after, has_references)
        for before, number, after in zip(
            (None, *scene_numbers), scene_numbers, (*scene_numbers[1:], None), strict=False
        )
    )


def _plan_scene(
    settings: CoherenceSettings,
    root: int,
    number: int,
    first: int,
    before: int | None,
    after: int | None,
    has_references: bool,
) -> ScenePlan:
    return ScenePlan(
        scene_number=number,
        keyframe_noise=_noise(settings, root, "keyframe", number),
        clip_noise=_noise(settings, root, "clip", number),
        start_from_scene=before if settings.use_latent_reuse else None,
        latent_strength=settings.latent_strength,
        chain_from_scene=before if settings.chain == "last_frame" else None,
        keyframe_from_scene=before if settings.chain == "keyframe" else None,
        end_on_scene=after if settings.chain == "first_last" else None,
        attention_from_scene=first if settings.consistent_attention and number != first else None,
        attention_seed=derived_seed(root, "attention"),
        cond_lowpass_until=settings.cond_lowpass_until,
        use_references=settings.use_ip_adapter and has_references,
        adapter=AdapterSettings(
            scale=settings.adapter_scale,
            blocks=settings.adapter_blocks,
            begin_step_percent=settings.adapter_begin,
            end_step_percent=settings.adapter_end,
        ),
    )


def _noise(settings: CoherenceSettings, root: int, purpose: str, number: int) -> NoiseSpec:
    policy = settings.acting.seed_policy
    if policy == "exact":
        if settings.shared_seed is None:
            return NoiseSpec(seed=root)
        return _shared_noise(settings, root, settings.shared_seed)
    shared = derived_seed(root, purpose, "shared")
    if policy == "fixed":
        return NoiseSpec(seed=shared)
    scene = derived_seed(root, purpose, "scene", number)
    if policy == "derived":
        return NoiseSpec(seed=scene)
    return _shared_noise(settings, scene, shared)


def _shared_noise(settings: CoherenceSettings, own: int, shared: int) -> NoiseSpec:
    return NoiseSpec(
        seed=own,
        shared_seed=shared,
        shared_strength=settings.blend_strength,
        shared_cutoff=settings.shared_cutoff,
    )
