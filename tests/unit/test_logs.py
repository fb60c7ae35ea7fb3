"""The lines of a server: whole, in one format, and nobody else's."""

import json
import logging

import pytest

from serving import logs
from tests.support.waiting import until

FORGED = "tea\n2026-01-01 00:00:00 INFO Gateway admin logged in\r\x1b[2Jthe rest\u2028and\ud800more"


@pytest.fixture
def our_loggers():
    """The loggers as they were, whatever a test made of them."""
    names = [logging.getLogger(name) for name in logs.LOGGERS]
    before = [(each, each.handlers, each.level, each.propagate) for each in names]
    yield
    for each, handlers, level, propagate in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture
def heard(tmp_path, monkeypatch, our_loggers):
    """What a reader at a socket is sent, and the socket in this process's environment."""
    lines: list[logs.Line] = []
    reader = logs.LogReader(tmp_path / "log.sock", lines.append)
    monkeypatch.setenv("ADMINT_LOG_SOCKET", str(tmp_path / "log.sock"))
    yield lines
    reader.close()


def test_a_line_of_a_replica_reaches_the_main_process_with_its_reason_and_request(heard):
    logs.log_as("Gateway", Stamped())
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError:
        logging.getLogger("serving.gateway.problems").exception("internal_error")
    until(lambda: heard, lambda: "a line")
    (line,) = heard
    assert (line["level"], line["process"], line["request_id"]) == ("ERROR", "Gateway", "req-1")
    assert "ZeroDivisionError: division by zero" in line["trace"]


class Stamped(logging.Filter):
    def filter(self, record):
        record.request_id = "req-1"
        return True


def test_a_reader_that_has_gone_costs_a_replica_nothing(tmp_path, monkeypatch, our_loggers, capsys):
    monkeypatch.setenv("ADMINT_LOG_SOCKET", str(tmp_path / "nobody.sock"))
    logs.log_as("Image")
    logging.getLogger("models").warning("low on memory")
    assert "WARNING Image low on memory" in capsys.readouterr().err


def test_only_the_owner_reaches_the_socket(tmp_path):
    reader = logs.LogReader(tmp_path / "log.sock", print)
    assert (tmp_path / "log.sock").stat().st_mode & 0o777 == 0o600
    reader.close()


def test_lines_below_the_level_are_not_said(monkeypatch, our_loggers, capsys):
    monkeypatch.setenv("ADMINT_LOG_LEVEL", "warning")
    logs.log_as("Worker")
    logging.getLogger("serving.server").info("hello")
    logging.getLogger("serving.server").warning("beware")
    said = capsys.readouterr().err
    assert "beware" in said
    assert "hello" not in said


def test_no_text_of_a_caller_makes_a_line_of_its_own_or_steers_the_terminal():
    line = {**logs.line_of("Gateway", "INFO", FORGED), "request_id": "a\nb", "trace": f"ValueError: {FORGED}"}
    first, *rest = logs.text(line).split("\n")
    assert "tea\\n2026-01-01" in first
    assert "\\x1b[2Jthe rest\\u2028and\\ud800more" in first
    assert all(each.startswith("    ") for each in rest)
    assert not set(logs.text(line)) & set("\r\x1b\u2028\ud800")


def test_json_lines_are_one_object_each(capsys):
    terminal = logs.Terminal("json")
    terminal.say("ready at http://127.0.0.1:8000")
    terminal.show({**logs.line_of("Gateway", "ERROR", FORGED), "time": 0.5})
    said, shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said["message"] == "ready at http://127.0.0.1:8000"
    assert (shown["time"], shown["message"]) == ("1970-01-01T00:00:00.500Z", FORGED)


def test_a_message_without_an_end_is_cut(heard):
    logs.log_as("Chat")
    logging.getLogger("models").warning("x" * 10_000_000)
    until(lambda: heard, lambda: "a line")
    assert len(heard[0]["message"]) == logs.LONGEST
