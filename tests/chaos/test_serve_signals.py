"""`admint serve` told to end in the middle of an ad, as systemd, Docker and Kubernetes do it."""

import signal
import sqlite3
from contextlib import closing

import httpx
import pytest

from tests.support.serve_command import start_server
from tests.support.waiting import until

ORDER = {"recipe": "express", "brief": {"prompt": "a steel water bottle", "duration": 9, "num_scenes": 2, "seed": 1}}


def row(home, generation_id):
    """Status and lease of a generation, read past the server."""
    with closing(sqlite3.connect(home / "server" / "store.sqlite")) as store:
        found = store.execute("select status, lease_owner from generations where id = ?", (generation_id,))
        return found.fetchone()


@pytest.fixture
def client():
    with httpx.Client(timeout=60) as client:
        yield client


def detail(client, server, generation_id):
    asked = client.get(f"{server.url}/api/v1/generations/{generation_id}", headers=server.headers)
    assert asked.status_code == 200, asked.text
    return asked.json()


def test_sigterm_in_the_middle_of_an_ad_hands_it_back_and_the_next_start_completes_it(tmp_path, client, monkeypatch):
    server = start_server(tmp_path)
    try:
        made = client.post(f"{server.url}/api/v1/generations", json=ORDER, headers=server.headers)
        assert made.status_code in (200, 201, 202), made.text
        generation_id = made.json()["id"]
        until(lambda: detail(client, server, generation_id)["progress"] > 0, lambda: "an ad that has begun")
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == 0, server.program.said
    assert "stopping: running generations wait in the store" in server.program.said
    assert "Traceback" not in server.program.said
    assert f"generation {generation_id} started" in server.program.said
    assert f"generation {generation_id} interrupted" in server.program.said
    assert row(tmp_path, generation_id) == ("pending", None)

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of somebody else's cluster: a server of one machine ignores it
    again = start_server(tmp_path)
    try:
        until(lambda: detail(client, again, generation_id)["status"] == "completed", lambda: again.program.said)
        assert f"generation {generation_id} completed: the ad is finished" in again.program.said
    finally:
        code = again.stop(signal.SIGTERM)
    assert code == 0, again.program.said
