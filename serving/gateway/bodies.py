"""A JSON or multipart body as one checked request model, and how the OpenAPI document describes it.

For routes that take both, or files; a route that takes JSON alone leaves its body to the framework.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, get_args

from fastapi import Request
from pydantic import BaseModel, InstanceOf, ValidationError, WithJsonSchema

from serving.gateway.form_fields import nested
from serving.gateway.multipart import Upload, read_multipart
from serving.gateway.problems import Problem, invalid_body

JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
Body = TypeVar("Body", bound=BaseModel)
FileField = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "format": "binary"})]
"""A file of a multipart body, as the field of a request model."""


async def read_body(
    request: Request, model: type[Body], max_files: int, max_file_bytes: int, types: tuple[str, ...]
) -> Body:
    """The body of `request`, of one of the media `types`. Raises Problem 400, 413, 415, 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in types:
        raise Problem("unsupported_media_type", f"Content-Type must be {' or '.join(types)} (got {media_type!r})")
    values: Any
    if media_type == FORM_TYPE:
        values = nested(await read_multipart(request, max_files, max_file_bytes), _text_fields(model))
    else:
        values = await _json(request)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_body(error) from None


def body_schema(model: type[BaseModel], types: tuple[str, ...]) -> dict[str, Any]:
    """What `openapi_extra` says of a body that a route reads by `read_body`."""
    schema = model.model_json_schema()
    whole = _inlined(schema, schema.get("$defs", {}))
    return {"requestBody": {"required": True, "content": {media_type: {"schema": whole} for media_type in types}}}


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise Problem("bad_request", "the body is not valid JSON") from None


def _text_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if field.annotation is str or set(get_args(field.annotation)) == {str, type(None)}
    )


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` without `$defs`: an OpenAPI document resolves references from its own root."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions), **rest}
    return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}
