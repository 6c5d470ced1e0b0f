"""Narrow the feed-forward layers of an encoder before it is trained further.

Two thirds of a transformer's arithmetic lie in its feed-forward layers, and the pretrained ones hold neurons
that requests of our kind hardly use. The neurons that contribute most are kept, and what the others gave is
fitted to the kept ones by ridge regression (after He et al. 2017, who prune channels of convolutions so).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from training.batches import Encoded, collate
from training.encoder import GuardModel

__all__ = ["prune_feed_forward", "resize_feed_forward"]

_RIDGE = 1e-3
_BATCH = 16


def prune_feed_forward(model: GuardModel, data: Sequence[Encoded], width: int) -> None:
    """Keep `width` neurons in the feed-forward layer of every layer, in place.

    Layers are pruned from the first to the last, each on the activations that the pruned ones before it give.

    Args:
        model: An encoder of BERT's or MPNet's layout.
        data: Training examples to see activations on; some hundred are plenty.
        width: Neurons to keep, fewer than there are.
    """
    model.eval()
    for layer in model.encoder.encoder.layer:
        inner, outer = layer.intermediate.dense, layer.output.dense
        hidden = _inputs(model, outer, data)
        contribution = hidden.pow(2).mean(dim=0).sqrt() * outer.weight.data.norm(dim=0)
        kept = contribution.topk(width).indices.sort().values
        weight = _refitted(hidden, outer.weight.data, kept)
        layer.intermediate.dense = _linear(inner.weight.data[kept], inner.bias.data[kept])
        layer.output.dense = _linear(weight, outer.bias.data)
    model.config.intermediate_size = width


def resize_feed_forward(model: GuardModel, width: int) -> None:
    """Give every feed-forward layer `width` neurons with fresh weights, for the weights of a pruned model."""
    for layer in model.encoder.encoder.layer:
        inner, outer = layer.intermediate.dense, layer.output.dense
        layer.intermediate.dense = nn.Linear(inner.in_features, width)
        layer.output.dense = nn.Linear(width, outer.out_features)
    model.config.intermediate_size = width


def _inputs(model: GuardModel, layer: nn.Module, data: Sequence[Encoded]) -> torch.Tensor:
    """What `layer` is given over all tokens of `data` that are no padding; shape (tokens, channels)."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(data), _BATCH):
            batch = collate(data[start : start + _BATCH], model.config.pad_token_id, layer.weight.device)
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            rows.append(seen.pop()[batch.attention_mask.bool()])
    hook.remove()
    return torch.cat(rows)


def _refitted(hidden: torch.Tensor, weight: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Weights over the kept neurons that give the old output as nearly as they can; shape (out, kept)."""
    hidden = hidden.double()
    gram = hidden[:, kept].T @ hidden[:, kept]
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(kept), dtype=gram.dtype, device=gram.device)
    # The old weights are the prior: what is kept stays, and only the loss is fitted.
    lost = hidden @ weight.double().T - hidden[:, kept] @ weight.double()[:, kept].T
    fitted = torch.linalg.solve(gram, hidden[:, kept].T @ lost)
    return (weight.double()[:, kept] + fitted.T).float()


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    return layer
