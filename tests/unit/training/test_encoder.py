from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medguard.scores import LABELS
from tests.unit.training.encoders import small_mpnet
from training.batches import Encoded
from training.cascade import EarlyExit, settled
from training.config import MiddleConfig, TrainingConfig
from training.dequantise import graph_weights
from training.distill import CONFIGS
from training.encoder import LAST_LOGITS, MIDDLE_LOGITS, GuardModel
from training.export import CPU_GRAPH, export_graphs
from training.logits import graph_logits, torch_outputs
from training.loop import CHECKPOINT, train
from training.smooth import smooth
from training.soft_labels import start_from

CPU = torch.device("cpu")
BORDERLINE = LABELS.index("request_harm>=1")
OF_ANSWERS = np.array([label.startswith("harmfulness") for label in LABELS])
START, SEPARATOR = 0, 2


def small_model(middle: MiddleConfig | None, seed: int = 4) -> GuardModel:
    torch.manual_seed(seed)
    return GuardModel(small_mpnet(layers=3), exit_layer=1, middle=middle).eval()


def random_data(count: int) -> list[Encoded]:
    draw = np.random.default_rng(6)
    return [
        Encoded(
            ids=[START, *map(int, draw.integers(5, 1200, length)), SEPARATOR],
            types=[0] * (length + 2),
            targets=tuple(map(float, draw.integers(0, 2, len(LABELS)))),
            mask=(1.0,) * len(LABELS),
            weight=1.0,
        )
        for length in draw.integers(4, 20, count)
    ]


def test_a_middle_head_has_its_share_in_all_but_the_answers_logits() -> None:
    model = small_model(MiddleConfig(layer=2, share=0.25))
    batch = torch.tensor([[START, 17, 300, SEPARATOR]])
    with torch.inference_mode():
        found = model(batch, torch.ones_like(batch))
    mean = 0.75 * found[LAST_LOGITS] + 0.25 * found[MIDDLE_LOGITS]
    expected = torch.where(torch.from_numpy(OF_ANSWERS), found[LAST_LOGITS], mean)
    assert torch.allclose(found["logits"], expected, atol=1e-6)
    assert not torch.allclose(found[LAST_LOGITS], found[MIDDLE_LOGITS], atol=1e-3)


def test_the_quantised_graph_gives_the_mean_and_its_weights_come_back(tmp_path: Path) -> None:
    model = small_model(MiddleConfig(layer=2, share=0.5))
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    data = random_data(12)
    smooth(model, data)
    plain = torch_outputs(model, data)
    early_exit = EarlyExit(float(np.median(plain["exit_logits"][:, BORDERLINE])), separator=SEPARATOR)
    export_graphs(model, tmp_path, gpu_graph=False, early_exit=early_exit)
    found = graph_logits(tmp_path / CPU_GRAPH, data)
    deep = ~settled(plain["exit_logits"], data, early_exit)
    assert 0 < deep.sum() < len(data)
    off = np.abs(found - plain["logits"])[deep].mean()
    with torch.inference_mode():
        alone = [
            model(torch.tensor([item.ids]), torch.ones(1, len(item.ids)).long())[LAST_LOGITS][0]
            for item in data
        ]
    assert off < 0.2 * np.abs(found - torch.stack(alone).numpy())[deep][:, ~OF_ANSWERS].mean()
    weights = graph_weights(tmp_path / CPU_GRAPH)
    for name in ("middle_head.weight", "middle_head.bias", "head.weight"):
        off_by = (torch.from_numpy(weights[name]) - trained[name]).norm()
        assert off_by <= 0.04 * trained[name].norm(), name


def test_a_student_takes_the_middle_head_of_its_teacher_where_it_reads_the_same_layer() -> None:
    teacher = small_model(MiddleConfig(layer=2, share=0.5), seed=1)
    same, other = MiddleConfig(layer=2, share=0.1), MiddleConfig(layer=1, share=0.5)
    for middle, taken in ((same, True), (other, False)):
        student = small_model(middle, seed=2)
        start_from(student, teacher)
        assert torch.equal(student.middle_head.weight, teacher.middle_head.weight) is taken
        assert torch.equal(student.head.weight, teacher.head.weight)
    plain = small_model(None, seed=2)
    start_from(plain, teacher)
    assert torch.equal(plain.head.weight, teacher.head.weight)


@pytest.mark.parametrize("only_middle_head", [True, False])
def test_the_middle_head_can_learn_alone(tmp_path: Path, only_middle_head: bool) -> None:
    released = TrainingConfig.from_toml(CONFIGS / "mpnet9-v4.toml")
    optimiser = released.optimiser.model_copy(
        update={"epochs": 1, "batch_size": 8, "only_middle_head": only_middle_head}
    )
    loss = released.loss.model_copy(update={"middle": 1.0})
    config = released.model_copy(update={"optimiser": optimiser, "loss": loss})
    model = small_model(MiddleConfig(layer=2, share=0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert train(model, random_data(32), config, tmp_path, device=CPU)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"middle_head.weight", "middle_head.bias"} <= changed
    assert ("head.weight" in changed) is not only_middle_head
    assert (len(changed) == 2) is only_middle_head


def test_a_run_may_end_before_its_epochs_do(tmp_path: Path) -> None:
    released = TrainingConfig.from_toml(CONFIGS / "mpnet9-v4.toml")
    optimiser = released.optimiser.model_copy(update={"epochs": 2, "batch_size": 8, "max_steps": 3})
    config = released.model_copy(update={"optimiser": optimiser})
    assert train(small_model(None), random_data(32), config, tmp_path, device=CPU)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 3
