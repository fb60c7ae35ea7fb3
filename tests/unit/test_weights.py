"""Model folders: whole, unaltered, from where the description says, and honest about what is untrained."""

import json
import os
import shutil
from collections import defaultdict

import pytest

from models import weights
from models.errors import WeightsError
from models.manifest import read_manifest, sha256_of, write_manifest
from models.spec import ChatModelSpec, ImageModelSpec, LoraSource, WeightSource
from models.weights import Library

COMMIT = "a" * 40


def spec(name="big", **parts):
    sources = {
        part: WeightSource(repository=repository, revision=revision) for part, (repository, revision) in parts.items()
    }
    return ChatModelSpec(
        kind="chat", name=name, family="llava", licence="none", vram_gb=0, vision=False, weights=sources
    )


BIG = spec(main=("owner/big", COMMIT))
SKETCH = spec("sketch", main=("embedded:sketch/llm", "0.1.0"), extra=("embedded:sketch/motion", "0.1.0"))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def folder(root):
    folder = root / "big" / "main"
    (folder / "text").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    (folder / "text" / "config.json").write_text("{}")
    write_manifest(folder, "owner/big", COMMIT)
    return folder


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PACKAGED", tmp_path / "packaged")
    return tmp_path / "packaged"


def package(packaged, name, stored=None):
    (packaged / name).mkdir(parents=True)
    (packaged / name / "model.safetensors").write_bytes(stored or name.encode())
    write_manifest(packaged / name, f"embedded:sketch/{name}", "0.1.0")


def test_a_whole_folder_is_given_by_part_name(root, folder):
    library = Library(root)
    assert library.folders(BIG) == {"main": folder}
    assert library.present(BIG)
    assert library.untrained_parts(BIG) == ()


def test_a_missing_model_names_the_command_that_brings_it(root):
    assert not Library(root).present(BIG)
    with pytest.raises(WeightsError, match=r"no weights in .*; run: admint models pull big"):
        Library(root).folders(BIG)


def test_a_missing_file_is_named(root, folder):
    (folder / "text" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"'text/config.json' is missing.*admint models pull big"):
        Library(root).folders(BIG)


def test_a_file_that_no_manifest_lists_is_refused(root, folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"'adapter_config.json' in .* is not in its manifest"):
        Library(root).folders(BIG)


