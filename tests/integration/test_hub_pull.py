"""`admint models pull` against a small local server that speaks the hub's API, reached through HF_ENDPOINT.

Each pull runs in a process of its own, because huggingface_hub reads HF_ENDPOINT when it is imported.
"""

import json
import os
import subprocess
import sys

import pytest

from models.manifest import write_manifest
from tests.support.small_hub import COMMIT, small_hub

SCRIPT = """
import json, sys
from pathlib import Path
from models import hub
from models.errors import ModelError
from models.spec import ChatModelSpec, WeightSource
from models.weights import Library

hub.PAUSE_SECONDS = 0.01
root, revision, (pins, patterns, converted) = sys.argv[1], sys.argv[2], map(json.loads, sys.argv[3:])
source = WeightSource(repository="owner/big", revision=revision, **({"allow_patterns": patterns} if patterns else {}))
others = {part: WeightSource(repository=f"converted:{kind}", revision="unpinned") for part, kind in converted.items()}
spec = ChatModelSpec(
    kind="chat", name="big", family="llava", licence="none", vram_gb=0, vision=False, weights={"main": source} | others
)
seen = []
try:
    library = Library(Path(root))
    hub.pull(spec, library, hub.downloads(spec, library, pins), lambda *step: seen.append(step))
except ModelError as error:
    print(f"{type(error).__name__}: {error}")
    raise SystemExit(2)
print(json.dumps(seen))
"""


@pytest.fixture
def hub():
    with small_hub() as server:
        yield server


