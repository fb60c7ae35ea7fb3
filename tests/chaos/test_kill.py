"""`kill -9` at ten different moments of one run: resumed each time, nothing is lost and nothing is doubled."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.support.command import PROMPT, admint, start_admint
from tests.support.waiting import until

FLAGS = ("--prompt", PROMPT, "--recipe", "express", "--duration", "9", "--seed", "5", "--full-pipeline")
KILLS = 10


def rows(folder: Path, query: str) -> list[Any]:
    store = folder / ".admint" / "store.sqlite"
    if not store.exists():
        return []
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # the schema is being made right now
        return []
    finally:
        connection.close()


def count(folder: Path, table: str) -> int:
    found = rows(folder, f"select count(*) from {table}")  # noqa: S608 - a constant of this file
    return int(found[0][0]) if found else 0


def news(folder: Path) -> int:
    """Events in the log that say something new: not that a finished step was found again."""
    found = rows(folder, "select count(*) from events where kind != 'step_reused'")
    return int(found[0][0]) if found else 0


def kill_after(folder: Path, events: int, *arguments: str | Path) -> bool:
    """Start the command and kill it once its log holds `events` more news. Whether it was killed before its end."""
    goal = news(folder) + events
    with start_admint(*arguments) as command:
        until(lambda: not command.running or news(folder) >= goal, f"{events} more events, or the end of the command")
        command.kill()
    return command.exit_code == -9


def final_artifacts(folder: Path) -> list[Any]:
    return rows(folder, "select kind, scene_number, artifact from takes order by kind, scene_number")


def test_ten_kills_lose_nothing_double_nothing_and_change_nothing(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert admint("pipeline", *FLAGS, "--output", whole).returncode == 0
    steps = count(whole, "checkpoints")

    kills = int(kill_after(killed, 2, "pipeline", *FLAGS, "--output", killed))
    while kills < KILLS:
        before = set(rows(killed, "select step, key, created_at from checkpoints"))
        # A little further each time: in the middle of a step, after one, between two.
        assert kill_after(killed, 2 + kills % 3, "pipeline", "--resume", killed), "it ended before ten kills"
        assert before <= set(rows(killed, "select step, key, created_at from checkpoints")), "a finished step was lost"
        kills += 1
    done = admint("pipeline", "--resume", killed)
    assert done.returncode == 0, done.stderr

    assert count(killed, "checkpoints") == steps
    # The scores of a scene that the gate has made again are a step that finishes once for each take.
    completed, unbroken = (
        dict(rows(ad, "select step, count(*) from events where kind = 'step_completed' group by step"))
        for ad in (killed, whole)
    )
    assert completed == unbroken, "a step was finished twice"
    seqs = [seq for (seq,) in rows(killed, "select seq from events order by seq")]
    assert seqs == list(range(1, len(seqs) + 1))
    assert final_artifacts(killed) == final_artifacts(whole)
    assert (killed / "final.mp4").read_bytes() == (whole / "final.mp4").read_bytes()
    assert not list(killed.rglob(".part-*"))