def test_a_truncated_file_is_refused_with_both_sizes(root, folder):
    (folder / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(WeightsError, match=r"has 7 bytes, not 700"):
        Library(root).folders(BIG)


def alter(path):
    """Change the content, keep size and modification time."""
    status = path.stat()
    path.write_bytes(b"WEIGHTS" * 100)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("check", ["folders", "verify"])
def test_a_file_altered_after_a_check_is_caught_even_with_its_old_time_set_back(root, folder, check):
    Library(root).folders(BIG)
    alter(folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"'model.safetensors' .* was altered"):
        getattr(Library(root), check)(BIG)


def test_hashes_are_computed_once_and_again_only_by_verify(root, folder, monkeypatch):
    hashed = []
    original = sha256_of

    def counting(path):
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(weights, "sha256_of", counting)
    Library(root).folders(BIG)
    assert len(hashed) == 2
    Library(root).folders(BIG)
    assert len(hashed) == 2
    Library(root).verify(BIG)
    assert len(hashed) == 4


def test_a_library_that_cannot_be_written_is_still_read(root, folder):
    (root / ".verified").write_text("a file where a folder is needed")
    assert Library(root).folders(BIG) == {"main": folder}


def test_another_revision_than_the_description_pins_is_refused(root, folder):
    with pytest.raises(WeightsError, match=f"holds 'owner/big at {COMMIT}', not 'owner/big at b+'"):
        Library(root).folders(spec(main=("owner/big", "b" * 40)))


def test_an_unpinned_description_takes_whatever_commit_was_pulled(root, folder):
    assert Library(root).folders(spec(main=("owner/big", "unpinned"))) == {"main": folder}


@pytest.mark.parametrize("text", ["", "{}", '{"repository": 1}'])
def test_a_broken_manifest_is_named(root, folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest .*manifest.json' cannot be read"):
        Library(root).folders(BIG)


def test_the_manifest_lists_size_and_hash_of_every_file(folder):
    manifest = read_manifest(folder)
    assert sorted(manifest.files) == ["model.safetensors", "text/config.json"]
    assert manifest.files["model.safetensors"].size == 700
    assert manifest.revision == COMMIT
    assert json.loads((folder / "manifest.json").read_text())["repository"] == "owner/big"


def test_the_fingerprint_follows_the_content(root, folder):
    first = Library(root).fingerprint(BIG)
    assert first == Library(root).fingerprint(BIG)
    (folder / "model.safetensors").write_bytes(b"other")
    write_manifest(folder, "owner/big", COMMIT)
    assert Library(root).fingerprint(BIG) != first


def test_the_fingerprint_of_a_remote_model_follows_its_address(root):
    near, far = (
        spec("remote").model_copy(update={"base_url": url, "remote_model": "m"}) for url in ("http://a", "http://b")
    )
    assert Library(root).fingerprint(near) != Library(root).fingerprint(far)
    assert Library(root).folders(near) == {}


def test_without_packaged_weights_untrained_ones_are_built_once_and_named(root, packaged):
    library = Library(root)
    assert library.untrained_parts(SKETCH) == ("main", "extra")
    folders = library.folders(SKETCH)
    assert (folders["main"] / "model.safetensors").exists()
    assert "sketch-untrained" in folders["main"].parts
    before = (folders["main"] / "model.safetensors").stat().st_mtime_ns
    assert Library(root).folders(SKETCH) == folders
    assert (folders["main"] / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in folders["main"].parent.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_untrained_folder_says_what_to_delete(root, packaged):
    folder = Library(root).folders(SKETCH)["main"]
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"delete '.*llm', it is made again"):
        Library(root).folders(SKETCH)
    shutil.rmtree(folder)
    assert Library(root).folders(SKETCH)["main"] == folder


def test_an_unwritable_library_cannot_build_and_says_so(root, packaged):
    root.parent.mkdir(exist_ok=True)
    root.write_text("a file where a folder is needed")
    with pytest.raises(WeightsError, match=r"cannot make 'llm'.*writable"):
        Library(root).folders(SKETCH)


def test_packaged_weights_are_used_when_every_part_of_the_model_is_packaged(root, packaged):
    package(packaged, "llm")
    assert Library(root).untrained_parts(SKETCH) == ("main", "extra")
    package(packaged, "motion")
    library = Library(root)
    assert library.untrained_parts(SKETCH) == ()
    assert library.folders(SKETCH) == {"main": packaged / "llm", "extra": packaged / "motion"}


def test_damaged_packaged_weights_ask_for_a_new_installation(root, packaged):
    package(packaged, "llm")
    package(packaged, "motion")
    (packaged / "motion" / "model.safetensors").write_bytes(b"MOTION")
    with pytest.raises(WeightsError, match=r"altered.*install the project again"):
        Library(root).verify(SKETCH)


def test_loras_lie_beside_the_other_parts_and_are_checked_alike(root):
    source = LoraSource(repository="owner/neon", revision=COMMIT)
    picture = ImageModelSpec(
        kind="image", name="big", family="stable-diffusion", licence="none", vram_gb=0, sizes={}, references=0,
        num_inference_steps=1, guidance_scale=1, loras={"neon": source},
    )  # fmt: skip
    library, folder = Library(root), root / "big" / "lora-neon"
    assert not library.present(picture)
    with pytest.raises(WeightsError, match=r"lora-neon.*admint models pull big"):
        library.folders(picture)
    folder.mkdir(parents=True)
    (folder / "neon.safetensors").write_bytes(b"neon")
    write_manifest(folder, "owner/neon", COMMIT)
    assert library.present(picture)
    assert library.folders(picture) == {"lora-neon": folder}
    before = library.fingerprint(picture)
    (folder / "neon.safetensors").write_bytes(b"noon")
    write_manifest(folder, "owner/neon", COMMIT)
    assert library.fingerprint(picture) != before


def test_files_that_another_model_stores_are_put_together_at_first_use(root, packaged):
    package(packaged, "llm")
    shared = {"model.safetensors": {"kind": "copy", "source": "llm/model.safetensors"}}
    package(packaged, "motion", stored=b"llm")
    (packaged / "motion" / "model.safetensors").unlink()
    (packaged / "motion" / "assembly.json").write_text(json.dumps(shared))
    folder = Library(root).folders(SKETCH)["extra"]
    assert folder.is_relative_to(root)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"llm"
    assert Library(root).folders(SKETCH)["extra"] == folder
    (folder / "model.safetensors").write_bytes(b"xyz")
    with pytest.raises(WeightsError, match=r"delete '.*motion', it is made again"):
        Library(root).verify(SKETCH)


@pytest.mark.parametrize(
    "stored", sorted(path.parent for path in weights.PACKAGED.glob("*/manifest.json")), ids=lambda path: path.name
)
def test_every_packaged_model_is_complete_and_is_what_its_manifest_says(root, stored):
    folder = weights.packaged_model(stored.name, root)
    manifest = read_manifest(stored)
    assert {name: sha256_of(folder / name) for name in manifest.files} == {
        name: entry.sha256 for name, entry in manifest.files.items()
    }


def test_no_packaged_file_is_stored_twice():
    by_hash = defaultdict(list)
    for path in weights.PACKAGED.rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            by_hash[sha256_of(path)].append(path.relative_to(weights.PACKAGED).as_posix())
    assert by_hash, "no weights are packaged"
    assert not [paths for paths in by_hash.values() if len(paths) > 1]
