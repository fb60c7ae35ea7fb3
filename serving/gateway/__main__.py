"""Prints the OpenAPI document: `python -m serving.gateway > docs/openapi.json`, as `make openapi` does."""

from __future__ import annotations

from serving.gateway.app import described
from serving.gateway.openapi import document_text

print(document_text(described()))
