"""How the server and its decoder programs speak: messages on a socket, and the limits that both know of.

A message is a small JSON object and bytes. Knows neither side.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Literal

CPU_SECONDS = 10
"""Of one file."""
WALL_SECONDS = 20
MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of the process that decodes one file, the program's own (0.13 GB) included."""
Verdict = Literal["read", "refused", "stopped"]
"""Of a file: read; not usable, and the message says why; its decoder was ended by a limit or by a crash."""
_HEAD = struct.Struct("!II")
_PART = 1024 * 1024


def send(line: socket.socket, about: Mapping[str, str], data: bytes) -> None:
    """One message. Raises OSError."""
    text = json.dumps(about).encode()
    line.sendall(_HEAD.pack(len(text), len(data)) + text)
    line.sendall(data)


def receive(line: socket.socket) -> tuple[dict[str, str], bytes] | None:
    """The next message; None when the other side is gone. Raises OSError."""
    head = _exactly(line, _HEAD.size)
    if head is None:
        return None
    text_size, data_size = _HEAD.unpack(head)
    text, data = _exactly(line, text_size), _exactly(line, data_size)
    return None if text is None or data is None else (json.loads(text), data)


def _exactly(line: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = line.recv(min(size - len(data), _PART))
        if not part:
            return None
        data += part
    return bytes(data)
