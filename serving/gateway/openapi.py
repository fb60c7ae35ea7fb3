"""The OpenAPI document beyond what the routes say of themselves: names, tags, credentials, errors and examples.

Every operation gets a readable id (`interactive_approve`), the errors that it can answer, the request id of every
answer, the body that `docs/api.md` shows, and an answer that a server really gave. Every body and every message of a
stream is a schema with a name. The document is the same for every server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from serving.gateway.middleware import HEADER
from serving.gateway.problems import CODES
from serving.gateway.requests import COMPONENT, FORM_TYPE, JSON_TYPE, URLENCODED_TYPE

Json = dict[str, Any]
PROMPT = "An ad for a steel water bottle, fresh and bright"
DESCRIPTION = """
AdMint makes ad videos from a brief and reference images, on your own machines.

**Ask, follow, fetch.** `POST /api/v1/generations` answers at once with a row; a worker makes the ad. Follow it with
`GET /api/v1/generations/{generation_id}/events` (JSON pages, or server-sent events with `Accept: text/event-stream`),
then fetch `video_url`. `/v1` speaks OpenAI's API for single pictures, clips and chat.

**Credentials.** `Authorization: Bearer …` with the access token of a login, or with an API key (`admint_…`).

**Sent twice, made once.** Every request that creates something takes `Idempotency-Key`.

**Errors** have one shape everywhere: `{"error": {"message", "type", "param", "code", "details"}}`. `code` is for
programs (`ErrorCode`), `param` names the field at fault. Every answer carries `x-request-id`, which the log names.

