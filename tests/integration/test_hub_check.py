"""`admint models check` and `adopt`, against a small local hub and folders as the hub's own tools leave them."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from configs.settings import load_model
from models.adoption import adopt
from models.errors import WeightsError
from models.hub_check import card_finding, compared
from models.spec import ImageModelSpec, WeightSource
from models.weights import Library
from tests.support import tiny_models
from tests.support.small_hub import COMMIT, git_hash, small_hub

DESCRIPTION = """
kind: image
family: stable-diffusion
licence: Apache-2.0
commercial: "yes"
vram_gb: 1
sizes: {"1:1": [64, 64]}
num_inference_steps: 2
guidance_scale: 4
references: 0
weights:
  main:
    repository: owner/big
    revision: REVISION
    allow_patterns: [model_index.json, "*/*.json", "*/*.txt", "*/*.safetensors"]
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny Stable Diffusion as a hub repository holds it."""
    return tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("published"))


@pytest.fixture
def hub(published):
    with small_hub() as server:
        server.files = {
            str(path.relative_to(published)): path.read_bytes() for path in published.rglob("*") if path.is_file()
        }
        yield server


@pytest.fixture
def check(hub, tmp_path):
    def run(revision=COMMIT):
        folder = tmp_path / "own" / "models"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "big.yaml").write_text(DESCRIPTION.replace("REVISION", revision))
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hf"),
            "ADMINT_CONFIGS": str(tmp_path / "own"), "ADMINT_HOME": str(tmp_path / "home"),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "serving", "models", "check", "big"],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def test_a_check_compares_every_tensor_and_brings_no_weights(hub, check, tmp_path):
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("big: 0.00 GB to download")
    assert any("owner/big: its page says 'apache-2.0'; the description says Apache-2.0" in line for line in lines)
    for component in ("unet", "vae"):
        assert any(
            line.startswith("fits") and f"{component}: all " in line and "tensors have the names and shapes" in line
            for line in lines
        )
    assert any("text_encoder: class CLIPTextModel is there" in line for line in lines)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_tensor_of_another_shape_a_gate_and_a_missing_class_are_problems(hub, check, published):
    tensors = load_file(published / "unet" / "diffusion_pytorch_model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(3, 3)
    hub.files["unet/diffusion_pytorch_model.safetensors"] = save(tensors)
    index = hub.files["model_index.json"].decode()
    hub.files["model_index.json"] = index.replace("AutoencoderKL", "AutoencoderOfTomorrow").encode()
    hub.gated = "auto"
    done = check()
    assert done.returncode == 5, done.stdout + done.stderr
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert len(problems) == 3
    assert "gated: accept its terms" in problems[0]
    assert f"{name} is (3, 3), not" in problems[1]
    assert "no class 'AutoencoderOfTomorrow'" in problems[2]


def test_a_configuration_that_is_not_the_one_seen_before_is_a_problem(hub, check, published, tmp_path):
    config = json.loads((published / "unet" / "config.json").read_text())
    seen = {key: value for key, value in config.items() if not key.startswith("_")} | {"layers_per_block": 9}
    unet = {"kind": "diffusers.UNet2DConditionModel", "config": seen, "config_seen": "me/copy@1:unet/config.json"}
    record = {"repository": "owner/big", "revision": COMMIT, "components": {"unet": unet}}
    folder = tmp_path / "own" / "models" / "published"
    folder.mkdir(parents=True)
    (folder / "owner--big.json").write_text(json.dumps(record))
    done = check()
    assert done.returncode == 5
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    layers = config["layers_per_block"]
    assert problems == [f"problem  main/unet: not what was seen of it before: layers_per_block is {layers}, not 9"]
    assert done.stdout.startswith(
        "unknown  main/unet: diffusers.UNet2DConditionModel takes the published configuration"
    )


def test_a_check_finds_the_commit_that_a_description_leaves_open(check):
    done = check("unpinned")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"main: the description pins no commit; the newest is {COMMIT}" in done.stdout


def test_missing_tensors_are_counted_and_named():
    finding = compared("unet", {"a": (1,), "b": (2,)}, {"b": (2,)})
    assert (finding.verdict, finding.text) == ("problem", "unet: 1 tensors are missing, such as ['a']")


def test_a_model_is_compared_with_the_card_that_is_here():
    spec = load_model("stable-diffusion-xl", ImageModelSpec)
    assert card_finding(spec, 24_000_000_000).verdict == "fits"
    assert card_finding(spec, 12_000_000_000).verdict == "problem"
    assert card_finding(spec, None).verdict == "unknown"


# --- what is on this disk already -------------------------------------------------------------------------------------


def spec_of(revision=COMMIT):
    source = WeightSource(repository="owner/big", revision=revision, allow_patterns=("*.json", "*.safetensors"))
    return load_model("stable-diffusion-1.5", ImageModelSpec).model_copy(
        update={"name": "big", "weights": {"main": source}}
    )


@pytest.fixture
def snapshot(tmp_path):
    """The cache of huggingface_hub: blobs by hash, and a snapshot of links to them."""
    root = tmp_path / "hub" / "models--owner--big"
    folder = root / "snapshots" / COMMIT
    (folder / "unet").mkdir(parents=True)
    (root / "blobs").mkdir()
    weights = save({"weight": torch.ones(4)})
    for name, data in (("unet/model.safetensors", weights), ("model_index.json", b"{}"), ("README.md", b"hello")):
        large = name.endswith(".safetensors")
        blob = root / "blobs" / (hashlib.sha256(data).hexdigest() if large else git_hash(data))
        blob.write_bytes(data)
        (folder / name).symlink_to(os.path.relpath(blob, (folder / name).parent))
    return folder


def test_a_snapshot_of_the_hub_cache_is_taken_as_links_that_take_no_room(snapshot, tmp_path):
    library = Library(tmp_path / "models")
    taken = adopt(spec_of(), library, "main", snapshot)
    assert (taken.files, taken.linked) == (2, True)
    folder = library.folders(spec_of())["main"]
    adopted = folder / "unet" / "model.safetensors"
    assert adopted.samefile(snapshot / "unet" / "model.safetensors")
    assert not adopted.is_symlink()
    assert not (folder / "README.md").exists()


def test_a_downloaded_folder_is_taken_by_what_its_metadata_says(snapshot, tmp_path):
    local = tmp_path / "local"
    for name in ("unet/model.safetensors", "model_index.json"):
        data = (snapshot / name).read_bytes()
        note = local / ".cache" / "huggingface" / "download" / f"{name}.metadata"
        for path in (local / name, note):
            path.parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(data)
        known = hashlib.sha256(data).hexdigest() if name.endswith("safetensors") else git_hash(data)
        note.write_text(f"{COMMIT}\n{known}\n1700000000.0\n")
    assert adopt(spec_of(), Library(tmp_path / "models"), "main", local).files == 2


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "unet" / "model.safetensors").resolve().write_bytes(b"x" * 99), "does not have the hash"),
    (lambda folder: (folder / "unet" / "model.safetensors").unlink(), "no safetensors file"),
])  # fmt: skip
def test_an_altered_or_missing_file_leaves_nothing_behind(snapshot, tmp_path, damage, message):
    damage(snapshot)
    library = Library(tmp_path / "models")
    with pytest.raises(WeightsError, match=message):
        adopt(spec_of(), library, "main", snapshot)
    assert not list((tmp_path / "models").rglob("*.safetensors"))


def test_another_commit_a_folder_without_one_and_a_part_that_is_none_are_refused(snapshot, tmp_path):
    library = Library(tmp_path / "models")
    with pytest.raises(WeightsError, match=f"holds commit {COMMIT} of 'owner/big'.* is described with {'a' * 40}"):
        adopt(spec_of("a" * 40), library, "main", snapshot)
    with pytest.raises(WeightsError, match="no part 'other'; it has: main"):
        adopt(spec_of(), library, "other", snapshot)
    plain = tmp_path / "plain"
    plain.mkdir()
    save_file({"weight": torch.ones(4)}, plain / "model.safetensors")
    with pytest.raises(WeightsError, match=r"does not say which commit 'model\.safetensors' is of"):
        adopt(spec_of(), library, "main", plain)
