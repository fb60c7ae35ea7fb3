"""The text tower's size, which CLIP and the image model share. Knows nothing of training."""

from __future__ import annotations

from transformers import CLIPTextConfig as TextConfig
from transformers import CLIPTokenizer

from models.sketch.train.words import MAX_TOKENS

WIDTH = 128
EMBEDDING = 128


def text_config(tokenizer: CLIPTokenizer) -> TextConfig:
    """Also the image model's text encoder."""
    return TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=EMBEDDING,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
