"""Time the guard side by side with the bare onnxruntime call: ``python -m benchmarks.latency``."""

from __future__ import annotations

import os
import platform
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

__all__ = ["main", "measure"]

# Twenty words, written for this benchmark.
REQUEST = (
    "My father takes warfarin and was given clarithromycin yesterday, so which bleeding signs should make us "
    "call the clinic today"
)
_WARM_UP = 20


def measure(bundle: Path, rounds: int) -> dict[str, Any]:
    """Time `Checker.check_prompt` and the bare session in turn, so that noise falls on both alike.

    Returns:
        Median and 95th percentile in milliseconds, and the ratio of the medians.
    """
    checker = Checker(classifier=Classifier.load(bundle, device="cpu"))
    session, feeds = _bare(Bundle(bundle))
    calls: dict[str, Callable[[], object]] = {
        "check_prompt": lambda: checker.check_prompt(REQUEST),
        "bare_onnxruntime": lambda: session.run(["logits"], feeds),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in track(range(_WARM_UP + rounds), description="latency"):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= _WARM_UP:
                times[name].append((time.perf_counter() - started) * 1000.0)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "schema_version": 1,
        "classifier": checker.classifier.id,
        "words": len(REQUEST.split()),
        "tokens": int(feeds["input_ids"].shape[1]),
        "rounds": rounds,
        "median_ms": medians,
        "p95_ms": {name: float(np.percentile(values, 95)) for name, values in times.items()},
        "ratio_of_medians": medians["check_prompt"] / medians["bare_onnxruntime"],
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _bare(bundle: Bundle) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """Open the graph without any of the library's code around it, and the request's tensors ready made."""
    session = onnxruntime.InferenceSession(
        bundle.read(bundle.config.graphs["cpu"]), providers=["CPUExecutionProvider"]
    )
    encoding = Tokenizer.from_str(bundle.read("tokenizer.json").decode()).encode(REQUEST)
    # The tokenizer file may pad; padding would slow the bare call.
    ids = np.array([encoding.ids[: sum(encoding.attention_mask)]])
    made = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    return session, {item.name: made[item.name] for item in session.get_inputs()}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: BundleOption = None,
    rounds: Annotated[int, typer.Option(min=1)] = 300,
    output: OutputOption = None,
) -> None:
    """Measure latency and record the result."""
    result = measure(bundle or default_bundle_path(), rounds)
    target = write_result(result, f"{result['classifier']}.latency.json", output)
    print(f"wrote {target.name}: {result['median_ms']}, ratio {result['ratio_of_medians']:.2f}")


if __name__ == "__main__":
    app()
