from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medguard.errors import MedGuardError
from medguard.scores import LABELS
from tests.unit.training.encoders import small_mpnet
from training.batches import Encoded
from training.cascade import EarlyExit
from training.config import TrainingConfig
from training.dequantise import graph_weights, load_bundle
from training.distill import CONFIGS
from training.encoder import GuardModel
from training.export import CPU_GRAPH, export_graphs
from training.smooth import smooth

UNKNOWN = (0.0,) * len(LABELS)


@pytest.mark.parametrize("early_exit", [None, EarlyExit(below=0.0, separator=2)])
def test_every_weight_comes_back_but_for_its_rounding(tmp_path: Path, early_exit: EarlyExit | None) -> None:
    torch.manual_seed(4)
    model = GuardModel(small_mpnet(layers=2), exit_layer=None if early_exit is None else 1).eval()
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    data = [Encoded([0, 5, 7 + number, 9, 2], [0] * 5, UNKNOWN, UNKNOWN, 1.0) for number in range(8)]
    smooth(model, data)
    export_graphs(model, tmp_path, gpu_graph=False, early_exit=early_exit)
    found = graph_weights(tmp_path / CPU_GRAPH)
    assert not {name for name in trained if "position_ids" not in name} - set(found)
    for name, value in trained.items():
        if name in found:  # rounded to 7 bits after smoothing, weights are off by some 2%
            assert (torch.from_numpy(found[name]) - value).norm() <= 0.04 * value.norm(), name


def test_a_folder_without_a_graph_is_named(tmp_path: Path) -> None:
    config = TrainingConfig.from_toml(CONFIGS / "mpnet9-v6.toml")
    with pytest.raises(MedGuardError, match=r"model\.int8\.onnx"):
        load_bundle(config, tmp_path)
