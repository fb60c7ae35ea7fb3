"""How the models of a profile are served: replicas, lanes, batches, queue, and vLLM for the language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.interfaces import Plain

Count = Annotated[int, Field(ge=1)]


class ReplicaSettings(Plain):
    """Copies of one deployment. With `max_replicas` Ray adds copies while calls wait."""

    num_replicas: Count = 1
    max_replicas: Count | None = None
    num_cpus: Annotated[float, Field(ge=0.0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0.0)] = 0.0
    max_queued_requests: Annotated[int, Field(ge=1)] = 64
    """Calls that wait before this deployment, per caller; one more is answered with 429."""
    retry_after_seconds: Count = 5


class LoraServing(Plain):
    """LoRA adapters of a language model; a request asks for one as `model: "NAME:ADAPTER"`."""

    adapters: Annotated[dict[str, str], Field(min_length=1)]
    """Folder of each adapter (PEFT format, safetensors) by name, on every node."""
    max_rank: Literal[8, 16, 32, 64, 128, 256] = 16
    """The highest rank among them."""
    max_in_batch: Count = 1
    """Different adapters in one batch; each takes device memory of its own."""


class LanguageSettings(ReplicaSettings):
    """`num_cpus` and `num_gpus` are those of a replica; with vLLM, of each of its `tensor_parallel_size` workers."""

    engine: Literal["in_process", "vllm"] = "in_process"
    """`in_process`: transformers, one call at a time, any machine. `vllm`: many calls in one batch."""
    tensor_parallel_size: Count = 1
    """Devices that share one replica's weights."""
    enable_prefix_caching: bool = True
    """The agents of a generation share long openings: these are computed once."""
    max_model_len: Count | None = None
    """Tokens of prompt and answer together; None: the model's own context."""
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Of one card's memory; None: 0.9 of what `num_gpus` says this replica has of it."""
    lora: LoraServing | None = None
    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further vLLM engine arguments; they win over what is derived from the fields above."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of the replica and its workers, such as VLLM_CPU_KVCACHE_SPACE (gigabytes) without a GPU."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        only_vllm = set(type(self).model_fields) - set(ReplicaSettings.model_fields) - {"engine"}
        if self.engine == "in_process" and (given := sorted(self.model_fields_set & only_vllm)):
            raise ValueError(f"{', '.join(given)}: only with 'engine: vllm'")
        if self.tensor_parallel_size > 1 and self.num_gpus not in (0.0, 1.0):
            raise ValueError(
                f"tensor_parallel_size {self.tensor_parallel_size} needs a whole card per worker: "
                f"set num_gpus to 1 (got {self.num_gpus:g})"
            )
        return self


class PictureReplicas(ReplicaSettings):
    """Image or video models: one lane per replica."""

    models: tuple[str, ...] = ()
    """Offered beside the profile's own; all share the replica's device, the least recently used leaves first."""
    memory_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Budget of the models that stay loaded; None: all of them."""

    def offered(self, first: str) -> tuple[str, ...]:
        """Names of the profile's own model and those offered beside it, once each."""
        return tuple(dict.fromkeys((first, *self.models)))


class PipelineReplicas(ReplicaSettings):
    generations: Count = 2
    """Generations that one replica runs at once; their model calls wait for the lanes."""


class QueueSettings(Plain):
    """Bounds on the generations that wait for a worker."""

    max_waiting: Count = 100
    """Waiting generations of all users; one more is answered with 429."""
    retry_after_seconds: Count = 30


class ServingSettings(Plain):
    chat: LanguageSettings = LanguageSettings()
    image: PictureReplicas = PictureReplicas()
    video: PictureReplicas = PictureReplicas()
    scorer: ReplicaSettings = ReplicaSettings()
    pipeline: PipelineReplicas | None = PipelineReplicas()
    """None: generations are run by `admint worker` processes, and `admint serve` runs none itself."""
    gateway: ReplicaSettings = ReplicaSettings(num_cpus=0.5)
    queue: QueueSettings = QueueSettings()
