"""A decoder program whose `reference` job does what a hostile file could make a real one do, as the file says."""

import os
import signal
import socket
import time

from serving.gateway.decoding import process as decoder_process


def misbehave(data: bytes, name: str, what: str) -> bytes:
    match data.decode():
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "eat":
            return bytes(8 * 1024**3)
        case "spin":
            while True:
                pass
        case "sleep":
            time.sleep(3600)
        case "call out":
            socket.socket()
        case "write":
            open("stray-file", "w").close()
        case "shout":
            return bytes(decoder_process.MAX_ANSWER + 1)
    return b"read"


if __name__ == "__main__":
    vars(decoder_process).update(CPU_SECONDS=1, WALL_SECONDS=3)
    decoder_process.run({"reference": misbehave})