**Units.** Times are UTC, lengths are seconds, scores of critics are 0 to 100, sizes are pixels; files are named by
their sha256. Unknown fields of a body are an error; readers should ignore fields that they do not know.
""".strip()
SERVERS = (
    {"url": "/", "description": "The server that this document came from"},
    {"url": "http://127.0.0.1:8000", "description": "Where `admint serve` listens by default"},
)
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
            {},
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
    "interactive_inpaint": {"image_id": 0, "mask_data": "data:image/png;base64,iVBORw0…", "prompt": "a red label"},
    "images_generate": {"prompt": "A steel bottle on a rock", "n": 2, "seed": 7, "response_format": "url"},
    "videos_create_video": {"prompt": "A steel bottle on a rock", "seed": 7},
    "chat_complete": {
        "model": "MODEL",
        "messages": [{"role": "user", "content": "A slogan for a steel bottle, in one line."}],
    },
    "scores_score": {"artifact": "0" * 64, "dimensions": ["imaging_quality", "temporal_flickering"]},
}
FORMS: Mapping[str, Mapping[str, Any]] = {
    "generations_create_generation": {
        "recipe": "master",
        "brief": '{"prompt": "An ad for a steel water bottle, fresh and bright", "duration": 9, "num_scenes": 2}',
        "references": ["(bytes of product-1.png)"],
        "reference_roles": "product",
        "approvals": '["story", "storyboard"]',
    },
    "original_generate": {
        "prompt": PROMPT,
        "duration": "9",
        "num_scenes": "2",
        "reference_images": ["(bytes of product-1.png)"],
        "coherence_settings": '{"use_ip_adapter": true, "seed_value": 7}',
    },
    "original_generate_parallel": {
        "base_prompt": PROMPT,
        "comparison_type": "settings",
        "duration": "9",
        "reference_images": ["(bytes of product-1.png)"],
        "variations": '[{}, {"coherence_settings": {"use_ip_adapter": false}}]',
    },
    "master_mode_generate_story": {
        "prompt": PROMPT,
        "client_generation_id": "spring-ad-2",
        "duration": "9",
        "reference_images": ["(bytes of product-1.png)"],
        "reference_roles": "product",
    },
    "interactive_upload_references": {"images": ["(bytes of product-1.png)"], "reference_roles": "product"},
    "images_edit": {
        "prompt": "A steel bottle on a rock",
        "image": ["(bytes of bottle.png)"],
        "mask": "(bytes of mask.png)",
        "seed": "7",
    },
    "videos_create_video": {
        "prompt": "A steel bottle on a rock",
        "input_reference": "(bytes of bottle.png)",
        "seed": "7",
    },
    "scores_score": {
        "file": "(bytes of ad.mp4)",
        "reference": ["(bytes of product.png)"],
        "dimensions": "temporal_flickering,product_colour",
    },
}
"""Multipart bodies, by operation: fields as a form sends them, files as what they hold."""
ANSWERS = Path(__file__).with_name("openapi_examples.json")
"""Answers by operation and status, as a server gave them (`make examples`)."""
PARAMETERS: Mapping[str, str] = {
    "after": "Only what comes behind this `seq`; 0: from the first event on.",
    "client_generation_id": "The name that the client gave its request, or the id of its generation.",
    "generation_id": "Id of a generation of yours.",
    "group_id": "Id of a comparison of yours.",
    "key_id": "Id of an API key of yours.",
    "limit": "How many at most.",
    "model_id": "`id` of a model in `GET /v1/models`.",
    "offset": "How many to leave out before the first.",
    "order": "`desc`: newest first; `asc`: oldest first.",
    "recipe": "Only generations of these recipes; none: of all.",
    "scene_number": "The scene, counted from 1.",
    "session_id": "Id of a session of yours.",
    "sha256": "The file's name: the sha256 of its bytes, 64 hex digits.",
    "status": "Only generations in one of these states; none: in all.",
    "variant": "`video`: the MP4; `thumbnail`: its first picture.",
    "video_id": "Id of a clip of yours.",
}
"""What a parameter means, where its route does not say; `operation.name` before the name alone."""
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
    "scores": "Quality dimensions of videos, and which there are.",
    "artifacts": "Files by their sha256, for whom they belong to.",
    "health": "For probes and Prometheus.",
}
_AREAS = {ORIGINAL: "original"}
_ERRORS: Mapping[int, str] = {
    400: "It cannot be read, or cannot be done with the object as it stands",
    401: "Credentials are missing or not valid",
    403: "The credentials do not reach this far",
    404: "There is none of that id, or it is someone else's",
    408: "The body arrived too slowly",
    409: "Not now: the object is at work or in another state",
    413: "The body, or a file in it, is too large",
    415: "The body's media type is not taken here",
    422: "The request cannot be served as it is; the message names the field and the limit",
    429: "Too many at once; `Retry-After` says when to come back, where waiting helps",
    503: "The server cannot serve it at the moment",
}
_ANY_ERROR = "An error, in the one shape that all of them have"
_REQUEST_ID = {"$ref": "#/components/headers/RequestId"}
_SCHEMA = COMPONENT.format(model="")
EVENT_STREAM = "text/event-stream"
SECURITY_SCHEMES: Mapping[str, Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of `POST /api/auth/login`, for 15 minutes; `/api/auth/refresh` renews it.",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "admint_…",
        "description": "An API key of `POST /api/auth/keys`, sent as `Authorization: Bearer admint_…`.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "admint_session",
        "description": 'The cookie of a login with `session: "cookie"`; its name goes on with `_` and eight digits of '
        "its server. "
        "What changes something also needs `Sec-Fetch-Site: same-origin`, or an `Origin` that is allowed.",
    },
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "Part of a signed address (`GET /v1/artifacts/{sha256}/address`): opens that one file.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A ticket of `POST /api/auth/ticket`, once and within 30 seconds: for streams of a browser.",
    },
}


def operation_id(route: APIRoute) -> str:
    """`area_function`, such as `videos_create_video`: what client generators name their methods after."""
    tag = str(route.tags[0]) if route.tags else "other"
    return f"{_AREAS.get(tag, tag).replace(' ', '_')}_{route.name}"


def describe(
    app: FastAPI, public: Collection[str], streamed: Mapping[str, Any], lists: Mapping[str, tuple[Any, str]]
) -> None:
    """Let `app.openapi()` give the whole document.

    `public`: paths that need no credentials; `streamed`: types of what streams and sockets carry, by schema name;
    `lists`: literals that many fields share, with what they are, by schema name.
    """
    bare = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(bare(), public, streamed, lists)  # the framework keeps the object that it returns
        return app.openapi_schema or bare()

    app.openapi = openapi  # type: ignore[method-assign]


def document_text(app: FastAPI) -> str:
    """The document as `docs/openapi.json` holds it, without the newline at its end: a line for each path and schema."""

    def text(value: Any, depth: int) -> str:
        if not depth or not isinstance(value, dict) or not value:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {text(inner, depth - 1)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(parts) + "\n}"

    return text(app.openapi(), 3)


def _complete(
    document: Json, public: Collection[str], streamed: Mapping[str, Any], lists: Mapping[str, tuple[Any, str]]
) -> None:
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = SECURITY_SCHEMES
    parts["headers"] = {
        "RequestId": {"description": "The request's id, also in the server's log", "schema": {"type": "string"}}
    }
    parts["responses"] = {str(status): _error(text, status) for status, text in _ERRORS.items()}
    parts["responses"]["default"] = _error(_ANY_ERROR)
    schemas = parts["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _name_bodies(document, schemas)
    for name, kind in streamed.items():
        _name(schemas, name, TypeAdapter(kind).json_schema(ref_template=COMPONENT, mode="serialization"))
    _name_codes(schemas)
    _name_lists(document, lists)
    _leave_out_titles(document)
    document["security"] = [{"bearer": []}, {"apiKey": []}, {"cookie": []}]
    answers = json.loads(ANSWERS.read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete_operation(operation, method, path, path in public)
            _give_examples(operation, answers.get(operation["operationId"], {}))
    for name in schemas.keys() - _reachable(document, streamed):
        del schemas[name]
    parts["schemas"] = dict(sorted(schemas.items()))


def _leave_out_titles(node: Any, is_field: bool = False) -> None:
    """Titles of fields and parameters, in place: each is the field's own name again, in capitals."""
    if isinstance(node, list):
        for each in node:
            _leave_out_titles(each)
    elif isinstance(node, dict):
        if is_field:
            node.pop("title", None)
        for key, value in node.items():
            if key == "properties":
                for field in value.values():
                    _leave_out_titles(field, is_field=True)
            else:
                _leave_out_titles(value, is_field=key == "schema")


