"""Weights of a released bundle, for a run that goes on from it: int8 back to float32.

Rounding is what the release lost (7 bits a weight); the run that follows makes up for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from medguard.errors import BundleError
from training.encoder import GuardModel
from training.export import CPU_GRAPH

__all__ = ["start_from_bundle"]

_INVERSE = ".inverse"
_SMOOTHED = ".linear."
_SHARED = {"k": "q", "v": "q", "key": "query", "value": "query"}


def start_from_bundle(model: GuardModel, bundle: Path) -> None:
    """Give `model` the weights of the released `bundle`, which must be of the same encoder and depth.

    Undoes what `training.export` (transposed and rounded weights) and `training.smooth` (scaled inputs) did.

    Raises:
        BundleError: The graph cannot be read, or its weights do not fit `model`.
    """
    try:
        graph = onnx.load(bundle / CPU_GRAPH).graph
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read the weights of {bundle}: {type(error).__name__}") from error
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weights = {_plain(name): value for name, value in stored.items() if name in _float_names(stored)}
    weights |= {name: _dequantised(stored, name) for name in _lookups(stored)}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            name = _module(node.name)
            matrix = _dequantised(stored, node.input[1].removesuffix("_quantized")).T
            weights[f"{name}.weight"] = matrix * _inverse(stored, name)
    try:
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    except RuntimeError as error:
        raise BundleError(f"the weights of {bundle} do not fit the model of these settings") from error


def _float_names(stored: dict[str, Any]) -> set[str]:
    return {
        name
        for name, value in stored.items()
        if value.dtype == np.float32 and not name.endswith(("_scale", _INVERSE))
    }


def _lookups(stored: dict[str, Any]) -> list[str]:
    """Names of quantised embedding tables, which keep their own names in the graph."""
    names = [name.removesuffix("_quantized") for name in stored if name.endswith("_quantized")]
    return [name for name in names if name.endswith("embeddings.weight")]


def _dequantised(stored: dict[str, Any], name: str) -> NDArray[np.float32]:
    zero = stored[f"{name}_zero_point"].astype(np.float32)
    return np.asarray((stored[f"{name}_quantized"].astype(np.float32) - zero) * stored[f"{name}_scale"])


def _module(node_name: str) -> str:
    """Name of the linear layer that a node computes: ``/encoder/…/q/linear/MatMul_quant``, ``/head/…``."""
    return node_name.strip("/").rpartition("/")[0].replace("/", ".").removesuffix(".linear")


def _plain(name: str) -> str:
    return name.replace(_SMOOTHED, ".")


def _inverse(stored: dict[str, Any], name: str) -> NDArray[np.float32]:
    """Inverse scale of the layer's inputs; query, key and value share the one stored with the query."""
    head, _, last = name.rpartition(".")
    shared = f"{head}.{_SHARED.get(last, last)}"
    return np.asarray(stored.get(f"{shared}{_INVERSE}", np.float32(1.0)))
