"""What a hub repository says of itself before gigabytes are pulled: names, classes, shapes, licence, size.

Only small things are read: the repository's description, its JSON files, and the header of each safetensors file, which
holds the name and shape of every tensor (the format's own layout: eight bytes of length, then JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from huggingface_hub import get_token, hf_hub_url

from models.errors import DownloadError
from models.hub import TIMEOUT, Download, described
from models.published import LIBRARIES, SHOWN, Finding, PublishedFiles, class_of, config_differences, shapes_of
from models.spec import PictureModelSpec, SpecBase

SMALL_BYTES = 8_000_000
"""The largest JSON file or header that is read."""
INDEX = "model_index.json"


def check_parts(
    spec: SpecBase, wanted: tuple[Download, ...], published: Mapping[str, PublishedFiles]
) -> Iterator[Finding]:
    """What speaks for and against pulling `wanted`, part by part. Raises DownloadError when the hub does not answer.

    `published`: what was seen of the repositories before, by part; what the hub says otherwise today is a problem.
    """
    for download in wanted:
        yield from _licence(spec, download)
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers=_headers()) as client:
            files = _Files(client, download)
            yield from _variant(spec, download)
            yield from _shards(files, download)
            if download.part in published:
                yield from _as_seen(files, download, published[download.part])
            if INDEX in files.names:
                yield from _components(spec, files, download)


def card_finding(spec: SpecBase, card_bytes: int | None) -> Finding:
    """Whether the model's need of memory fits a card of `card_bytes`; None: no card is here."""
    need = f"{spec.name} needs about {spec.vram_gb:g} GB of device memory"
    if not spec.vram_gb:
        return Finding("fits", f"{spec.name} needs no card")
    if card_bytes is None:
        return Finding("unknown", f"{need}, and there is no card here to compare")
    has = f"this card has {card_bytes / 1e9:.1f} GB"
    return Finding("fits" if spec.vram_gb * 1e9 <= card_bytes else "problem", f"{need}; {has}")


def disk_finding(size: int, free: int) -> Finding:
    """Whether `size` bytes fit the `free` ones of the disk."""
    text = f"the disk has {free / 1e9:.1f} GB free for {size / 1e9:.2f} GB"
    return Finding("fits" if size <= free else "problem", text)