@pytest.fixture
def pull(hub, tmp_path):
    def run(revision=COMMIT, pins=None, patterns=(), converted=None, **environment):
        endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hf")}
        arguments = [str(tmp_path / "models"), revision, *map(json.dumps, (pins or {}, patterns, converted or {}))]
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, *arguments],
            env={**os.environ, **endpoint, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def folder(tmp_path):
    return tmp_path / "models" / "big" / "main"


def test_a_pull_brings_the_wanted_files_their_manifest_and_reports_every_byte(hub, pull, tmp_path):
    done = pull()
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((folder(tmp_path) / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT
    assert sorted(manifest["files"]) == ["config.json", "text/model.safetensors"]
    assert (folder(tmp_path) / "text/model.safetensors").read_bytes() == hub.files["text/model.safetensors"]
    total = sum(len(hub.files[name]) for name in manifest["files"])
    assert json.loads(done.stdout)[-1][1:] == [total, total]


def test_a_second_pull_downloads_nothing(hub, pull):
    pull()
    hub.gets.clear()
    assert pull().returncode == 0
    assert hub.gets == []


def test_the_tokenizer_of_weights_that_were_converted_comes_from_the_hub(pull, tmp_path):
    refused = pull(converted={"other": "clip-b32"})
    assert refused.returncode == 2 and "they are on no hub: get ViT-B-32.pt" in refused.stdout
    assert not folder(tmp_path).exists()
    made = folder(tmp_path).with_name("other")
    made.mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"converted")
    write_manifest(made, "converted:clip-b32", "0" * 64)
    assert pull(converted={"other": "clip-b32"}).returncode == 0
    assert (folder(tmp_path) / "config.json").exists()


def test_a_broken_download_keeps_what_arrived_and_the_same_command_resumes_it(hub, pull, tmp_path):
    hub.break_after = 100_000
    broken = pull()
    assert broken.returncode == 2
    assert broken.stdout.startswith("DownloadError: download of 'text/model.safetensors' broke off 4 times")
    assert "run the same command again, what arrived is kept" in broken.stdout
    assert not folder(tmp_path).exists()
    (partial,) = (tmp_path / "models").rglob("*.part")
    arrived = partial.stat().st_size
    assert 0 < arrived <= 400_000

    hub.break_after = None
    hub.ranges.clear()
    assert pull().returncode == 0
    assert hub.ranges == [f"bytes={arrived}-"]
    assert hub.gets.count("config.json") == 1
    assert (folder(tmp_path) / "text/model.safetensors").read_bytes() == hub.files["text/model.safetensors"]
    assert not list((tmp_path / "models").rglob("*.part"))


def test_a_download_that_breaks_off_once_goes_on_by_itself(hub, pull, tmp_path):
    hub.break_after, hub.breaks = 300_000, 2
    assert pull().returncode == 0
    assert len(hub.ranges) == 1
    assert (folder(tmp_path) / "text/model.safetensors").read_bytes() == hub.files["text/model.safetensors"]


def test_a_file_that_the_hub_refuses_is_not_asked_for_again(hub, pull):
    hub.refused = "text/model.safetensors"
    done = pull()
    assert done.returncode == 2
    assert "DownloadError: download of 'text/model.safetensors' broke off" in done.stdout
    assert "403" in done.stdout
    assert hub.gets.count("text/model.safetensors") == 1


def test_a_file_with_another_hash_than_the_hub_declares_is_thrown_away(hub, pull, tmp_path):
    hub.declared["text/model.safetensors"] = "0" * 64
    done = pull()
    assert done.returncode == 2
    assert "DownloadError: 'text/model.safetensors' does not have the hash that the hub declares" in done.stdout
    assert not folder(tmp_path).exists()
    assert not list((tmp_path / "models").rglob("model.safetensors*"))


def test_a_hub_that_answers_with_another_commit_is_refused(hub, pull):
    hub.commit = "d" * 40
    done = pull()
    assert done.returncode == 2
    assert f"answered with commit '{'d' * 40}'" in done.stdout


def test_a_repository_of_pickles_is_refused_before_any_download(hub, pull):
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    done = pull()
    assert done.returncode == 2
    assert "WeightsError: 'owner/big'" in done.stdout
    assert "no safetensors file" in done.stdout
    assert hub.gets == []


@pytest.mark.parametrize("name", ["../escape.safetensors", "/etc/a.safetensors", "a/../../b.safetensors", "code.py"])
def test_a_file_name_that_escapes_or_could_run_code_is_refused(hub, pull, tmp_path, name):
    hub.files[name] = b"x"
    done = pull(patterns=["*"])
    assert done.returncode == 2
    assert f"{name!r}" in done.stdout
    assert hub.gets == []


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:12]])
def test_a_branch_tag_or_short_hash_is_refused(hub, pull, revision):
    done = pull(revision)
    assert done.returncode == 2
    assert f"revision {revision!r} of 'owner/big' is no full commit hash" in done.stdout


def test_an_unpinned_model_says_how_to_pin_it_and_the_pin_lands_in_the_manifest(hub, pull, tmp_path):
    done = pull("unpinned")
    assert done.returncode == 2
    assert "admint models pull big --revision main=COMMIT" in done.stdout
    assert pull("unpinned", {"main": COMMIT}).returncode == 0
    assert json.loads((folder(tmp_path) / "manifest.json").read_text())["revision"] == COMMIT


def test_a_description_that_names_a_further_file_brings_it(hub, pull, tmp_path):
    first = ["config.json", "text/model.safetensors"]
    assert pull(patterns=first).returncode == 0
    hub.files["adapter.safetensors"] = b"\0" * 64
    assert json.loads(pull(patterns=first).stdout) == []
    assert json.loads(pull(patterns=[*first, "adapter.safetensors"]).stdout)
    assert (folder(tmp_path) / "adapter.safetensors").exists()
    assert json.loads(pull(patterns=[*first, "adapter.safetensors"]).stdout) == []


def test_a_hub_that_is_not_there_and_an_offline_switch_are_named(hub, pull):
    gone = pull(HF_ENDPOINT="http://127.0.0.1:9")
    assert gone.returncode == 2
    assert "DownloadError: the hub does not describe 'owner/big'" in gone.stdout
    offline = pull(HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "HF_HUB_OFFLINE forbids pulling" in offline.stdout
