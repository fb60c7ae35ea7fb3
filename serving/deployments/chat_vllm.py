"""The chat deployment on vLLM, through `ray.serve.llm`: batches, prefix caching, tensor parallelism, LoRA, card shares.

The deployment class is Ray's own LLM server with one method more, which takes plain JSON and yields plain JSON or a
typed error, right in the replica. So callers need neither vLLM's classes (seconds of imports in each process) nor a
deployment of ours in between. Importing this module imports vLLM.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest
from transformers import AutoTokenizer
from vllm.entrypoints.openai.models.protocol import LoRAModulePath

from configs.serving import LanguageSettings
from models.errors import InferenceFailed, InvalidRequest, ModelError
from models.llm.grammar import SpecialTokens, check_schema, never_in_json
from models.llm.openai_serving import IGNORED, check_parts
from models.llm.openai_wire import Json
from models.spec import ChatModelSpec
from serving.backends.counters import Counters
from serving.backends.interface import ModelCounters
from serving.deployments.calls import Failed
from serving.deployments.chat import failing_as_data
from serving.deployments.replica_options import begin_replica, end_construction, replica_options

VLLM_CALLS = 256
"""What one replica holds at once: vLLM's own default for sequences in a batch."""
CARD_SHARE = 0.9
"""The share of its own memory that vLLM takes for weights and cache (its default on a whole card)."""
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""Weights come from the library, and no usage statistics are sent."""
FIELDS = frozenset(
    {
        "model", "messages", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs",
        "max_tokens", "max_completion_tokens", "n", "response_format", "seed", "stop", "stream", "stream_options",
        "temperature", "top_p", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "top_k", "min_p",
        "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "bad_words"
    }
)  # fmt: skip
"""What a caller may set: OpenAI's fields and vLLM's sampling. vLLM's others steer the server (templates, KV transfer,
priorities, request ids) and are not for callers."""


NEVER = -100.0
"""Bias of a token that must not be chosen: the least that the protocol knows."""


def vllm_application(spec: ChatModelSpec, folder: Path, settings: LanguageSettings) -> Application:
    """The deployment `Chat` of the model in `folder`, which must lie there on every node."""
    config = LLMConfig(
        model_loading_config={"model_id": spec.name, "model_source": str(folder)},
        engine_kwargs=engine_arguments(spec, settings),
        placement_group_config={"bundle_per_worker": _worker(settings)},
        runtime_env={"env_vars": ENVIRONMENT | settings.environment},
        # The replica itself only waits for its workers; the share of each is in the placement group.
        deployment_config={"ray_actor_options": {"num_cpus": 0}},
    )
    options = replica_options("Chat", settings, VLLM_CALLS)
    del options["ray_actor_options"]
    return build_llm_deployment(config, deployment_cls=VllmReplica, override_serve_options=options)


def engine_arguments(spec: ChatModelSpec, settings: LanguageSettings) -> dict[str, Any]:
    """vLLM's own arguments for a model and its settings."""
    arguments: dict[str, Any] = {
        "dtype": spec.dtype,
        "load_format": "safetensors",
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enable_prefix_caching": settings.enable_prefix_caching,
        # Whitespace off: a small model fills its budget with blanks.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if spec.chat_template_kwargs:
        arguments["default_chat_template_kwargs"] = spec.chat_template_kwargs
    if settings.max_model_len is not None:
        arguments["max_model_len"] = settings.max_model_len
    if settings.num_gpus:
        own = CARD_SHARE * min(1.0, settings.num_gpus)
        arguments["gpu_memory_utilization"] = settings.gpu_memory_utilization or own
    if settings.lora is not None:
        arguments |= {
            "enable_lora": True,
            "max_loras": settings.lora.max_in_batch,
            "max_lora_rank": settings.lora.max_rank,
            "lora_modules": [
                LoRAModulePath(name=f"{spec.name}:{name}", path=path) for name, path in settings.lora.adapters.items()
            ],
        }
    return arguments | settings.engine_kwargs


def _worker(settings: LanguageSettings) -> dict[str, float]:
    bundle = {"CPU": settings.num_cpus, "GPU": settings.num_gpus}
    return {kind: amount for kind, amount in bundle.items() if amount}


class VllmReplica(LLMServer):  # type: ignore[misc]
    """Ray's LLM server, also under the interface of `serving.deployments.chat`."""

    async def __init__(self, llm_config: LLMConfig) -> None:  # type: ignore[misc]
        """Start the engine and answer once, so that a replica that counts as ready is ready."""
        begin_replica("Chat")
        await super().__init__(llm_config)
        self._model: str = llm_config.model_id
        self._counters = Counters()
        tokenizer = AutoTokenizer.from_pretrained(llm_config.model_loading_config.model_source, local_files_only=True)
        self._special = SpecialTokens(tokenizer)
        self._never_in_json = {str(token): NEVER for token in never_in_json(tokenizer)}
        hello = {"model": self._model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        async for item in self.answer(hello):
            if isinstance(item, Failed):
                raise item.error
        end_construction()

    async def answer(self, body: Json) -> AsyncGenerator[Json | Failed, None]:
        """Chunks when `body["stream"]`, else one completion; a ModelError is the last item."""
        async for item in failing_as_data(self._counted(body)):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        return {self._model: self._counters.snapshot(0, 0, 0)}

    async def _counted(self, body: Json) -> AsyncGenerator[Json, None]:
        with self._counters.call(), self._running():
            request = self._request(body)
            try:
                async for item in await self.chat(request):
                    for answer in plain_items(item):
                        yield answer
            except ModelError:
                raise
            except Exception as error:  # whatever breaks in the engine must reach the caller as one kind of error
                raise InferenceFailed(f"chat model {self._model!r} failed: {error!r}") from error

    def _request(self, body: Json) -> ChatCompletionRequest:
        request = completion_request(body, self._special)
        form: Json = body.get("response_format") or {"type": "text"}
        if form["type"] in ("json_schema", "json_object"):
            check_schema((form.get("json_schema") or {}).get("schema") or {})
            request.logit_bias = {**(request.logit_bias or {}), **self._never_in_json}
        elif form["type"] != "text":
            raise InvalidRequest(f"field 'response_format.type': {form['type']!r} is not supported")
        return request

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Count a running call. Calls share the device, so its seconds are not counted."""
        self._counters.running += 1
        try:
            yield
        finally:
            self._counters.running -= 1


def completion_request(body: Json, special: SpecialTokens) -> ChatCompletionRequest:
    """`body` as vLLM takes it, with no special token in any text.

    Raises InvalidRequest naming the field that is wrong, not for callers, or a URL to fetch.
    """
    fields = {name: value for name, value in body.items() if name not in IGNORED}
    for name in fields:
        if name not in FIELDS:
            raise InvalidRequest(f"field {name!r} is not supported: leave it out")
    check_parts(fields.get("messages"))
    try:
        return ChatCompletionRequest(**_spelled_out(fields, special))
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in mistake["loc"])
        raise InvalidRequest(f"field {field!r}: {mistake['msg']}") from error


def _spelled_out(value: Any, special: SpecialTokens) -> Any:
    """`value` with every text of its messages spelled out, whatever else is wrong with it."""
    match value:
        case {"messages": list(messages)}:
            return {**value, "messages": [_spelled_out(message, special) for message in messages]}
        case {"content": str(text)}:
            return {**value, "content": special.spelled_out(text)}
        case {"content": list(parts)}:
            return {**value, "content": [_spelled_out(part, special) for part in parts]}
        case {"text": str(text)}:
            return {**value, "text": special.spelled_out(text)}
    return value


def plain_items(item: Any) -> Iterator[Json]:
    """What Ray's server yields, as JSON: a completion, or a list of event strings. Raises ModelError for its errors."""
    for event in item if isinstance(item, list) else [item]:
        for answer in _chunks(event) if isinstance(event, str) else [event.model_dump(mode="json", exclude_none=True)]:
            if "error" in answer:
                raise model_error(answer["error"])
            yield answer


def _chunks(events: str) -> Iterator[Json]:
    for line in events.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def model_error(error: Json) -> ModelError:
    """vLLM's error object as this project's: below 500 the caller must change the request."""
    message = str(error["message"])
    if int(error.get("code") or 500) < 500:
        return InvalidRequest(message)
    return InferenceFailed(message)
