"""Time the guard side by side with bare onnxruntime calls: ``python -m benchmarks.latency``.

The yardstick of size is all-MiniLM-L6-v2 with the same heads, exported and quantised alike.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from rich.progress import track
from tokenizers import Tokenizer

from benchmarks.shared import BundleOption, OutputOption, write_result
from medguard import Checker, Classifier
from medguard.bundle import Bundle, default_bundle_path
from training.encoder import load_pretrained
from training.export import CPU_GRAPH, export_graphs
from training.weights import encoder_folder

__all__ = ["main", "measure"]

# Twenty words, written for this benchmark.
REQUEST = (
    "My father takes warfarin and was given clarithromycin yesterday, so which bleeding signs should make us "
    "call the clinic today"
)
MINILM = "all-MiniLM-L6-v2"
_WARM_UP = 20


def measure(bundle: Path, rounds: int) -> dict[str, Any]:
    """Time `Checker.check_prompt` and the bare sessions in turn, so that noise falls on all alike.

    Returns:
        Median, mean and 95th percentile in milliseconds, and ratios within this run.
    """
    checker = Checker(classifier=Classifier.load(bundle, device="cpu"))
    opened = Bundle(bundle)
    graph, tokenizer = opened.read(opened.config.graphs["cpu"]), opened.read("tokenizer.json")
    session, feeds = _bare(graph, tokenizer)
    small, small_feeds = _bare(*_minilm())
    calls: dict[str, Callable[[], object]] = {
        "check_prompt": lambda: checker.check_prompt(REQUEST),
        "bare_onnxruntime": lambda: session.run(["logits"], feeds),
        "bare_minilm": lambda: small.run(["logits"], small_feeds),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in track(range(_WARM_UP + rounds), description="latency"):
        for name, call in calls.items():
            # Untimed: the threads of the session that ran before spin for a while yet.
            call()
            started = time.perf_counter()
            call()
            if number >= _WARM_UP:
                times[name].append((time.perf_counter() - started) * 1000.0)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    means = {name: float(np.mean(values)) for name, values in times.items()}
    return {
        "schema_version": 1,
        "classifier": checker.classifier.id,
        "words": len(REQUEST.split()),
        "tokens": int(feeds["input_ids"].shape[1]),
        "rounds": rounds,
        "median_ms": medians,
        "mean_ms": means,
        "p95_ms": {name: float(np.percentile(values, 95)) for name, values in times.items()},
        "ratio_of_medians": medians["check_prompt"] / medians["bare_onnxruntime"],
        "ratio_of_means_over_minilm": means["bare_onnxruntime"] / means["bare_minilm"],
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _bare(graph: bytes, tokenizer: bytes) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """Open a graph without any of the library's code around it, and the request's tensors ready made."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    encoding = Tokenizer.from_str(tokenizer.decode()).encode(REQUEST)
    # The tokenizer file may pad; padding would slow the bare call.
    ids = np.array([encoding.ids[: sum(encoding.attention_mask)]])
    made = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    return session, {item.name: made[item.name] for item in session.get_inputs()}


def _minilm() -> tuple[bytes, bytes]:
    """Export MiniLM untrained: time does not depend on the weights' values."""
    with tempfile.TemporaryDirectory() as scratch:
        export_graphs(load_pretrained(MINILM), Path(scratch), gpu_graph=False)
        graph = (Path(scratch) / CPU_GRAPH).read_bytes()
    return graph, (encoder_folder(MINILM) / "tokenizer.json").read_bytes()


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: BundleOption = None,
    rounds: Annotated[int, typer.Option(min=1)] = 2000,
    output: OutputOption = None,
) -> None:
    """Measure latency and record the result."""
    result = measure(bundle or default_bundle_path(), rounds)
    target = write_result(result, f"{result['classifier']}.latency.json", output)
    print(
        f"wrote {target.name}: {result['median_ms']}, ratio {result['ratio_of_medians']:.2f}, "
        f"over MiniLM {result['ratio_of_means_over_minilm']:.2f}"
    )


if __name__ == "__main__":
    app()
