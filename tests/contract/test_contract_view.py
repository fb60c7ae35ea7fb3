"""The view `generation_contract`: the contract's Generation by SQL, with the values of the API, on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, select, text, update

from pipelines.store.engines import database_address
from pipelines.store.tables import generations
from tests.support.ad_server import BRIEF, SpeakingServer, until

COLUMNS = [
    "id", "user_id", "title", "prompt", "duration", "aspect_ratio", "status", "progress", "current_step",
    "video_path", "video_url", "thumbnail_url", "framework", "num_scenes", "generation_time_seconds", "cost",
    "error_message", "llm_specification", "scene_plan", "llm_conversation_history", "temp_clip_paths",
    "coherence_settings", "seed_value", "cancellation_requested", "model", "num_clips", "use_llm",
    "generation_group_id", "parent_generation_id", "created_at", "completed_at",
]  # fmt: skip
JSON = {"llm_specification", "scene_plan", "llm_conversation_history", "temp_clip_paths", "coherence_settings"}
FLAGS = {"use_llm", "cancellation_requested"}
TIMES = {"created_at", "completed_at"}
STORY = {"prompt": "an ad for a red mug", "title": "Mug", "duration": 9, "seed": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory, server_database_url):
    with SpeakingServer(tmp_path_factory.mktemp("view"), database_url=server_database_url) as server:
        yield server


@pytest.fixture(scope="module")
def sql(server_database_url):
    engine = create_engine(database_address(server_database_url))
    yield lambda query, **values: _rows(engine, query, values)
    engine.dispose()


def _rows(engine, query, values):
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(text(query), values)]


def plain(name, value):
    """A value of the view as JSON has it: SQLite gives JSON and times as texts, flags as numbers."""
    if name in JSON and isinstance(value, str):
        value = json.loads(value)
    if name in FLAGS:
        return bool(value)
    if name in TIMES and value is not None:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    if name == "llm_conversation_history":
        return [(each["role"], each["iteration"], each["content"], each["score"]) for each in value]
    return value


@pytest.mark.parametrize("recipe", ["express", "master", "interactive"])
def test_every_column_has_the_value_of_the_api(server, sql, recipe):
    body = {"recipe": recipe, "brief": {**BRIEF, "title": "Bottle"}}
    made = server.http.post("/api/v1/generations", json=body).json()["id"]
    until(server.http, made, "completed", "awaiting_approval")
    shown = server.http.get(f"/api/v1/generations/{made}").json()
    (row,) = sql("select * from generation_contract where id = :id", id=made)
    assert list(row) == COLUMNS
    for name in COLUMNS:
        assert plain(name, row[name]) == plain(name, shown[name]), name


def test_a_report_by_framework_and_cost_is_one_query(server, sql):
    made = server.http.post("/api/generations/generate", json={**STORY, "framework": "PAS"}).json()["generation_id"]
    until(server.http, made, "completed")
    (row,) = sql("select framework, duration, cost, model from generation_contract where id = :id", id=made)
    assert (row["framework"], row["duration"], row["cost"], row["model"]) == ("PAS", 9, None, "filmer")


def test_the_price_of_a_device_hour_makes_a_cost(server, sql):
    made = server.http.post("/api/v1/generations", json={"recipe": "express", "brief": BRIEF}).json()["id"]
    shown = until(server.http, made, "completed")
    assert shown["cost"] is None
    assert "no price" in shown["cost_reason"]
    priced = set_price(server, made)
    (row,) = sql("select cost from generation_contract where id = :id", id=made)
    shown = server.http.get(f"/api/v1/generations/{made}").json()
    assert row["cost"] == pytest.approx(shown["cost"]) == pytest.approx(priced)
    assert shown["cost"] > 0
    assert shown["cost_reason"] is None


def set_price(server, generation_id):
    """Put a price into a generation's manifest, as a server with `ADMINT_DEVICE_HOUR_PRICE` does; its cost then."""
    of = generations.c.id == generation_id

    def change(connection):
        row = connection.execute(select(generations.c.manifest, generations.c.step_seconds).where(of)).one()
        manifest = {**row.manifest, "device_hour_price": 3600.0}
        connection.execute(update(generations).where(of).values(manifest=manifest))
        return row.step_seconds

    return server.call(server.services.store._database.write(change))
