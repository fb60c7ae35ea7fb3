"""Bodies for the OpenAPI document, by operation id: small, valid on every server, and the same as in `docs/api.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROMPT = "An ad for a steel water bottle, fresh and bright"

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "auth_login": {"username": "anna", "password": "correct horse battery"},
    "auth_refresh": {"refresh_token": "vJ0nN3…"},
    "auth_create_key": {"name": "laptop", "scopes": ["read", "write"]},
    "generations_create_generation": {
        "recipe": "master",
        "brief": {"prompt": PROMPT, "duration": 9, "num_scenes": 2, "aspect_ratio": "9:16", "seed": 7},
        "coherence": {"seed_policy": "blend", "blend_strength": 0.25},
        "approvals": [],
    },
    "generations_approve": {"stage": "story", "notes": "Good. Keep the morning light."},
    "generations_regenerate": {"stage": "storyboard", "scene_number": 2, "feedback": "Warmer light, closer to it"},
    "generations_select": {"take_id": "c1b7c0de-0000-4000-8000-000000000000"},
    "original_generate": {
        "prompt": PROMPT,
        "framework": "AIDA",
        "duration": 9,
        "num_scenes": 2,
        "coherence_settings": {"use_seed_control": True, "use_ip_adapter": True, "seed_value": 7},
    },
    "original_generate_parallel": {
        "base_prompt": PROMPT,
        "comparison_type": "settings",
        "duration": 9,
        "num_scenes": 2,
        "variations": [
            {"coherence_settings": {"use_seed_control": True}},
            {"coherence_settings": {"use_seed_control": False}},
        ],
    },
    "original_choose_winner": {"generation_id": "c1b7c0de-0000-4000-8000-000000000000"},
    "master_mode_generate_story": {
        "prompt": PROMPT,
        "title": "Dew",
        "brand_name": "Lumen",
        "client_generation_id": "spring-ad-1",
        "max_iterations": 2,
        "duration": 9,
        "num_scenes": 2,
    },
    "interactive_start": {"prompt": PROMPT, "target_duration": 9, "mode": "interactive", "title": "Dew"},
    "interactive_approve": {"stage": "story", "selected_indices": [0]},
    "interactive_regenerate": {"stage": "story", "feedback": "Shorter, and funnier"},
    "interactive_chat": {"message": "Make scene 2 brighter"},
    "images_generate": {"prompt": "A steel bottle on a rock", "n": 2, "seed": 7, "response_format": "url"},
    "videos_create_video": {"prompt": "A steel bottle on a rock", "seed": 7},
    "chat_complete": {
        "model": "MODEL",
        "messages": [{"role": "user", "content": "A slogan for a steel bottle, in one line."}],
    },
    "scores_score": {"artifact": "0" * 64, "dimensions": ["imaging_quality", "temporal_flickering"]},
}
"""Uploads have no example here: a picture is no text. `docs/api.md` shows them as forms."""
