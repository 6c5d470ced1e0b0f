"""Read a bundle's int8 weights back, to train on from it: ``python -m training.dequantise``.

The float32 weights of a bundle are not kept. Rounded to int8, they are near enough to train further from:
what is written here stands in the run's folder as its checkpoint, for settings that name the run as their
teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import torch
import typer
from numpy.typing import NDArray
from onnx import AttributeProto, numpy_helper

from medguard.errors import MedGuardError
from training.config import TrainingConfig
from training.distill import CONFIGS, ROOT, RUNS
from training.encoder import GuardModel
from training.export import CPU_GRAPH
from training.loop import CHECKPOINT, write_checkpoint
from training.soft_labels import empty_model

__all__ = ["graph_weights", "load_bundle", "main"]

_WORDS = "encoder.embeddings.word_embeddings.weight"
# How the exporter names the product of a smoothed linear layer, and of a head.
_PRODUCTS = ("/linear/MatMul_quant", "/Gemm_MatMul_quant")


def load_bundle(config: TrainingConfig, folder: Path) -> GuardModel:
    """Build the model of a bundle with its int8 weights as floats.

    Args:
        config: Settings that the bundle was trained with.
        folder: The bundle.

    Raises:
        MedGuardError: There is no graph, or it does not hold the weights of such a model.
    """
    path = folder / CPU_GRAPH
    if not path.is_file():
        raise MedGuardError(f"no {CPU_GRAPH} in {folder}; name the folder of a bundle")
    model = empty_model(config)
    found = {name: torch.from_numpy(value) for name, value in graph_weights(path).items()}
    own = model.state_dict()
    if config.optimiser.freeze_words:  # never trained, so the encoder's own are exact
        found[_WORDS] = own[_WORDS]
    wrong = [name for name, value in own.items() if name in found and found[name].shape != value.shape]
    missing = sorted(name for name in own if name not in found and not name.endswith("position_ids"))
    if wrong or missing:
        raise MedGuardError(f"{path} is no graph of {config.id}: {', '.join([*wrong, *missing][:3])} differ")
    model.load_state_dict(own | {name: value for name, value in found.items() if name in own})
    return model.eval()


def graph_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read every weight of an int8 graph as float32, under the name that it has in the model.

    Args:
        path: A graph as `training.export` writes it, of a model that `training.smooth` has changed.
    """
    graphs = list(_with_branches(onnx.load(path).graph))
    stored = {item.name: numpy_helper.to_array(item) for part in graphs for item in part.initializer}
    nodes = [item for part in graphs for item in part.node]
    # Equal tensors are stored once, such as the scale of layers that read the same activation.
    stored |= {
        node.output[0]: stored[node.input[0]]
        for node in nodes
        if node.op_type == "Identity" and node.input[0] in stored
    }
    found = {
        name.replace(".linear.bias", ".bias"): np.array(value)
        for name, value in stored.items()
        if value.dtype == np.float32 and not name.endswith((".inverse", "_scale"))
    }
    found[_WORDS] = _as_float(stored, _WORDS)
    scale_of = {
        f"{node.output[0]}_quantized": name
        for node in nodes
        for name in node.input
        if node.op_type == "Mul" and name.endswith(".inverse")
    }
    for node in nodes:
        if node.op_type != "MatMulInteger":
            continue
        product = next(name for name in _PRODUCTS if node.name.endswith(name))
        weight = _as_float(stored, node.input[1].removesuffix("_quantized"))
        if scale := scale_of.get(node.input[0]):  # undo what training.smooth moved into the weight
            weight = weight * stored[scale][:, None]
        module = node.name.removesuffix(product).removeprefix("/").replace("/", ".")
        found[f"{module}.weight"] = np.ascontiguousarray(weight.T)
    return found


def _with_branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _with_branches(attribute.g)


def _as_float(stored: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.float32]:
    rounded, scale, zero = (stored[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))
    return (rounded.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings of the bundle.")] = CONFIGS / "mpnet9-v6.toml",
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    run_folder: Annotated[Path | None, typer.Option(help="Where the checkpoint is put.")] = None,
) -> None:
    """Write a checkpoint that has a bundle's weights."""
    settings = TrainingConfig.from_toml(config)
    run_folder = run_folder or RUNS / settings.id
    if (run_folder / CHECKPOINT).exists():
        typer.echo(
            f"error: {run_folder} holds a checkpoint already; delete it or choose another folder", err=True
        )
        raise typer.Exit(2)
    try:
        model = load_bundle(settings, bundle or ROOT / "classifiers" / settings.id)
    except MedGuardError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    write_checkpoint(run_folder, {"model": model.state_dict()})
    typer.echo(f"weights of {settings.id} written to {run_folder / CHECKPOINT}")


if __name__ == "__main__":
    app()
