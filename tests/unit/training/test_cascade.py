from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from medguard.runtime import Device, Session, open_session
from medguard.scores import LABELS
from training.batches import Encoded
from training.cascade import EarlyExit, exit_below, settle_early, settled
from training.encoder import load_pretrained
from training.examples import make_example
from training.export import CPU_GRAPH, export_graphs
from training.logits import graph_logits, torch_outputs
from training.targets import request_targets

EXIT = LABELS.index("request_harm>=1")
SEPARATOR = 102


@dataclass(frozen=True)
class _Toy:
    """A graph whose exit gives each row its first token and whose full depth gives ten times that."""

    session: Session

    def run(self, rows: list[list[int]]) -> list[float]:
        return [float(value) for value in self.session.run({"input_ids": np.array(rows)})[:, EXIT]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> _Toy:
    """Settles what begins with a token below 50."""
    width = len(LABELS)
    rows = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name in ("logits", "exit_logits")
    ]
    nodes = [
        helper.make_node("Slice", ["input_ids", "zero", "one", "token_axis_of_toy"], ["first"]),
        helper.make_node("Cast", ["first"], ["value"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["value", "spread"], ["exit_logits"]),
        helper.make_node("Mul", ["exit_logits", "ten"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("token_axis_of_toy", TensorProto.INT64, [1], [1]),
        helper.make_tensor("spread", TensorProto.FLOAT, [1, width], [1.0] * width),
        helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0]),
    ]
    graph = helper.make_graph(nodes, "toy", [rows], outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    onnx.save(model, path)
    settle_early(path, EarlyExit(below=50.0, separator=SEPARATOR))
    return _Toy(open_session(path.read_bytes(), Device.CPU, None))


def test_a_clearly_benign_request_is_settled_by_the_exit(toy: _Toy) -> None:
    assert toy.run([[7, 1, SEPARATOR]]) == [7.0]


def test_a_doubtful_request_goes_through_every_layer(toy: _Toy) -> None:
    assert toy.run([[50, 1, SEPARATOR]]) == [500.0]


def test_an_answer_is_never_settled(toy: _Toy) -> None:
    assert toy.run([[7, SEPARATOR, 1, SEPARATOR]]) == [70.0]


def test_company_changes_nothing(toy: _Toy) -> None:
    rows = [[7, 1, SEPARATOR], [60, 1, SEPARATOR], [8, 2, SEPARATOR]]
    assert toy.run(rows) == [7.0, 600.0, 8.0]


def test_the_quantised_graph_decides_as_the_torch_model_does(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = load_pretrained("all-MiniLM-L6-v2", 3, 1)
    draw = np.random.default_rng(4)
    data = [_encoded(draw, number % 4 == 0) for number in range(24)]
    plain = torch_outputs(model, data)
    ranked = np.sort(plain["exit_logits"][:, EXIT])
    # In the widest gap between two requests, so that rounding moves none across.
    at = int(np.diff(ranked[8:16]).argmax()) + 8
    early_exit = EarlyExit(below=float(ranked[at : at + 2].mean()), separator=SEPARATOR)
    early = settled(plain["exit_logits"], data, early_exit)
    assert 0 < early.sum() < 18
    export_graphs(model, tmp_path, gpu_graph=False, early_exit=early_exit)
    found = graph_logits(tmp_path / CPU_GRAPH, data)
    expected = np.where(early[:, None], plain["exit_logits"], plain["logits"])
    other = np.where(early[:, None], plain["logits"], plain["exit_logits"])
    assert (np.abs(found - expected).max(axis=1) < np.abs(found - other).max(axis=1)).all()


def test_the_threshold_keeps_the_share_of_harmful_requests_that_it_may_settle() -> None:
    harmful = request_targets(3, violates=(1,), general=0.0)
    benign = request_targets(0, violates=(), general=0.0)
    examples = [make_example(str(n), "s", str(n), "text", None, harmful) for n in range(100)]
    examples += [make_example(f"b{n}", "s", f"b{n}", "text", None, benign) for n in range(100)]
    logits = np.zeros((200, len(LABELS)))
    logits[:100, EXIT] = np.arange(100)
    logits[100:, EXIT] = -5.0
    for miss_rate in (0.0, 0.02, 0.5):
        below = exit_below(logits, examples, miss_rate)
        assert (logits[:100, EXIT] < below).mean() <= miss_rate
        assert (logits[100:, EXIT] < below).all()
    with pytest.raises(ValueError, match="harmful requests"):
        exit_below(logits[100:], examples[100:], 0.1)


def _encoded(draw: np.random.Generator, is_answer: bool) -> Encoded:
    parts = [[*map(int, draw.integers(1000, 20000, draw.integers(4, 20))), SEPARATOR]]
    if is_answer:
        parts.append([*map(int, draw.integers(1000, 20000, 6)), SEPARATOR])
    ids = [101, *(number for part in parts for number in part)]
    types = [0] * (1 + len(parts[0])) + [1] * sum(map(len, parts[1:]))
    return Encoded(ids, types, (0.0,) * len(LABELS), (0.0,) * len(LABELS), 1.0)
