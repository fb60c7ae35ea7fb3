"""Family `rapidocr`: the text in a picture, by PP-OCRv6 (small) from the package `rapidocr`, which brings its weights.

Two ONNX networks, one that finds lines (9.9 MB) and one that reads them (21 MB); Apache-2.0, the weights too. On a CPU
about 1.6 s for a frame of 640 x 360 with a line of text, 0.6 s for one without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.errors import WeightsError
from models.interfaces import Pixels
from models.scorers.backbone import Scorer
from models.spec import PACKAGES, ScorerModelSpec

FINDS, READS = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
REMEMBERED = 16
"""Frames whose lines are kept: several dimensions ask for the frames of one block in turn."""


class Line(NamedTuple):
    """A line of text, as `quality.readers.Line`."""

    text: str
    box: tuple[float, float, float, float]
    """Left, top, right and bottom edge, as shares of the picture's sides."""
    confidence: float


class RapidOcrReader(Scorer):
    """Reads Latin and Chinese text, as `quality.readers.TextReader` wants it. Its calls block."""

    def __init__(self, spec: ScorerModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """On the CPU whatever `device` is; `folders` is empty. Raises WeightsError without the package."""
        package = find_spec("rapidocr")
        if package is None or package.origin is None or find_spec("onnxruntime") is None:
            raise WeightsError(f"model {spec.name!r} comes in a package: run `{PACKAGES}`")
        models = Path(package.origin).parent / "models"
        files = [models / name for name in (FINDS, READS)]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise WeightsError(
                f"model {spec.name!r}: the installed rapidocr has no {missing[0]}: install 3.10 or later"
            )
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        super().__init__(spec, digest.hexdigest(), "cpu")
        from rapidocr import RapidOCR

        # Named files are not downloaded, and not looked for.
        self._ocr: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,
                "Det.model_path": str(files[0]),
                "Rec.model_path": str(files[1]),
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self._read: dict[bytes, tuple[Line, ...]] = {}

    def lines(self, frame: Pixels) -> tuple[Line, ...]:
        """The lines of text in `frame`, in reading order."""
        key = hashlib.blake2b(frame.tobytes(), digest_size=16, salt=repr(frame.shape[:2]).encode()[:16]).digest()
        if key not in self._read:
            if len(self._read) == REMEMBERED:
                del self._read[next(iter(self._read))]
            self._read[key] = self._lines(frame)
        return self._read[key]

    def _lines(self, frame: Pixels) -> tuple[Line, ...]:
        found = self._ocr(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV's order of channels
        if found.boxes is None or found.txts is None:
            return ()
        height, width = frame.shape[:2]
        lines = []
        for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True):
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            box = tuple(
                min(max(float(edge), 0.0), 1.0) for edge in (left / width, top / height, right / width, bottom / height)
            )
            lines.append(Line(text, (box[0], box[1], box[2], box[3]), float(confidence)))
        return in_reading_order(lines)


def in_reading_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Row by row from the top, each from the left. A line is in a row when its middle is as high as the row's first."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box[1]):
        middle = (line.box[1] + line.box[3]) / 2
        if rows and middle < rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return tuple(line for row in rows for line in sorted(row, key=lambda line: line.box[0]))
