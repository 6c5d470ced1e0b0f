"""Export to ONNX through optimum, and quantise."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export as export_graph
from optimum.exporters.onnx.model_configs import BertOnnxConfig, MPNetOnnxConfig

from training.cascade import EarlyExit, settle_early
from training.encoder import EXIT_LOGITS, GuardModel

__all__ = ["CPU_GRAPH", "GPU_GRAPH", "export_graphs"]

CPU_GRAPH = "model.int8.onnx"
GPU_GRAPH = "model.fp16.onnx"
_OPSET = 17
_LARGE_TABLE = 1000
_ONNX_CONFIGS = {"bert": BertOnnxConfig, "mpnet": MPNetOnnxConfig}


def export_graphs(
    model: GuardModel, folder: Path, *, gpu_graph: bool, early_exit: EarlyExit | None = None
) -> None:
    """Write the int8 graph (CPU), and with `gpu_graph` the fp16 graph (GPU), of `model` into `folder`.

    Int8 is dynamic: weights per channel in 7 bits, so that CPUs without VNNI do not saturate (onnxruntime's
    advice for AVX2), activations at run time. For fp16, attention, layer normalisation and GELU are fused
    first; fused, int8 is no faster on a CPU and loses more.

    Args:
        model: The trained model.
        folder: Where the graphs are put.
        gpu_graph: Whether to write the graph for GPUs, which always runs at full depth.
        early_exit: When the int8 graph leaves out the upper layers; None for never.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Path(scratch) / "plain.onnx"
        _write_plain(model, plain, with_exit=early_exit is not None)
        quantize_dynamic(
            plain,
            folder / CPU_GRAPH,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_small_lookups(plain),
        )
        if early_exit is not None:
            settle_early(folder / CPU_GRAPH, early_exit)
        if gpu_graph:
            if early_exit is not None:
                _write_plain(model, plain, with_exit=False)
            _write_half(model, plain, folder / GPU_GRAPH)


def _write_plain(model: GuardModel, path: Path, *, with_exit: bool) -> None:
    base = _ONNX_CONFIGS[model.config.model_type]

    class Config(base):  # type: ignore[misc, valid-type]
        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            rows = {0: "batch_size"}
            return {"logits": rows, EXIT_LOGITS: rows} if with_exit else {"logits": rows}

    export_graph(model.eval().cpu(), Config(model.config, task="text-classification"), path, opset=_OPSET)


def _write_half(model: GuardModel, plain: Path, path: Path) -> None:
    graph = optimize_model(
        str(plain),
        model_type="bert",
        num_heads=model.config.num_attention_heads,
        hidden_size=model.config.hidden_size,
        opt_level=1,
    )
    graph.convert_float_to_float16(keep_io_types=True)
    graph.save_model_to_file(str(path))


def _small_lookups(graph: Path) -> list[str]:
    """Name the lookups in small tables (positions, relative distances): int8 would save nothing there."""
    model = onnx.load(graph).graph
    rows = {item.name: item.dims[0] for item in model.initializer if len(item.dims) == 2}
    lookups = (node for node in model.node if node.op_type == "Gather")
    return [node.name for node in lookups if rows.get(node.input[0], _LARGE_TABLE) < _LARGE_TABLE]
