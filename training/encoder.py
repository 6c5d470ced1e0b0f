"""The torch model: a pre-trained encoder, mean pooling, one linear head with every logit."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from medguard.bundle import SpecialTokens
from medguard.scores import LABELS
from training.config import MiddleConfig
from training.weights import encoder_folder

__all__ = [
    "EXIT_LOGITS",
    "LAST_LOGITS",
    "MIDDLE_LOGITS",
    "GuardModel",
    "load_pretrained",
    "read_tokenizer",
]


EXIT_LOGITS = "exit_logits"
"""Name of the exit's output, beside ``logits``."""

LAST_LOGITS = "last_logits"
"""Name of what the last layer says alone, where a middle head has a share in ``logits``."""

MIDDLE_LOGITS = "middle_logits"
"""Name of what the middle head says alone."""

_SPECIAL = {
    "bert": SpecialTokens(),
    "mpnet": SpecialTokens(start="<s>", separator="</s>", padding="<pad>"),
}


class GuardModel(PreTrainedModel):
    """Encoder with mean pooling (Reimers and Gurevych 2019) and one linear layer of logits.

    With an exit, a second head reads the hidden states after layer `exit_layer` and learns the same targets
    (deep supervision, Lee et al. 2015): the layers up to there can later stand alone, or settle by themselves
    what they are sure of (`training.cascade`).

    With a middle head, what a layer in between says of a request is averaged into the logits: an ensemble
    over depths, as Huang et al. (2018) read their Multi-Scale DenseNet, for one small product. Answers keep
    what the last layer says, which no lower layer betters.
    """

    config_class = PretrainedConfig
    base_model_prefix = "encoder"

    def __init__(
        self, config: PretrainedConfig, exit_layer: int | None = None, middle: MiddleConfig | None = None
    ) -> None:
        super().__init__(config)
        self.encoder: PreTrainedModel = AutoModel.from_config(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(config.hidden_size, len(LABELS))
        self.exit_layer = exit_layer
        self.exit_head = None if exit_layer is None else nn.Linear(config.hidden_size, len(LABELS))
        self.middle_layer = None if middle is None else middle.layer
        self.middle_head = None if middle is None else nn.Linear(config.hidden_size, len(LABELS))
        if middle is not None:
            shares = [0.0 if label.startswith("harmfulness") else middle.share for label in LABELS]
            self.register_buffer("middle_share", torch.tensor(shares), persistent=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return ``{"logits": ...}``, float of shape (batch, labels), from ids of shape (batch, tokens).

        A model with an exit also gives ``"exit_logits"`` of the same shape; one with a middle head gives
        ``"last_logits"`` and ``"middle_logits"``, of which ``"logits"`` is the mean.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and self.has_token_types:
            inputs["token_type_ids"] = token_type_ids
        found = self.encoder(**inputs, output_hidden_states=True)

        def read(head: nn.Linear, layer: int) -> torch.Tensor:
            logits: torch.Tensor = head(self.dropout(_mean(found.hidden_states[layer], attention_mask)))
            return logits

        result = {"logits": read(self.head, -1)}
        if self.exit_head is not None:
            result[EXIT_LOGITS] = read(self.exit_head, self.exit_layer)
        if self.middle_head is not None:
            result[LAST_LOGITS] = result["logits"]
            result[MIDDLE_LOGITS] = read(self.middle_head, self.middle_layer)
            difference = result[MIDDLE_LOGITS] - result[LAST_LOGITS]
            result["logits"] = result[LAST_LOGITS] + self.middle_share * difference
        return result

    @property
    def special_tokens(self) -> SpecialTokens:
        """Tokens that start, part and pad a window, as the encoder was pre-trained with."""
        return _SPECIAL[self.config.model_type]

    @property
    def has_token_types(self) -> bool:
        """Whether the encoder tells the request from the answer by token types too."""
        return hasattr(self.config, "type_vocab_size")


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the encoder's tokenizer, without truncation or padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_pretrained(
    name: str,
    layers: int | None = None,
    exit_layer: int | None = None,
    middle: MiddleConfig | None = None,
) -> GuardModel:
    """Build the model with the pre-trained encoder and fresh heads (seed torch before).

    Args:
        name: Encoder, a key of `training.weights.ENCODERS`.
        layers: Keep the first so many layers; None keeps all.
        exit_layer: Layer after which a second head reads; None for no such head.
        middle: Layer whose head has a share in the logits; None for no such head.

    Raises:
        MedGuardError: The encoder is unknown or its package is not installed.
    """
    folder = encoder_folder(name)
    # The pooler that we leave out would be reported as lost weights.
    logging.set_verbosity_error()
    config = AutoConfig.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    if layers is not None:
        config.num_hidden_layers = layers
        encoder.encoder.layer = encoder.encoder.layer[:layers]
    model = GuardModel(config, exit_layer, middle)
    model.encoder.load_state_dict(encoder.state_dict())
    return model


def _mean(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
