"""What the processes of a server log, as one stream of lines: text for a person, JSON for a collector.

The replicas of `admint serve` are processes of Ray's. Each sends its records as datagrams to the main process, which
writes them where it writes its own lines. A datagram that nobody reads is dropped: logging never waits for a reader,
and never breaks what it tells of. Without such a reader (`admint worker`, a cluster) lines go to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from configs.settings import Settings

LOGGERS = ("serving", "pipelines", "models", "quality")
"""What a server logs of its own; libraries keep to what they do by themselves."""
LONGEST = 32_000
"""Characters of a message or a traceback that are kept: a datagram that is too large is lost as a whole."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
Line = dict[str, Any]
"""A record as plain data: time (seconds), level, process, request_id, message, and trace where an error was logged."""


def log_as(process: str, *filters: logging.Filter) -> None:
    """Let this process write what the server logs, under this name. Once per process.

    `filters` may give records a `request_id`.
    """
    settings = Settings()
    write = _writer(settings.log_format) if settings.log_socket is None else _sender(settings.log_socket)
    handler = _LineHandler(process, write)
    for each in filters:
        handler.addFilter(each)
    for name in LOGGERS:
        ours = logging.getLogger(name)
        ours.handlers = [handler]
        ours.setLevel(settings.log_level.upper())
        ours.propagate = False


def text(line: Line) -> str:
    """A line for a person. A traceback follows, indented: no message can look like a line of its own."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time"]))
    request = f" [{printable(line['request_id'])}]" if line["request_id"] else ""
    first = f"{when} {line['level']} {line['process']}{request} {printable(line['message'])}"
    return "\n".join([first, *(f"    {printable(each)}" for each in line["trace"].split("\n") if each)])


def as_json(line: Line) -> str:
    """The line as one JSON object, its time in ISO 8601 with milliseconds, in UTC."""
    seconds = line["time"]
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
    return json.dumps({**line, "time": stamp})


def printable(words: str) -> str:
    """`words` with control characters spelled out: a caller's text can neither end a line nor steer a terminal."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), words)


def line_of(process: str, level: str, message: str) -> Line:
    """A line that no logger made."""
    return {
        "time": time.time(),
        "level": level,
        "process": process,
        "request_id": "",
        "message": message,
        "trace": "",
    }


class Terminal:
    """Standard output of a server: its own lines and those of its processes, in one format, each whole."""

    def __init__(self, form: Literal["text", "json"]) -> None:
        self.for_people = form == "text"
        self._writing = threading.Lock()

    def say(self, message: str) -> None:
        """Write a line of the main process: as it is, or as JSON."""
        self._write(message if self.for_people else as_json(line_of("admint", "INFO", message)))

    def show(self, line: Line) -> None:
        """Write a line of any process."""
        self._write(text(line) if self.for_people else as_json(line))

    def _write(self, words: str) -> None:
        with self._writing:
            try:
                sys.stdout.write(words + "\n")
                sys.stdout.flush()
            except BrokenPipeError:  # whoever read it has gone; the server has not
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class _LineHandler(logging.Handler):
    def __init__(self, process: str, write: Callable[[Line], None]) -> None:
        super().__init__()
        self._process = process
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = line_of(self._process, record.levelname, record.getMessage()[:LONGEST])
            line["time"] = record.created
            asked = getattr(record, "request_id", "-")
            line["request_id"] = "" if asked == "-" else asked
            if record.exc_info and record.exc_info[1] is not None:
                line["trace"] = "".join(traceback.format_exception(record.exc_info[1]))[-LONGEST:]
            self._write(line)
        except Exception:  # as logging's own handlers do: a line that cannot be written is reported, and breaks nothing
            self.handleError(record)


def _writer(form: Literal["text", "json"]) -> Callable[[Line], None]:
    as_written = as_json if form == "json" else text

    def write(line: Line) -> None:
        sys.stderr.write(as_written(line) + "\n")
        sys.stderr.flush()

    return write


def _sender(path: Path) -> Callable[[Line], None]:
    kept = _writer("text")

    def send(line: Line) -> None:
        kept(line)  # Ray's own file of this process has it too, should the terminal be gone
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto(json.dumps(line).encode(), str(path))

    return send


class LogReader:
    """Receives the lines of a server's processes at a socket that only its owner can reach, until closed."""

    def __init__(self, path: Path, show: Callable[[Line], None]) -> None:
        """`show` is called in a thread of the reader's own. Raises OSError when the socket cannot be made."""
        self._show = show
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        os.chmod(path, 0o600)
        self._open = True
        self._thread = threading.Thread(target=self._read, name="log-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show what has come already, and read no more."""
        self._open = False
        path = self._socket.getsockname()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", path)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while True:
            datagram = self._socket.recv(2**20)
            if datagram:
                self._show(json.loads(datagram))
            elif not self._open:
                return
