"""A valid storyboard of three scenes, to be changed into what a test needs."""

from __future__ import annotations

from typing import Any

from pipelines.storyboard_file import FORMAT


def storyboard(**changes: Any) -> dict[str, Any]:
    """The content of a storyboard file: 9 s, three scenes of 3 s; `changes` replace fields at its top."""
    scenes = [
        {
            "scene_number": number,
            "purpose": purpose,
            "seconds": 3,
            "setting": "beach",
            "action": "the bottle stands in the sun",
            "camera": "static",
            "entities": ["product"],
            "image_prompt": "a red steel bottle on a beach",
            "video_prompt": "a red steel bottle on a beach, camera static",
            "transition_score": 90,
        }
        for number, purpose in enumerate(("Attention", "Interest", "Action"), start=1)
    ]
    content = {
        "format": FORMAT,
        "prompt": "an ad for a steel water bottle",
        "title": None,
        "framework": "AIDA",
        "aspect_ratio": "9:16",
        "duration": 9,
        "scenes": scenes,
    }
    return {**content, **changes}
