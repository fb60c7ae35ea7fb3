"""The OpenAPI document beyond what the routes say of themselves: names, tags, credentials, errors and examples.

Every operation gets a readable id (`interactive_approve`), the errors that it can answer, the request id of every
answer, and the body that `docs/api.md` shows. The document is the same for every server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serving.gateway.middleware import HEADER
from serving.gateway.problems import CODES

Json = dict[str, Any]
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
    "generations_correct": {"facts": {"product": "teal steel water bottle", "claims": ["keeps drinks cold all day"]}},
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
ORIGINAL = "generations (original contract)"
TAGS: Mapping[str, str] = {
    "auth": "Logging in, tickets for browsers, and API keys for programs.",
    "generations": "Ads by any recipe: ask for one, follow it, decide on it. All other ads are views of the same rows.",
    "interactive": "Ads stage by stage, with approval, chat and edits. The WebSocket `/ws/{session_id}` shows them.",
    "master mode": "A story with its scenes and video in one call, with its progress as a stream.",
    ORIGINAL: "The contract's generations, comparisons and quality.",
    "models": "OpenAI-compatible: what this server offers.",
    "chat": "OpenAI-compatible chat completions.",
    "images": "OpenAI-compatible pictures, with references, masks and the IP-Adapter.",
    "videos": "OpenAI-compatible clips, as jobs that survive a restart.",
    "scores": "Quality dimensions of a video.",
    "artifacts": "Files by their sha256, for whom they belong to.",
    "health": "For probes and Prometheus.",
}
_AREAS = {ORIGINAL: "original"}
_ERRORS: Mapping[int, str] = {
    400: "It cannot be read, or cannot be done with the object as it stands",
    401: "Credentials are missing or not valid",
    403: "The credentials do not reach this far",
    404: "There is none of that id, or it is someone else's",
    409: "Not now: the object is at work or in another state",
    413: "The body, or a file in it, is too large",
    415: "The body's media type is not taken here",
    422: "The request cannot be served as it is; the message names the field and the limit",
    429: "Too many at once; `Retry-After` says when to come back, where waiting helps",
    503: "The server cannot serve it at the moment",
}
_ANY_ERROR = "An error, in the one shape that all of them have"
_REQUEST_ID = {"$ref": "#/components/headers/RequestId"}


def operation_id(route: APIRoute) -> str:
    """`area_function`, such as `videos_create_video`: what client generators name their methods after."""
    tag = str(route.tags[0]) if route.tags else "other"
    return f"{_AREAS.get(tag, tag).replace(' ', '_')}_{route.name}"


def describe(app: FastAPI, public: Collection[str]) -> None:
    """Let `app.openapi()` give the whole document. `public`: paths that need no credentials."""
    bare = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(bare(), public)  # the framework keeps the object that it returns
        return app.openapi_schema or bare()

    app.openapi = openapi  # type: ignore[method-assign]


def document_text(app: FastAPI) -> str:
    """The document as `docs/openapi.json` holds it, without the newline at its end."""
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False)


def _complete(document: Json, public: Collection[str]) -> None:
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An access token, or an API key (`admint_…`)"}
    }
    parts["headers"] = {
        "RequestId": {"description": "The request's id, also in the server's log", "schema": {"type": "string"}}
    }
    parts["responses"] = {str(status): _error(text, status) for status, text in _ERRORS.items()}
    parts["responses"]["default"] = _error(_ANY_ERROR)
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    document["security"] = [{"bearer": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete_operation(operation, method, path, path in public)


def _complete_operation(operation: Json, method: str, path: str, is_public: bool) -> None:
    if is_public:
        operation["security"] = []
    responses: Json = operation["responses"]
    own = {status: answer for status, answer in responses.items() if status not in ("422", "default")}
    for answer in own.values():
        answer.setdefault("headers", {})[HEADER] = _REQUEST_ID
    shared = [str(status) for status in sorted(_statuses(operation, method, path, is_public))] + ["default"]
    operation["responses"] = own | {
        status: {"$ref": f"#/components/responses/{status}"} for status in shared if status not in own
    }
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and operation["operationId"] in EXAMPLES:
        body["example"] = EXAMPLES[operation["operationId"]]


def _statuses(operation: Json, method: str, path: str, is_public: bool) -> set[int]:
    """Statuses of the errors that an operation can answer, besides those of a broken server."""
    found = {503} if is_public else {401, 403, 503}
    if "requestBody" in operation:
        found |= {400, 413, 415, 422}
    if operation.get("parameters"):
        found |= {422}
    if "{" in path:
        found |= {404}
    if method == "post" and not path.startswith("/api/auth/"):
        found |= {404, 409}
    if method == "delete":
        found |= {409}
    if method == "post":
        found |= {400, 422, 429}
    return found


def _error(text: str, status: int | None = None) -> Json:
    codes = [code for code, its in CODES.items() if its == status]
    described = f"{text} ({', '.join(f'`{code}`' for code in codes)})" if codes else text
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    return {"description": described, "headers": {HEADER: _REQUEST_ID}, "content": content}
