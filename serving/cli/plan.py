"""`admint plan`: what a profile keeps on which card, whether it fits, and what an ad costs in device-seconds.

Reckoned from the descriptions of its models alone: nothing is loaded and no card is asked. What was not measured is
said to be unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from configs.serving import ReplicaSettings
    from configs.settings import Profile
    from models.spec import ImageModelSpec, VideoModelSpec

CONTEXT_GB = 0.5
"""What CUDA itself takes of a card for each process."""
VLLM_SHARE = 0.9
"""Of its share of the card that vLLM takes at its start, whatever the model (`serving.deployments.chat_vllm`)."""


@dataclass(frozen=True)
class Resident:
    """What one deployment keeps on its card."""

    name: str
    models: tuple[str, ...]
    replicas: int
    share: float
    """Of one card, for one replica; 0: on the CPU or on another server."""
    gigabytes: float
    """At work, for one replica, in units of 10^9 bytes."""


def plan(
    profile: Annotated[str, typer.Option(help="Which models to serve, and how (configs/profiles).")],
    card_gb: Annotated[float, typer.Option(min=1, help="Memory of one card, in GB of 10^9 bytes.")] = 85.9,
    recipe: Annotated[str, typer.Option(help="The recipe of the ad whose cost is reckoned.")] = "master",
    duration: Annotated[int, typer.Option(min=9, max=60, help="Its length in seconds.")] = 15,
    aspect_ratio: Annotated[str, typer.Option(help="9:16, 16:9 or 1:1.")] = "9:16",
) -> None:
    """What a profile keeps on which card, in GB, and what an ad costs in device-seconds, where that was measured."""
    from rich.console import Console
    from rich.table import Table

    from configs.settings import load_profile

    chosen = load_profile(profile)
    table = Table("deployment", "models", "replicas", "share of a card", "GB at work")
    residents = residents_of(chosen, card_gb)
    for each in residents:
        share = f"{each.share:g}" if each.share else "none"
        table.add_row(each.name, ", ".join(each.models), str(each.replicas), share, f"{each.gigabytes:.1f}")
    console = Console()
    console.print(table)
    console.print(verdict(residents, card_gb))
    for line in costs(chosen, recipe, duration, aspect_ratio):
        console.print(line)


def residents_of(profile: Profile, card_gb: float) -> tuple[Resident, ...]:
    """Memory at work of each deployment that runs a model. Raises BadInput for an unknown model."""
    from configs.settings import load_model
    from models.registry import SERVED_FAMILY
    from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, SpecBase, VideoModelSpec
    from serving.profile_models import asked_model

    serving = profile.serving
    chat = load_model(profile.chat, ChatModelSpec)
    served = chat.family == SERVED_FAMILY
    share = serving.chat.gpu_memory_utilization or VLLM_SHARE * min(1.0, serving.chat.num_gpus)
    need = share * card_gb if served and serving.chat.num_gpus else chat.vram_gb
    found = [_resident("chat", (chat.name,), serving.chat, need, on_card=served or chat.vram_gb > 0)]
    images = [load_model(each, ImageModelSpec) for each in serving.image.offered(profile.image)]
    videos = [load_model(each, VideoModelSpec) for each in serving.video.offered(profile.video)]
    for name, settings, specs in (("image", serving.image, images), ("video", serving.video, videos)):
        need = sum(spec.vram_gb for spec in specs)
        need = need if settings.memory_gb is None else min(need, settings.memory_gb * 1.0737)
        found.append(_resident(name, tuple(spec.name for spec in specs), settings, need, on_card=need > 0))
    asked = asked_model(profile)  # another one than the chat deployment has is loaded beside the scorers
    scorers: list[SpecBase] = [load_model(name, ScorerModelSpec) for name in profile.backbones().values()]
    scorers += [asked] if asked.name != profile.chat else []
    if scorers:
        need = sum(spec.vram_gb for spec in scorers)
        names = tuple(spec.name for spec in scorers)
        found.append(_resident("scorer", names, serving.scorer, need, on_card=need > 0 and serving.scorer.num_gpus > 0))
    return tuple(found)


def _resident(name: str, models: tuple[str, ...], settings: ReplicaSettings, need: float, on_card: bool) -> Resident:
    share = settings.num_gpus if on_card else 0.0
    return Resident(name, models, settings.max_replicas or settings.num_replicas, share, need if share else 0.0)


def verdict(residents: tuple[Resident, ...], card_gb: float) -> str:
    """One sentence: whether those that share cards fit them, with the sum."""
    shared = [each for each in residents if 0 < each.share < 1]
    alone = [each for each in residents if each.share >= 1]
    too_large = [each for each in alone if each.gigabytes + CONTEXT_GB > card_gb]
    if too_large:
        return f"does not fit: {too_large[0].name} needs {too_large[0].gigabytes:.1f} GB of a card of {card_gb:g} GB"
    if not residents or not (shared or alone):
        return "no card is needed"
    total = sum(each.gigabytes + CONTEXT_GB for each in shared)
    share = sum(each.share for each in shared)
    if share > 1.0001:
        return f"the deployments that share cards need {share:.2f} cards in all: see each row"
    fits = "fits" if total <= card_gb else "does not fit"
    return f"{fits}: {total:.1f} of {card_gb:g} GB on the shared card, {CONTEXT_GB:g} GB a process for CUDA among it"


def costs(profile: Profile, recipe: str, duration: int, aspect_ratio: str) -> tuple[str, ...]:
    """Device-seconds of the keyframes and of the clips of one ad, by device; what was not measured is unknown.

    Raises BadInput for an unknown recipe, and a ratio or duration that is none.
    """
    from configs.settings import load_model, load_recipe
    from models.spec import ImageModelSpec, VideoModelSpec
    from pipelines.errors import BadInput
    from pipelines.timeline import native_frames
    from pipelines.timing import plan_slots

    chosen = load_recipe(recipe)
    image, video = load_model(profile.image, ImageModelSpec), load_model(profile.video, VideoModelSpec)
    sizes = {ratio: size for ratio, size in image.sizes.items() if ratio == aspect_ratio}
    if not sizes:
        raise BadInput(f"--aspect-ratio {aspect_ratio!r}: choose one of {', '.join(image.sizes)}")
    ratio = next(iter(sizes))
    slots = plan_slots(chosen.framework, duration, profile.fps)
    stills = len(slots) * (chosen.image.num_inference_steps or image.num_inference_steps)
    steps = chosen.video.num_inference_steps or video.num_inference_steps
    width, height = video.sizes[ratio]
    largest = max(w * h for w, h in video.sizes.values()) * video.max_frames
    clips = sum(
        steps * width * height * native_frames(slot.frames, profile.fps, video).num_frames / largest for slot in slots
    )
    lines = [f"an ad of {duration} s, {ratio}, recipe {recipe}: {len(slots)} scenes"]
    lines.append(_cost("keyframes", image, stills))
    lines.append(_cost("clips", video, clips))
    return tuple(lines)


def _cost(what: str, spec: ImageModelSpec | VideoModelSpec, steps: float) -> str:
    if not spec.seconds_per_step:
        return f"{what} with {spec.name}: unknown (no step of it was measured); {steps:.0f} full steps"
    found = ", ".join(f"{steps * seconds:.0f} s on {device}" for device, seconds in spec.seconds_per_step.items())
    return f"{what} with {spec.name}: {found} ({steps:.0f} full steps; texts, VAE and retakes come on top)"
