"""The page of a sweep in a browser: a thousand runs, nothing from elsewhere, and keys that do what a mouse does."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from pipelines.lab.analysis import analyse, questions_of
from pipelines.lab.report import Shown, render, strip
from pipelines.lab.runs import Run, Runs, RunScore

MOST_BYTES = 25_000_000
BASE = (0.6, 0.25)
LEVELS = sorted(product((0.0, 0.3, 0.6, 1.0), (0.0, 0.25, 0.75)), key=lambda levels: levels != BASE)
ARMS = {"base" if levels == BASE else f"scale={levels[0]:g}, blend={levels[1]:g}": levels for levels in LEVELS}
STORIES = 84
EVIL = "</script><img src=x onerror=alert(1)>"


def noise(seed):
    """A picture that compresses as badly as any."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (128, 128, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def page_of_a_thousand(tmp_path_factory):
    rng = np.random.default_rng(0)
    strips = [strip([noise(4 * k + place) for place in range(4)]) for k in range(8)]
    runs: list[Run] = []
    for story in range(STORIES):
        for arm, (scale, blend) in ARMS.items():
            likeness, alignment = 0.5 + 0.3 * scale + rng.normal(0, 0.05), 0.3 - 0.05 * scale + rng.normal(0, 0.01)
            runs.append(
                Run(
                    run_id=f"{len(runs):06x}",
                    arm=arm,
                    story=f"story-{story}",
                    seed=1,
                    settings={"adapter_scale": scale, "blend": blend},
                    scores={
                        "likeness": RunScore(value=likeness, impl_id="likeness@1", label="toy"),
                        "alignment": RunScore(value=alignment, impl_id="alignment@1", label="toy"),
                    },
                    seconds={"storyboard": 1.0 + scale},
                )
            )
    runs[-1] = runs[-1].model_copy(update={"failed": EVIL, "scores": {}, "seconds": {}})
    found = Runs(runs)
    answers = analyse(found, questions_of(found, "base", "likeness", {"alignment": -0.02}))
    shown = {
        run.run_id: Shown(strips[k % 8], (), f"admint sweep s.yaml --run {run.run_id}") for k, run in enumerate(runs)
    }
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(f"A thousand runs {EVIL}", found, answers, shown))
    return path


@pytest.fixture
def opened(chromium, page_of_a_thousand):
    """The page, opened; it fails the test when it asked for anything or a script of it failed."""
    page, wrong = chromium.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.on("dialog", lambda dialog: wrong.append("a dialog"))
    page.goto(page_of_a_thousand.as_uri())
    page.wait_for_selector("html[data-ready=true]")
    yield page
    assert wrong == []
    page.close()


def test_a_thousand_runs_are_one_file_of_a_size_that_can_be_sent(page_of_a_thousand):
    assert len(ARMS) * STORIES >= 1000
    assert page_of_a_thousand.stat().st_size <= MOST_BYTES


def test_the_sentences_stand_first_and_the_figures_are_drawn(opened):
    assert opened.locator("section.question li").count() == len(ARMS) - 1
    assert opened.locator("#forest-plot g[role=listitem]").count() == len(ARMS) - 1
    assert opened.locator("#pareto-plot g[role=listitem]").count() == len(ARMS)
    assert opened.locator("#marginal-plots svg").count() >= 2
    assert opened.locator("#picture-grid tbody tr").count() == STORIES
    assert opened.locator("#run-table tbody tr").count() == 25
    assert "1008 runs" in opened.locator(".facts").inner_text()


def test_another_outcome_redraws_the_differences(opened):
    before = opened.locator("#forest-plot").inner_html()
    opened.select_option("#outcome", "alignment")
    assert opened.locator("#forest-plot").inner_html() != before
    assert "alignment" in opened.locator("#forest-plot svg").get_attribute("aria-label")


def test_a_picture_opens_and_closes_by_keys_and_says_how_to_make_it_again(opened):
    opened.locator("#picture-grid button").first.focus()
    opened.keyboard.press("Enter")
    assert "admint sweep s.yaml --run 000000" in opened.locator("dialog").inner_text()
    opened.keyboard.press("Escape")
    assert not opened.locator("dialog").is_visible()


def test_every_point_can_be_reached_and_says_what_it_is(opened):
    point = opened.locator("#pareto-plot g[role=listitem]").first
    point.focus()
    label = opened.evaluate("document.activeElement.getAttribute('aria-label')")
    assert "likeness" in label
    assert "front" in label or "dominated by" in label
    unnamed = (
        "[...document.querySelectorAll('select, input, button')].filter(e => !e.labels?.length && !e.textContent.trim()"
    )
    assert opened.evaluate(unnamed + " && !e.getAttribute('aria-label')).length") == 0


def test_two_settings_span_a_grid_for_one_story(opened):
    opened.select_option("#columns", "adapter_scale")
    opened.select_option("#rows", "blend")
    assert opened.locator("#picture-grid tbody tr").count() == 3
    assert opened.locator("#picture-grid thead th").count() == 1 + 4
    assert opened.locator("#picture-grid img").count() == 12


def test_runs_are_filtered_and_a_failed_one_says_why(opened):
    opened.fill("#filter", f"story-{STORIES - 1}")
    assert opened.locator("#counted").inner_text() == f"{len(ARMS)} of {len(ARMS)} runs"
    assert EVIL in opened.locator("#run-table").inner_text()
