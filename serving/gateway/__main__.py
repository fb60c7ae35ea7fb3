"""Prints the OpenAPI document: `python -m serving.gateway > docs/openapi.json`, as `make openapi` does."""

from __future__ import annotations

from serving.gateway.api_description import document_text
from serving.gateway.application import described

print(document_text(described()))
