"""Settle clearly benign requests after the lower layers; only the rest go through the upper ones.

A cascade in one graph: an exit head reads the hidden states of a lower layer, and an ONNX ``If`` runs the
layers above only where that head leaves room for doubt (early exit: Xin et al. 2020, DeeBERT). What the exit
takes for possible harm is judged at full depth, so the exit alone never blocks; answers always are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from medguard.scores import LABELS
from training.batches import Encoded
from training.encoder import EXIT_LOGITS
from training.examples import Example

__all__ = ["SETTLED", "EarlyExit", "exit_below", "settle_early", "settled"]

SETTLED = "row_settled"
"""Tensor of the graph that tells which rows of a batch are settled early, bool of shape (batch, 1)."""

_LOGITS = "logits"
_HARMFUL = LABELS.index("request_harm>=2")
_BORDERLINE = LABELS.index("request_harm>=1")
_QUESTION_PARTS = 1


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """When the lower layers settle a request."""

    below: float
    """Logit of ``request_harm>=1`` at the exit under which a request counts as clearly benign: not even
    borderline, so that whatever the exit settles has a low score."""
    separator: int
    """Token id that ends a part of the input; an answer has a second part and is never settled."""


def settled(
    exit_logits: NDArray[np.float64], data: Sequence[Encoded], early_exit: EarlyExit
) -> NDArray[np.bool_]:
    """Which examples the exit settles, as the graph decides it; bool of shape (examples,).

    Args:
        exit_logits: Float64 of shape (examples, labels).
        data: The examples.
        early_exit: When a request is settled.
    """
    alone = np.array([item.ids.count(early_exit.separator) <= _QUESTION_PARTS for item in data])
    return np.asarray(alone & (exit_logits[:, _BORDERLINE] < early_exit.below))


def exit_below(exit_logits: NDArray[np.float64], examples: Sequence[Example], miss_rate: float) -> float:
    """Find the logit under which the exit would settle at most `miss_rate` of the harmful requests.

    Args:
        exit_logits: The exit's on held-out examples, float64 of shape (examples, labels).
        examples: The same examples; every harmful request among them counts, rephrased ones too.
        miss_rate: Share of them that the exit may settle as benign, 0 to 1.

    Raises:
        ValueError: No example is a harmful request.
    """
    harmful = [item.response is None and item.targets[_HARMFUL] >= 0.5 for item in examples]
    if not any(harmful):
        raise ValueError("an exit needs harmful requests to find its threshold")
    return float(np.quantile(exit_logits[np.array(harmful), _BORDERLINE], miss_rate, method="lower"))


def settle_early(graph: Path, early_exit: EarlyExit) -> None:
    """Rewrite a graph that gives ``logits`` and ``exit_logits`` so that it gives ``logits`` alone, in place.

    What only ``logits`` needs moves into the branch of an ``If``, with its weights. A batch enters the branch
    when one of its rows is unsettled; settled rows keep the exit's logits there too.

    Args:
        graph: An ONNX file.
        early_exit: When a request is settled.
    """
    model = onnx.load(graph)
    main = model.graph
    lower = _ancestors(main.node, EXIT_LOGITS)
    upper = [node for node in main.node if not set(node.output) & lower]
    stays = [node for node in main.node if set(node.output) & lower]
    used_below = {name for node in stays for name in node.input}
    moved = [item for item in main.initializer if item.name not in used_below]
    kept = [item for item in main.initializer if item.name in used_below]
    width = len(LABELS)
    rows = helper.make_tensor_value_info("deep_or_exit", TensorProto.FLOAT, [None, width])
    for node in upper:
        node.output[:] = ["deep_logits" if name == _LOGITS else name for name in node.output]
    join = helper.make_node("Where", [SETTLED, EXIT_LOGITS, "deep_logits"], ["deep_or_exit"])
    deep = helper.make_graph([*upper, join], "full_depth", [], [rows], initializer=moved)
    early_rows = helper.make_tensor_value_info("early", TensorProto.FLOAT, [None, width])
    early = helper.make_graph(
        [helper.make_node("Identity", [EXIT_LOGITS], ["early"])], "settled_early", [], [early_rows]
    )
    decision, constants = _decision(early_exit)
    choice = helper.make_node(
        "If", ["any_unsettled"], [_LOGITS], then_branch=deep, else_branch=early, name="cascade"
    )
    outputs = [item for item in main.output if item.name == _LOGITS]
    rewritten = helper.make_graph(
        [*stays, *decision, choice], main.name, list(main.input), outputs, initializer=[*kept, *constants]
    )
    changed = helper.make_model(rewritten, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(changed)
    onnx.save(changed, graph)


def _ancestors(nodes: Iterable[onnx.NodeProto], output: str) -> set[str]:
    """Every tensor that `output` is computed from, itself included."""
    makers = {name: node for node in nodes for name in node.output}
    found: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in makers and name not in found:
            found.update(makers[name].output)
            waiting.extend(makers[name].input)
    return found


def _decision(early_exit: EarlyExit) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that tell which rows are settled, and whether any is not; with their constants."""
    constants = [
        helper.make_tensor("separator_id", TensorProto.INT64, [], [early_exit.separator]),
        helper.make_tensor("question_parts", TensorProto.INT64, [], [_QUESTION_PARTS]),
        helper.make_tensor("settled_below", TensorProto.FLOAT, [], [early_exit.below]),
        helper.make_tensor("borderline_column", TensorProto.INT64, [1], [_BORDERLINE]),
        helper.make_tensor("token_axis", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Equal", ["input_ids", "separator_id"], ["is_separator"]),
        helper.make_node("Cast", ["is_separator"], ["separators"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["separators", "token_axis"], ["parts"], keepdims=1),
        helper.make_node("LessOrEqual", ["parts", "question_parts"], ["is_request"]),
        helper.make_node("Gather", [EXIT_LOGITS, "borderline_column"], ["exit_borderline"], axis=1),
        helper.make_node("Less", ["exit_borderline", "settled_below"], ["is_clear"]),
        helper.make_node("And", ["is_request", "is_clear"], [SETTLED]),
        helper.make_node("Not", [SETTLED], ["row_unsettled"]),
        helper.make_node("Cast", ["row_unsettled"], ["unsettled"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["unsettled"], ["most_unsettled"], keepdims=0),
        helper.make_node("Cast", ["most_unsettled"], ["any_unsettled"], to=TensorProto.BOOL),
    ]
    return nodes, constants
