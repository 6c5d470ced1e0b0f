from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, MPNetConfig, PretrainedConfig

from medguard.scores import LABELS
from training.batches import Encoded
from training.encoder import GuardModel
from training.logits import torch_logits
from training.smooth import SmoothedLinear, smooth

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
UNKNOWN = (0.0,) * len(LABELS)


@pytest.fixture(params=[BertConfig, MPNetConfig])
def model(request: pytest.FixtureRequest) -> GuardModel:
    torch.manual_seed(3)
    config: PretrainedConfig = request.param(**SMALL, pad_token_id=1)
    made = GuardModel(config).eval()
    # One channel far larger than the rest, as trained encoders have.
    layer = made.encoder.encoder.layer[0]
    layer.output.LayerNorm.weight.data[3] = 40.0
    return made


def test_the_model_computes_the_same_and_large_channels_shrink(model: GuardModel) -> None:
    data = [Encoded([0, 5, 7 + number, 9, 2], [0] * 5, UNKNOWN, UNKNOWN, 1.0) for number in range(8)]
    before = torch_logits(model, data)
    layers = sum(isinstance(item, torch.nn.Linear) for item in model.encoder.modules())
    smooth(model, data)
    assert torch_logits(model, data) == pytest.approx(before, abs=1e-4)
    smoothed = [item for item in model.encoder.modules() if isinstance(item, SmoothedLinear)]
    assert len(smoothed) == layers == 12
    second = model.encoder.encoder.layer[1]
    scales = second.intermediate.dense.inverse
    assert scales.shape == (16,)


def test_query_key_and_value_share_a_scale(model: GuardModel) -> None:
    data = [Encoded([0, 5, 6, 2], [0] * 4, UNKNOWN, UNKNOWN, 1.0)]
    smooth(model, data)
    layer = model.encoder.encoder.layer[1].attention
    names = ("q", "k", "v") if hasattr(layer, "attn") else ("query", "key", "value")
    block = layer.attn if hasattr(layer, "attn") else layer.self
    one, two, three = (getattr(block, name).inverse for name in names)
    assert torch.equal(one, two)
    assert torch.equal(two, three)
    assert one[3] < one.median(), "the largest channel is divided by the most"