def _name_codes(schemas: Json) -> None:
    schemas["ErrorCode"] = {
        "type": "string",
        "enum": list(CODES),
        "title": "ErrorCode",
        "description": "What went wrong, for programs. Each code has one status.",
    }
    code = schemas["ErrorBody"]["properties"]["code"]
    schemas["ErrorBody"]["properties"]["code"] = {
        "$ref": COMPONENT.format(model="ErrorCode"),
        "description": code["description"],
    }


def _name_lists(document: Json, lists: Mapping[str, tuple[Any, str]]) -> None:
    """Turn lists of values into references to named schemas: generators invent names, and names that meet."""
    names = {get_args(literal): name for name, (literal, _) in lists.items()}

    def walk(node: Any) -> None:
        if isinstance(node, dict) and isinstance(node.get("enum"), list) and tuple(node["enum"]) in names:
            reference = {"$ref": COMPONENT.format(model=names[tuple(node["enum"])])}
            kept = {key: value for key, value in node.items() if key not in ("enum", "type", "title")}
            node.clear()
            node.update(reference | kept)
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(each)

    walk(document)
    for name, (literal, text) in lists.items():
        values = list(get_args(literal))
        document["components"]["schemas"][name] = {
            "type": "string", "enum": values, "title": name, "description": text,
        }  # fmt: skip


def _name_bodies(document: Json, schemas: Json) -> None:
    """Turn bodies that routes describe themselves (`requests.body_schema`) into references to named schemas."""
    for _, content in _bodies(document):
        for media in content.values():
            if "title" in media["schema"]:
                media["schema"] = _name(schemas, media["schema"]["title"], media["schema"])


