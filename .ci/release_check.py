"""`make release-check`: build the wheel in a temporary folder and check what is in it. Exit code 1 names what is wrong.

The wheel is built from a copy of the files that git knows, so that leftovers of earlier builds are never in it.
`--keep FOLDER` leaves the wheel there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata

ROOT = Path(__file__).parents[1]
SHIPPED = ("admint-stubs", "configs", "models", "pipelines", "quality", "serving")
NOT_SHIPPED = re.compile(r"models/sketch/train(ing)?/|.*\.md$")
LICENCES = ("LICENSE", "models/sketch/weights/LICENSE")


def known_files() -> list[PurePosixPath]:
    """The files of the checkout that git follows or would follow, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [PurePosixPath(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def build(folder: Path) -> Path:
    """The wheel, made in `folder`, which must be empty. No package index is asked."""
    with tempfile.TemporaryDirectory(prefix="admint-release-") as temporary:
        for name in known_files():
            copy = Path(temporary) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy, follow_symlinks=False)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index"]
        subprocess.run([*pip, "--no-build-isolation", "--no-deps", "--wheel-dir", folder, temporary], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def problems_of_files(names: set[str]) -> Iterator[str]:
    """What should be in the wheel and is not, or the other way round."""
    expected = {str(name) for name in known_files() if name.parts[0] in SHIPPED and not NOT_SHIPPED.match(str(name))}
    expected.add("admint.py")
    found = {name for name in names if ".dist-info/" not in name}
    yield from (f"the wheel lacks {name}" for name in sorted(expected - found))
    yield from (f"the wheel should not hold {name}" for name in sorted(found - expected))


def problems_of_metadata(text: bytes, names: set[str], version: str) -> Iterator[str]:
    """Raises ExceptionGroup for metadata that is not valid."""
    metadata = Metadata.from_email(text, validate=True)
    if str(metadata.version) != version:
        yield f"the metadata's version is {metadata.version}, admint.__version__ is {version}"
    if metadata.license_expression != "Apache-2.0":
        yield f"the licence expression is {metadata.license_expression!r}"
    for licence in LICENCES:
        if licence not in (metadata.license_files or []) or not any(
            name.endswith(f"licenses/{licence}") for name in names
        ):
            yield f"the licence file {licence} is not in the wheel's metadata"
    for field in ("summary", "author", "keywords", "classifiers", "requires_python", "description"):
        if not getattr(metadata, field):
            yield f"the metadata has no {field}"
    if metadata.description_content_type != "text/markdown":
        yield f"the description is {metadata.description_content_type!r}, not Markdown"


def source_version() -> str:
    """As admint.py says it, without importing it."""
    found = re.search(r'^__version__ = "([^"]+)"$', (ROOT / "admint.py").read_text(), re.MULTILINE)
    assert found is not None, "admint.py has no line __version__"  # noqa: S101
    return found[1]


def problems_of_changelog(version: str) -> Iterator[str]:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if newest is None or newest[1] != version:
        yield f"the newest entry of CHANGELOG.md is {newest and newest[1]!r}, the version is {version!r}"


def check(wheel: Path) -> list[str]:
    """All that is wrong with `wheel`, one line each."""
    version = source_version()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata)
    return [
        *problems_of_files(names),
        *problems_of_metadata(text, names, version),
        *problems_of_changelog(version),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the wheel in this folder")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="admint-wheel-") as temporary:
        wheel = build(Path(temporary))
        problems = check(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size / 1_000_000:.1f} MB")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, keep)
    for problem in problems:
        print(f"release-check: {problem}", file=sys.stderr)
    if problems:
        raise SystemExit(1)
    print("metadata, contents, licences and changelog are as they should be")


if __name__ == "__main__":
    main()
