"""Small real language models: a Llama of stock classes with seeded random weights, and a LoRA adapter for it.

Nothing here is a mock, and nothing here makes sense: weights are random. `head_dim` 64, because vLLM's CPU kernels take
no smaller one.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from models.sketch.build import CHAT_TEMPLATE, build
from models.spec import ChatModelSpec

WIDTH = 128
LAYERS = 2
LORA_RANK = 8


def chat_spec(**changes: object) -> ChatModelSpec:
    defaults = {"kind": "chat", "name": "tiny", "family": "llava", "licence": "none", "vram_gb": 0, "vision": False}
    return ChatModelSpec.model_validate(defaults | changes)


def save_llama(folder: Path, scratch: Path, context_tokens: int = 1024) -> Path:
    """A text model with its tokenizer and chat template. `scratch` is a folder for what it is made from."""
    build("llm", scratch)
    tokenizer = AutoTokenizer.from_pretrained(scratch, local_files_only=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        head_dim=64,
        max_position_embeddings=context_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_lora(folder: Path) -> Path:
    """An adapter in PEFT's format for the attention of `save_llama`, strong enough to change every answer."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{side}.weight": torch.randn(
            shape, generator=generator
        )
        for layer in range(LAYERS)
        for name in ("q_proj", "v_proj")
        for side, shape in (("A", (LORA_RANK, WIDTH)), ("B", (WIDTH, LORA_RANK)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": LORA_RANK, "lora_alpha": LORA_RANK, "bias": "none",
        "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "tiny", "use_dora": False,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
