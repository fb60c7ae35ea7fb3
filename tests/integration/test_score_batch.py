"""A batch of files on a real Ray: rows as they finish, resumed by what is known, lost processes, files that are bad."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_profile
from pipelines.media import encode_clip
from serving.errors import StartFailed
from serving.scores.work import WorkItem

DIMENSIONS = ("temporal_flickering", "technical.exposure", "motion_smoothness")
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two short clips, one that takes seconds to measure, and what is no video."""
    folder = tmp_path_factory.mktemp("batch")
    grey = np.stack([np.full((64, 96, 3), 40 + 5 * number, np.uint8) for number in range(8)])
    (folder / "one.mp4").write_bytes(encode_clip(grey, 8))
    (folder / "two.mp4").write_bytes(encode_clip(grey[::-1], 8))
    (folder / "bad.mp4").write_text("no video")
    noise = np.random.default_rng(3).integers(0, 256, (240, 192, 256, 3), dtype=np.uint8)
    (folder / "long.mp4").write_bytes(encode_clip(noise, 24))
    return folder


def item(clips, name, dimensions):
    return WorkItem(name=name, path=str(clips / name), media="video", dimensions=dimensions)


def batch(clips, *names, dimensions=DIMENSIONS, **options):
    from serving.deployments.score_batch import score_batch_on_ray

    items = [item(clips, name, dimensions) for name in names]
    with closing(score_batch_on_ray("auto", items, load_profile("sketch"), **options)) as rows:
        return {row.name: row for row in rows}


def test_every_file_has_a_row_and_a_bad_one_says_why(ray_session, clips):
    rows = batch(clips, "one.mp4", "bad.mp4", "two.mp4", "nowhere.mp4")
    assert set(rows) == {"one.mp4", "bad.mp4", "two.mp4", "nowhere.mp4"}
    for name in ("one.mp4", "two.mp4"):
        flicker, exposure, absent = rows[name].scores
        assert (flicker.raw, flicker.source_sha256) == (pytest.approx(250 / 255, abs=0.005), rows[name].sha256)
        assert exposure.raw is not None and absent.reason is not None
    assert "not an MP4" in rows["bad.mp4"].reason and rows["bad.mp4"].scores == ()
    assert "cannot read video" in rows["nowhere.mp4"].reason and rows["nowhere.mp4"].sha256 is None


def test_the_command_measures_on_a_ray_that_is_there(ray_session, clips, tmp_path):
    from serving.cli.score import score
    from serving.scores.rows import read_kept

    files, names = [str(clips / name) for name in ("one.mp4", "bad.mp4")], ",".join(DIMENSIONS)
    for name, address in (("here", None), ("ray", "auto")):
        assert score(files, dimensions=names, out=tmp_path / name, ray=address) == 3
    here, there = ({(row.file, row.dimension): row for row in read_kept(tmp_path / name)} for name in ("here", "ray"))
    assert here == there and len(here) == 4


def test_what_is_known_is_not_measured_again(ray_session, clips):
    first = batch(clips, "one.mp4")["one.mp4"]
    known = {(score.source_sha256 or first.sha256, score.impl_id, score.protocol) for score in first.scores}
    rows = batch(clips, "one.mp4", "two.mp4", dimensions=(*DIMENSIONS, "technical.noise"), known=known)
    assert [score.metric_id for score in rows["one.mp4"].scores] == ["admint.technical.noise"]
    assert len(rows["two.mp4"].scores) == 4
    assert batch(clips, "one.mp4", known=known) == {}


def test_a_process_that_is_killed_is_a_retry(ray_session, clips):
    from serving.deployments.score_batch import score_batch_on_ray

    items = [item(clips, name, ("flow_smoothness", "technical")) for name in ("one.mp4", "long.mp4")]
    with closing(score_batch_on_ray("auto", items, load_profile("sketch"))) as rows:
        first = next(rows)
        assert first.name == "one.mp4"
        killed = kill_worker()
        again = kill_worker(but=killed)
        assert again != killed
        (long,) = rows
    assert long.reason is None and all(score.raw is not None for score in long.scores)


def test_a_file_whose_process_dies_each_time_is_a_row_that_says_so(ray_session, clips, monkeypatch):
    from serving.deployments import score_batch

    monkeypatch.setattr(score_batch, "RETRIES", 0)
    items = [item(clips, name, ("flow_smoothness", "technical")) for name in ("long.mp4", "one.mp4")]
    with closing(score_batch.score_batch_on_ray("auto", items, load_profile("sketch"))) as rows:
        first = next(rows)
        kill_worker()
        (second,) = rows
    assert (first.name, first.reason) == ("one.mp4", None)
    assert second.name == "long.mp4" and "in 1 tries" in (second.reason or "") and second.scores == ()


def test_a_cluster_without_the_profiles_device_is_refused(ray_session, clips):
    from serving.deployments.score_batch import score_batch_on_ray

    profile = load_profile("sketch").model_copy(update={"device": "cuda"})
    with pytest.raises(StartFailed, match="has no GPU"):
        next(score_batch_on_ray("auto", [], profile))


def kill_worker(but=None):
    """Kill the process that measures, once there is one (`but`: another than that); its id."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                title = (process / "cmdline").read_bytes()
            except OSError:  # it ended
                continue
            if title.startswith(b"ray::score_sent_file") and int(process.name) != but:
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
    raise AssertionError("no process measures a file")
