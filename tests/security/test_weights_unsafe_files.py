"""A model folder can hold nothing that runs code or reaches out of it."""

import pytest

from models.errors import WeightsError
from models.manifest import write_manifest
from models.spec import ChatModelSpec, WeightSource
from models.weights import Library

COMMIT = "a" * 40
SPEC = ChatModelSpec(
    kind="chat",
    name="big",
    family="llava",
    licence="none",
    vram_gb=0,
    vision=False,
    weights={"main": WeightSource(repository="owner/big", revision=COMMIT)},
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "models" / "big" / "main"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_bytes(b"weights")
    write_manifest(folder, "owner/big", COMMIT)
    return folder


@pytest.mark.parametrize(
    "name",
    ["modeling.py", "pytorch_model.bin", "a.pt", "a.ckpt", "a.pkl", "a.pth", "A.PKL", "a.msgpack", "a.h5", "a.so"],
)
@pytest.mark.parametrize("place", ["", "unet"])
def test_a_file_that_could_run_code_is_refused_wherever_it_lies(tmp_path, folder, name, place):
    (folder / place / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"could run code.*safetensors"):
        Library(tmp_path / "models").folders(SPEC)


def test_such_a_file_cannot_be_written_into_a_manifest_either(folder):
    (folder / "modeling.py").write_text("print(1)")
    with pytest.raises(WeightsError, match=r"'modeling.py' .* could run code"):
        write_manifest(folder, "owner/big", COMMIT)


@pytest.mark.parametrize("to_folder", [False, True])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path, folder, to_folder):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(outside if to_folder else outside / "secret.json")
    with pytest.raises(WeightsError, match=r"'link.json' .* leaves the folder"):
        Library(tmp_path / "models").folders(SPEC)


def test_a_listed_file_replaced_by_a_link_is_refused(tmp_path, folder):
    outside = tmp_path / "other.safetensors"
    outside.write_bytes(b"weights")
    (folder / "unet" / "model.safetensors").unlink()
    (folder / "unet" / "model.safetensors").symlink_to(outside)
    with pytest.raises(WeightsError, match=r"leaves the folder"):
        Library(tmp_path / "models").folders(SPEC)