def _name(schemas: Json, name: str, schema: Json) -> Json:
    """Add `schema`, with those that it brings in `$defs`, and give a reference to it.

    Where another schema has the name already, as that of an answer with the same fields, this one is `…Input`.
    """
    brought = {**schema.get("$defs", {}), name: {key: value for key, value in schema.items() if key != "$defs"}}
    brought = {each: _with_references(its, {}) for each, its in brought.items()}
    renamed = {each: f"{each}Input" for each, its in brought.items() if schemas.get(each, its) != its}
    for each, its in brought.items():
        schemas[renamed.get(each, each)] = _with_references(its, renamed)
    return {"$ref": COMPONENT.format(model=renamed.get(name, name))}


def _with_references(node: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_with_references(each, renamed) for each in node]
    if isinstance(node, dict):  # the framework leaves a default of null out of its own schemas, too
        return {
            key: _with_references(value, renamed) for key, value in node.items() if (key, value) != ("default", None)
        }
    if isinstance(node, str) and node.startswith(_SCHEMA):
        name = node.removeprefix(_SCHEMA)
        return _SCHEMA + renamed.get(name, name)
    return node


def _reachable(document: Json, streamed: Collection[str]) -> set[str]:
    """Names of the schemas that something refers to."""
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    waiting = [document["paths"], document["components"]["responses"], *(schemas[name] for name in streamed)]
    found.update(streamed)
    while waiting:
        for name in _references(waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _references(each)
    elif isinstance(node, str) and node.startswith(_SCHEMA):
        yield node.removeprefix(_SCHEMA)


def _bodies(document: Json) -> Iterator[tuple[Json, Json]]:
    """Every operation with a body, and the content of that body by media type."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                yield operation, operation["requestBody"]["content"]


def _complete_operation(operation: Json, method: str, path: str, is_public: bool) -> None:
    if is_public:
        operation["security"] = []
    responses: Json = operation["responses"]
    own = {status: answer for status, answer in responses.items() if status not in ("422", "default")}
    for answer in own.values():
        answer.setdefault("headers", {})[HEADER] = _REQUEST_ID
        for media in answer.get("content", {}).values():
            if "itemSchema" not in media:  # a stream says what each event is
                media.setdefault(
                    "schema", {"type": "string", "format": "binary"}
                )  # what says nothing of itself is a file
        if EVENT_STREAM in answer.get("content", {}):
            operation["security"] = [{"bearer": []}, {"apiKey": []}, {"cookie": []}, {"ticket": []}]
    shared = [str(status) for status in sorted(_statuses(operation, method, path, is_public))] + ["default"]
    operation["responses"] = own | {
        status: {"$ref": f"#/components/responses/{status}"} for status in shared if status not in own
    }
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        text = PARAMETERS.get(f"{operation['operationId']}.{name}", PARAMETERS.get(name))
        if text is not None:
            parameter.setdefault("description", text)


def _give_examples(operation: Json, answers: Mapping[str, Any]) -> None:
    """The body to send, and by status the answer to expect."""
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, examples in ((JSON_TYPE, EXAMPLES), (FORM_TYPE, FORMS), (URLENCODED_TYPE, FORMS)):
        if media_type in content and operation["operationId"] in examples:
            fields = examples[operation["operationId"]]
            has_files = media_type != URLENCODED_TYPE
            content[media_type]["example"] = {
                name: value for name, value in fields.items() if has_files or "(bytes of" not in str(value)
            }
    for status, answer in operation["responses"].items():
        for media_type, media in answer.get("content", {}).items():
            if media_type in answers.get(status, {}):
                media["example"] = answers[status][media_type]


def _statuses(operation: Json, method: str, path: str, is_public: bool) -> set[int]:
    """Statuses of the errors that an operation can answer, besides those of a broken server."""
    found = {503} if is_public else {401, 403, 503}
    if "requestBody" in operation:
        found |= {400, 408, 413, 415, 422}
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
