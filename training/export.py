"""Export to ONNX through optimum, quantise, and read logits back to check that nothing was lost."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export as export_graph
from optimum.exporters.onnx.model_configs import BertOnnxConfig, MPNetOnnxConfig

from medguard.runtime import Device, open_session
from medguard.scores import LABELS
from training.batches import Encoded, collate
from training.encoder import GuardModel
from training.precision import half_precision

__all__ = ["CPU_GRAPH", "GPU_GRAPH", "export_graphs", "graph_logits", "torch_logits"]

CPU_GRAPH = "model.int8.onnx"
GPU_GRAPH = "model.fp16.onnx"
_OPSET = 17
_LARGE_TABLE = 1000
_BATCH = 32
_CPU = torch.device("cpu")
_ONNX_CONFIGS = {"bert": BertOnnxConfig, "mpnet": MPNetOnnxConfig}


def export_graphs(model: GuardModel, folder: Path, *, gpu_graph: bool) -> None:
    """Write the int8 graph (CPU), and with `gpu_graph` the fp16 graph (GPU), of `model` into `folder`.

    Int8 is dynamic: weights per channel in 7 bits, so that CPUs without VNNI do not saturate (onnxruntime's
    advice for AVX2), activations at run time. For fp16, attention, layer normalisation and GELU are fused
    first; fused, int8 is no faster on a CPU and loses more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Path(scratch) / "plain.onnx"
        onnx_config = _ONNX_CONFIGS[model.config.model_type](model.config, task="text-classification")
        export_graph(model.eval().cpu(), onnx_config, plain, opset=_OPSET)
        quantize_dynamic(
            plain,
            folder / CPU_GRAPH,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_small_lookups(plain),
        )
        if not gpu_graph:
            return
        graph = optimize_model(
            str(plain),
            model_type="bert",
            num_heads=model.config.num_attention_heads,
            hidden_size=model.config.hidden_size,
            opt_level=1,
        )
        graph.convert_float_to_float16(keep_io_types=True)
        graph.save_model_to_file(str(folder / GPU_GRAPH))


def _small_lookups(graph: Path) -> list[str]:
    """Name the lookups in small tables (positions, relative distances): int8 would save nothing there."""
    model = onnx.load(graph).graph
    rows = {item.name: item.dims[0] for item in model.initializer if len(item.dims) == 2}
    lookups = (node for node in model.node if node.op_type == "Gather")
    return [node.name for node in lookups if rows.get(node.input[0], _LARGE_TABLE) < _LARGE_TABLE]


def torch_logits(
    model: GuardModel, data: Sequence[Encoded], device: torch.device = _CPU, *, half: bool = False
) -> NDArray[np.float64]:
    """Logits of the torch model, in batches of like length; float64 of shape (examples, labels).

    Args:
        model: The model.
        data: What to score.
        device: Where to run.
        half: Compute in bfloat16 rather than fp32: fast, and exact enough for a teacher's scores.
    """
    model.eval().to(device)
    order = sorted(range(len(data)), key=lambda index: len(data[index].ids))
    logits = np.zeros((len(data), len(LABELS)))
    with torch.inference_mode(), half_precision(device, wanted=half):
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            batch = collate([data[index] for index in rows], model.config.pad_token_id, device)
            found = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)["logits"]
            logits[rows] = found.double().cpu().numpy()
    return logits


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
