"""Narrower feed-forward layers: what is dropped is made up for by what is kept."""

from __future__ import annotations

import numpy as np
import torch

from training.batches import Encoded
from training.encoder import GuardModel, load_pretrained
from training.logits import torch_logits
from training.prune import prune_feed_forward


def examples(count: int) -> list[Encoded]:
    draw = np.random.default_rng(3)
    windows = [[101, *map(int, draw.integers(1000, 20000, 20)), 102] for _ in range(count)]
    return [Encoded(ids, [0] * 22, (0.0,) * 17, (1.0,) * 17, 1.0) for ids in windows]


def fresh() -> GuardModel:
    torch.manual_seed(1)
    return load_pretrained("all-MiniLM-L6-v2", 2)


def test_a_narrower_model_has_the_width_and_gives_nearly_the_same() -> None:
    data = examples(120)
    whole = torch_logits(fresh(), data)
    narrow = fresh()
    prune_feed_forward(narrow, data, 1024)
    assert narrow.config.intermediate_size == 1024
    for layer in narrow.encoder.encoder.layer:
        assert layer.intermediate.dense.weight.shape == (1024, 384)
        assert layer.output.dense.weight.shape == (384, 1024)
    change = np.abs(torch_logits(narrow, data) - whole).mean()
    assert change < 0.5 * whole.std()


def test_refitting_loses_less_than_dropping() -> None:
    data = examples(120)
    whole = torch_logits(fresh(), data)
    refitted, dropped = fresh(), fresh()
    prune_feed_forward(refitted, data, 768)
    for layer, other in zip(dropped.encoder.encoder.layer, refitted.encoder.encoder.layer, strict=True):
        old = layer.intermediate.dense.weight.data
        kept = [int((old == row).all(dim=1).nonzero()[0]) for row in other.intermediate.dense.weight.data]
        layer.intermediate.dense = other.intermediate.dense
        weight = layer.output.dense.weight.data[:, kept]
        layer.output.dense = torch.nn.Linear(768, 384)
        layer.output.dense.weight.data = weight
        layer.output.dense.bias.data = other.output.dense.bias.data
    loss = np.abs(torch_logits(refitted, data) - whole).mean()
    assert loss < np.abs(torch_logits(dropped, data) - whole).mean()
