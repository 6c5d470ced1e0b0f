"""Logits of encoded examples, from the torch model or from an exported graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medguard.runtime import Device, open_session
from medguard.scores import LABELS
from training.batches import Encoded, collate
from training.encoder import EXIT_LOGITS, GuardModel
from training.precision import half_precision

__all__ = ["graph_logits", "torch_logits", "torch_outputs"]

_BATCH = 32
_CPU = torch.device("cpu")


def torch_logits(
    model: GuardModel, data: Sequence[Encoded], device: torch.device = _CPU, *, half: bool = False
) -> NDArray[np.float64]:
    """Logits of the torch model at full depth; see `torch_outputs`."""
    return torch_outputs(model, data, device, half=half)["logits"]


def torch_outputs(
    model: GuardModel, data: Sequence[Encoded], device: torch.device = _CPU, *, half: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Everything the torch model gives, in batches of like length; float64 of shape (examples, labels) each.

    Args:
        model: The model.
        data: What to score.
        device: Where to run.
        half: Compute in bfloat16 rather than fp32: fast, and exact enough for a teacher's scores.
    """
    model.eval().to(device)
    order = sorted(range(len(data)), key=lambda index: len(data[index].ids))
    names = ["logits", *([EXIT_LOGITS] if model.exit_head is not None else [])]
    outputs = {name: np.zeros((len(data), len(LABELS))) for name in names}
    with torch.inference_mode(), half_precision(device, wanted=half):
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            batch = collate([data[index] for index in rows], model.config.pad_token_id, device)
            found = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            for name, values in outputs.items():
                values[rows] = found[name].double().cpu().numpy()
    return outputs


def graph_logits(graph: Path, data: list[Encoded]) -> NDArray[np.float64]:
    """Logits of an exported graph on the CPU; float64 of shape (examples, labels)."""
    session = open_session(graph.read_bytes(), Device.CPU, None)
    rows = []
    for item in data:
        ids = np.array([item.ids], dtype=np.int64)
        feeds = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.array([item.types], dtype=np.int64),
        }
        rows.append(session.run(feeds)[0])
    return np.asarray(rows, dtype=np.float64)
