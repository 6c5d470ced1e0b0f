"""An encoder small enough to be built in a test."""

from __future__ import annotations

from transformers import MPNetConfig


def small_mpnet(layers: int) -> MPNetConfig:
    """MPNet with 1,200 words, of 48 channels."""
    return MPNetConfig(
        vocab_size=1200,
        hidden_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
    )