class _Files:
    """The small files of one part, and the headers of its large ones."""

    def __init__(self, client: httpx.Client, download: Download) -> None:
        self._client = client
        self._download = download
        self.names = {file.name: file for file in download.files}

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the part. Raises DownloadError for one that is too large or no JSON."""
        return self._parsed(name, self._bytes(name, 0, min(self.names[name].size, SMALL_BYTES)))

    def tensors(self, name: str) -> dict[str, tuple[int, ...]]:
        """Shapes by name of a safetensors file, from its header alone."""
        length = int.from_bytes(self._bytes(name, 0, 8), "little")
        if length > SMALL_BYTES:
            raise DownloadError(f"{name!r} declares a header of {length} bytes: it is no safetensors file")
        header = self._parsed(name, self._bytes(name, 8, length))
        return {key: tuple(value["shape"]) for key, value in header.items() if key != "__metadata__"}

    def _bytes(self, name: str, start: int, count: int) -> bytes:
        url = hf_hub_url(self._download.repository, name, revision=self._download.commit)
        asked = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        try:
            with self._client.stream("GET", url, headers=asked) as answer:
                answer.raise_for_status()
                data = b""
                for chunk in answer.iter_raw():
                    data += chunk
                    if len(data) >= count:
                        break
        except (httpx.HTTPError, OSError) as error:
            raise DownloadError(
                f"the hub did not give {name!r} ({error or type(error).__name__}): try again"
            ) from error
        return data[:count]

    @staticmethod
    def _parsed(name: str, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError as error:
            raise DownloadError(f"{name!r} cannot be read as JSON: distrust this repository") from error
        if not isinstance(found, dict):
            raise DownloadError(f"{name!r} holds no JSON object: distrust this repository")
        return found


def _headers() -> dict[str, str]:
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _licence(spec: SpecBase, download: Download) -> Iterator[Finding]:
    info = described(download.repository, download.commit)
    said = getattr(info.card_data, "license", None) if info.card_data else None
    if said is None:
        yield Finding(
            "unknown", f"{download.repository}: its page names no licence; the description says {spec.licence}"
        )
    else:
        yield Finding("fits", f"{download.repository}: its page says {said!r}; the description says {spec.licence}")
    if info.gated and get_token() is None:
        yield Finding(
            "problem",
            f"{download.repository} is gated: accept its terms on its page, then set HF_TOKEN to a token of yours",
        )


def _variant(spec: SpecBase, download: Download) -> Iterator[Finding]:
    infix = spec.parts()[download.part].variant
    if infix is None:
        return
    has = any(f".{infix}." in file.name for file in download.files)
    text = f"{download.part}: files of the variant {infix!r} are {'there' if has else 'missing'}"
    yield Finding("fits" if has else "problem", text)


def _shards(files: _Files, download: Download) -> Iterator[Finding]:
    """Every shard that an index names is among the files to pull."""
    for name in files.names:
        if not name.endswith(".safetensors.index.json"):
            continue
        folder = name.rpartition("/")[0]
        named = {f"{folder}/{shard}".lstrip("/") for shard in files.json(name)["weight_map"].values()}
        missing = sorted(named - set(files.names))
        if missing:
            yield Finding("problem", f"{download.part}: {name} names {missing[0]!r}, which would not be pulled")
        else:
            yield Finding("fits", f"{download.part}: all {len(named)} shards of {name} are there")


def _as_seen(files: _Files, download: Download, published: PublishedFiles) -> Iterator[Finding]:
    """Whether the hub's configurations are those that this version was compared with."""
    for folder, component in published.components.items():
        name = "config.json" if folder == "." else f"{folder}/config.json"
        if name not in files.names:
            continue
        where = download.part if folder == "." else f"{download.part}/{folder}"
        if differences := config_differences(component, files.json(name)):
            yield Finding("problem", f"{where}: not what was seen of it before: {', '.join(differences[:SHOWN])}")
        else:
            yield Finding("fits", f"{where}: its configuration is the one that was seen before")


def _components(spec: SpecBase, files: _Files, download: Download) -> Iterator[Finding]:
    """Classes of a diffusers folder, and the tensors of those components whose class is one of diffusers'."""
    index = files.json(INDEX)
    for component, value in sorted(index.items()):
        if component.startswith("_") or not isinstance(value, list) or value[1] is None:
            continue
        library, name = value
        if not any(file.startswith(f"{component}/") for file in files.names):
            continue  # left out on purpose, such as a safety checker
        kind = class_of(f"{library}.{name}") if library in LIBRARIES else None
        if kind is None:
            yield Finding("problem", f"{download.part}/{component}: this version has no class {name!r} of {library!r}")
        elif library == "diffusers" and f"{component}/config.json" in files.names:
            yield _tensors(spec, files, component, kind)
        else:
            yield Finding("fits", f"{download.part}/{component}: class {name} is there")


def _tensors(spec: SpecBase, files: _Files, component: str, kind: Any) -> Finding:
    """Whether the names and shapes of a component's files are those of its class, built without memory."""
    infix = spec.parts()["main"].variant if isinstance(spec, PictureModelSpec) and "main" in spec.weights else None
    weights = [
        name
        for name in files.names
        if name.startswith(f"{component}/") and name.endswith(".safetensors") and (infix is None or f".{infix}" in name)
    ]
    stored: dict[str, tuple[int, ...]] = {}
    for name in weights:
        stored |= files.tensors(name)
    config = files.json(f"{component}/config.json")
    return compared(component, shapes_of(kind, config), stored)


def compared(component: str, expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]]) -> Finding:
    """One finding on the names and shapes of a component: `expected` by its class, `stored` in its files."""
    missing = sorted(expected.keys() - stored.keys())
    wrong = sorted(name for name in expected.keys() & stored.keys() if expected[name] != stored[name])
    if missing:
        return Finding("problem", f"{component}: {len(missing)} tensors are missing, such as {missing[:SHOWN]}")
    if wrong:
        name = wrong[0]
        return Finding(
            "problem",
            f"{component}: {len(wrong)} tensors have another shape: {name} is {stored[name]}, not {expected[name]}",
        )
    return Finding("fits", f"{component}: all {len(expected)} tensors have the names and shapes of the class")
