"""The description of a small language model, and a LoRA adapter with seeded random weights for a Llama on disk."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from models.spec import ChatModelSpec

LORA_RANK = 8


def chat_spec(**changes: object) -> ChatModelSpec:
    defaults = {"kind": "chat", "name": "tiny", "family": "llava", "licence": "none", "vram_gb": 0, "vision": False}
    return ChatModelSpec.model_validate(defaults | changes)


def save_lora(folder: Path, model: Path) -> Path:
    """An adapter in PEFT's format for the attention of the Llama in `model`, strong enough to change every answer."""
    folder.mkdir(parents=True)
    config = LlamaConfig.from_pretrained(model, local_files_only=True)
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{side}.weight": torch.randn(
            shape, generator=generator
        )
        for layer in range(config.num_hidden_layers)
        for name in ("q_proj", "v_proj")
        for side, shape in (("A", (LORA_RANK, config.hidden_size)), ("B", (config.hidden_size, LORA_RANK)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": LORA_RANK, "lora_alpha": LORA_RANK, "bias": "none",
        "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "tiny", "use_dora": False,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
