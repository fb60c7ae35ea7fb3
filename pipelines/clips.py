"""Clip and FinalVideo: what the video stage hands to the stitch stage, and what that hands on. Plain data."""

from __future__ import annotations

from pydantic import Field

from models.interfaces import Plain


class Clip(Plain):
    """The moving picture of one scene, as the video model made it."""

    scene_number: int
    artifact: str
    """sha256 of the MP4 in the artifact store."""
    num_frames: int = Field(ge=1)
    """Native frames in that file."""
    native_fps: int = Field(ge=1)


class FinalVideo(Plain):
    """The finished ad."""

    artifact: str
    """sha256 of the MP4."""
    thumbnail: str
    """sha256 of the JPEG."""
    frames: int
    fps: int
    width: int
    height: int
    seconds: float
