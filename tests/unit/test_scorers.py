"""The scorer lane: which backbones a profile has, which of them are loaded, and what is told of one that cannot be."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from configs.settings import load_profile
from models.errors import WeightsError
from models.interfaces import Unwatched
from models.spec import ScorerModelSpec
from pipelines.media import encode_clip, stream_clip
from pipelines.runtime.lanes import Scorers
from pipelines.scoring import ScoreRequest, backbones_of


class Grey:
    """A backbone that sees every picture alike."""

    name, weights_sha256, licence, fidelity = "grey", "0" * 64, "MIT", "proxy"
    dtype, device, window, batch, min_side = "float32", "cpu", 1, 16, 1

    def features(self, batch):
        return np.tile(np.array([1, 0], np.float32), (len(batch), 1))

    def text(self, text):
        return np.array([1, 0], np.float32), False


class Loader:
    def __init__(self, broken=()):
        self.broken, self.loaded = broken, []

    def scorer(self, spec):
        self.loaded.append(spec.name)
        if spec.name in self.broken:
            raise WeightsError(f"the weights of {spec.name} are not here")
        return Grey()


MODELS = {
    backbone: ScorerModelSpec(kind="scorer", name=name, family="clip", licence="MIT", vram_gb=0)
    for backbone, name in (("clip", "a-clip"), ("dino_vitb16", "a-dino"))
}


@pytest.fixture(scope="module")
def clip():
    return encode_clip(np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), 8)


def measured(loader, clip, *names, models=MODELS, **fields):
    request = ScoreRequest(data=clip, dimensions=names, prompt="grey", **fields)
    with closing(Scorers(loader, models)) as scorers:
        return [*scorers.measured(request, Unwatched()), *scorers.measured(request, Unwatched())][: len(names)]


def test_only_the_backbones_that_are_needed_are_loaded_and_once(clip):
    loader = Loader()
    flicker, alignment = measured(loader, clip, "temporal_flickering", "text_alignment")
    assert loader.loaded == ["a-clip"]
    assert flicker.raw is not None and alignment.raw == pytest.approx(1.0)
    measured(quiet := Loader(), clip, "temporal_flickering")
    assert quiet.loaded == []


def test_weights_that_are_not_here_are_the_reason_of_what_needs_them_and_of_nothing_else(clip):
    flicker, alignment = measured(Loader(broken=("a-clip",)), clip, "temporal_flickering", "text_alignment")
    assert flicker.raw is not None
    assert alignment.reason == "the weights of a-clip are not here"


def test_a_backbone_that_the_profile_does_not_name_is_the_reason(clip):
    (alignment,) = measured(Loader(), clip, "text_alignment", models={})
    assert "name one as `scorer` in the profile" in alignment.reason


def test_a_profile_names_its_clip_as_scorer_and_the_others_by_backbone():
    profile = load_profile("sketch")
    assert profile.backbones()["clip"] == "sketch-clip"
    more = profile.model_copy(update={"scorers": {"dino_vitb16": "dino-vitb16"}})
    assert more.backbones() == {"clip": "sketch-clip", "dino_vitb16": "dino-vitb16"}
    none = profile.model_copy(update={"scorer": None, "scorers": {}})
    assert none.backbones() == {}


def test_the_backbones_of_dimensions_are_named_once():
    assert backbones_of(["text_alignment", "temporal_flickering", "clip_consistency"]) == ("clip",)


def test_the_series_is_told_only_where_it_is_asked_for(clip):
    (without,) = measured(Loader(), clip, "temporal_flickering")
    (told,) = measured(Loader(), clip, "temporal_flickering", series=True)
    assert without.series is None and told.series is not None
    assert told.series.seconds == (0.125, 0.25, 0.375, 0.5)
    assert told.model_copy(update={"series": None}) == without


def test_a_file_is_decoded_once_for_all_dimensions_and_its_hash_is_in_the_scores(clip, monkeypatch):
    decoded = []

    def counted(data):
        decoded.append(data)
        return stream_clip(data)

    monkeypatch.setattr("pipelines.scoring.stream_clip", counted)
    scores = measured(Loader(), clip, "temporal_flickering", "flow_smoothness", "clip_consistency", "text_alignment")
    assert len(decoded) == 2, "one pass for each of the two calls"
    assert {len(score.source_sha256 or "") for score in scores} == {64}
