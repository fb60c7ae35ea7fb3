"""The dashboard of `docs/grafana.json` shows metrics that a server exports, and all of them."""

import json
import re
from pathlib import Path

import pytest

from serving.backends.interface import ModelCounters
from serving.gateway.metrics import HttpMetrics

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
NAME = re.compile(r"\badmint_[a-z_]+")


@pytest.fixture(scope="module")
def exported():
    """The names of all samples of a scrape, of a server that has answered one request."""
    metrics = HttpMetrics()
    metrics.requests.labels("GET", "/", "200").inc()
    metrics.seconds.labels("GET", "/").observe(0.1)
    text = metrics.text({"filmer": ModelCounters()}, 1).decode()
    samples = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    return {name for name in samples if not name.endswith("_created")}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_that_are_exported(query, exported):
    assert set(NAME.findall(query)) <= exported
    assert NAME.search(query)


def test_every_metric_is_shown(exported):
    shown = {name for query in QUERIES for name in NAME.findall(query)}
    parts = ("admint_http_request_seconds_count", "admint_http_request_seconds_sum")
    assert exported - set(parts) <= shown


def test_panels_lie_side_by_side_and_have_ids_of_their_own():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
