"""`admint plan` reckons from descriptions: what lies on which card, and what an ad costs where steps were measured."""

import pytest

from configs.settings import load_profile
from pipelines.errors import BadInput
from serving.cli.plan import Resident, costs, residents_of, verdict


@pytest.mark.parametrize(
    ("name", "card_gb"), [("gpu-24gb", 25.7), ("gpu-24gb-int8", 25.7), ("gpu-80gb", 85.9), ("cluster", 85.9)]
)
def test_every_shipped_profile_fits_the_card_that_it_is_for(name, card_gb):
    assert verdict(residents_of(load_profile(name), card_gb), card_gb).startswith("fits: ")


@pytest.mark.parametrize("name", ["gpu-24gb", "gpu-24gb-int8"])
def test_a_smaller_profile_takes_no_more_than_one_card_in_all(name):
    shares = [each.share for each in residents_of(load_profile(name), 25.7)]
    assert 0 < round(sum(shares), 4) <= 1


def test_the_embedded_profile_needs_no_card():
    assert verdict(residents_of(load_profile("sketch"), 24), 24) == "no card is needed"


def test_a_chat_model_on_another_server_takes_nothing_of_the_card(monkeypatch):
    monkeypatch.setenv("ADMINT_CHAT_URL", "http://10.0.0.7:8001/v1")
    chat, *_ = residents_of(load_profile("gpu-24gb"), 25.7)
    assert (chat.share, chat.gigabytes) == (0, 0)


def test_what_does_not_fit_is_said_with_the_sum():
    image, video = Resident("image", ("a",), 1, 0.5, 14.0), Resident("video", ("b",), 1, 0.5, 12.0)
    assert verdict((image, video), 24).startswith("does not fit: 27.0 of 24 GB on the shared card")
    assert (
        verdict((Resident("video", ("b",), 1, 1, 50.0),), 24) == "does not fit: video needs 50.0 GB of a card of 24 GB"
    )


def test_an_ad_costs_its_steps_times_what_a_step_was_measured_to_take():
    title, stills, clips = costs(load_profile("gpu-80gb"), "master", 15, "9:16")
    assert title == "an ad of 15 s, 9:16, recipe master: 4 scenes"
    assert "7 s on NVIDIA H200 (120 full steps" in stills  # 4 pictures of 30 steps of 0.0587 s
    assert "unknown (no step of it was measured); 120 full steps" in clips  # 4 clips of 40 steps, 3.75 s of 5.06 s each


def test_a_ratio_that_is_none_is_refused():
    with pytest.raises(BadInput, match=r"--aspect-ratio '4:3': choose one of 1:1, 9:16, 16:9"):
        costs(load_profile("sketch"), "master", 15, "4:3")
