"""A generation on a server as this machine knows it: the note in its folder, and the command that comes back to it.

The job never depends on the process that follows it: whoever stops following is told how to come back. Asks no server.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.errors import Cancelled
from models.interfaces import Plain
from pipelines.errors import BadInput, NotFound, StepFailed
from pipelines.store.artifacts import write_durably
from serving.workspace import STATE_FOLDER, check_new


class Note(Plain):
    """What a folder says of the generation that it belongs to."""

    server: str
    generation_id: str


@dataclass
class Job:
    """A generation on a server, and where its result goes: what must be said when nobody follows it any more."""

    server: str
    output: Path | None = None
    generation_id: str | None = None
    """None until the server has taken the order."""

    def stopped(self) -> str:
        """What Ctrl-C says."""
        return "stopped" if self.generation_id is None else self._way_back(self.generation_id)

    def failed(self, error: Exception) -> str | None:
        """What is added to an error."""
        if self.generation_id is None or isinstance(error, NotFound):
            return None
        if not isinstance(error, StepFailed | Cancelled):
            return self._way_back(self.generation_id)
        if self.output is None or not note_file(self.output).exists():
            return None
        return f"finished steps are kept; continue with: admint pipeline --resume {shlex.quote(str(self.output))}"

    def _way_back(self, generation_id: str) -> str:
        words = ["admint", "attach", generation_id, "--server", self.server]
        command = shlex.join(words if self.output is None else [*words, "--output", str(self.output)])
        return f"the server goes on with it; follow it again with: {command}"


def note_file(folder: Path) -> Path:
    return folder / STATE_FOLDER / "server.json"


def check_folder(folder: Path, note: Note) -> None:
    """Raises BadInput when `folder` holds anything but the result of that generation."""
    if read_note(folder) != note:
        check_new(folder)


def read_note(folder: Path) -> Note | None:
    """None for a folder without one. Raises BadInput for a damaged one."""
    path = note_file(folder)
    try:
        return Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror}") from None
    except ValidationError:
        raise BadInput(f"{str(path)!r} is damaged: find the generation with admint list, then admint attach") from None


def write_note(folder: Path, note: Note) -> None:
    """Raises StorageFailed."""
    write_durably(note_file(folder), (note.model_dump_json(indent=2) + "\n").encode())
