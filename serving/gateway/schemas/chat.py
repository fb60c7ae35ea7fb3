"""The body of `/v1/chat/completions` as far as the route reads it; the model's engine checks the rest by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class ChatCompletion(BaseModel):
    """OpenAI's request. A field that the model's engine cannot honour is refused, never ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str
    """A chat model of `/v1/models`, or `MODEL:ADAPTER` for one of its LoRA adapters."""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Pictures as `image_url` parts: `data:` URLs or artifact ids, never addresses."""
    stream: bool | None = None
