"""Time the guard side by side with bare onnxruntime calls: ``python -m benchmarks.latency``.

The yardstick of size is all-MiniLM-L6-v2 with the same heads, exported and quantised alike. A cascade needs
longer for some requests than for others, so requests of some twenty words of three kinds take turns.
"""

from __future__ import annotations

import os
import platform
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from rich.progress import track
from tokenizers import Tokenizer

from benchmarks.sets import EvaluationSets
from benchmarks.shared import BundleOption, OutputOption, comparison_key, write_result
from medguard import Checker, Classifier
from medguard.bundle import Bundle, default_bundle_path
from training.cascade import SETTLED
from training.encoder import load_pretrained
from training.export import CPU_GRAPH, export_graphs
from training.weights import encoder_folder

__all__ = ["main", "measure"]

MINILM = "all-MiniLM-L6-v2"
_WORDS = (15, 25)
_TEXTS = 40
_SEED = 20261126
_WARM_UP = 20


def measure(bundle: Path, rounds: int) -> dict[str, Any]:
    """Time `Checker.check_prompt` and the bare sessions in turn, so that noise falls on all alike.

    Returns:
        Median, mean and 95th percentile in milliseconds over all kinds of requests and by kind, ratios within
        this run, and how many requests of each kind a cascade settles early.
    """
    checker = Checker(classifier=Classifier.load(bundle, device="cpu"))
    opened = Bundle(bundle)
    graph = _Bare(opened.read(opened.config.graphs["cpu"]), opened.read("tokenizer.json"))
    small = _Bare(*_minilm())
    kinds = _requests()
    times: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in kinds}
    for number in track(range(_WARM_UP + rounds), description="latency"):
        for kind, texts in kinds.items():
            text = texts[number % len(texts)]
            calls: dict[str, Callable[[], object]] = {
                "check_prompt": lambda text=text: checker.check_prompt(text),  # type: ignore[misc]
                "bare_onnxruntime": graph.call(text),
                "bare_minilm": small.call(text),
            }
            for name, call in calls.items():
                # Untimed: the threads of the session that ran before spin for a while yet.
                call()
                started = time.perf_counter()
                call()
                if number >= _WARM_UP:
                    times[kind][name].append((time.perf_counter() - started) * 1000.0)
    together: dict[str, list[float]] = defaultdict(list)
    for found in times.values():
        for name, values in found.items():
            together[name].extend(values)
    return {
        "schema_version": 2,
        "classifier": checker.classifier.id,
        "comparison": comparison_key(checker.classifier),
        "words": list(_WORDS),
        "rounds": rounds,
        **_figures(together),
        "kinds": {
            kind: _figures(found) | {"texts": len(kinds[kind]), "settled_early": graph.settled(kinds[kind])}
            for kind, found in times.items()
        },
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _figures(times: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: float(np.median(values)) for name, values in times.items()}
    means = {name: float(np.mean(values)) for name, values in times.items()}
    return {
        "median_ms": medians,
        "mean_ms": means,
        "p95_ms": {name: float(np.percentile(values, 95)) for name, values in times.items()},
        "ratio_of_medians": medians["check_prompt"] / medians["bare_onnxruntime"],
        "ratio_of_means_over_minilm": means["bare_onnxruntime"] / means["bare_minilm"],
    }


def _requests() -> dict[str, list[str]]:
    """Up to 40 requests of 15 to 25 words of each kind from the evaluation sets."""
    sets = EvaluationSets()
    sources = {
        "patient_questions": sets.patient_questions()["medication_qa"],
        "hard_benign": [*sets.contrast(), *sets.sensitive()],
        "harmful": sets.harmful(),
    }
    fitting = {
        kind: [text for text in texts if _WORDS[0] <= len(text.split()) <= _WORDS[1]]
        for kind, texts in sources.items()
    }
    draw = random.Random(_SEED)
    return {kind: draw.sample(texts, min(_TEXTS, len(texts))) for kind, texts in fitting.items()}


class _Bare:
    """A graph without any of the library's code around it."""

    def __init__(self, graph: bytes, tokenizer: bytes) -> None:
        model = onnx.load_from_string(graph)
        makers = {name for node in model.graph.node for name in node.output}
        self._is_cascade = SETTLED in makers
        if self._is_cascade:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(SETTLED, onnx.TensorProto.BOOL, [None, 1])
            )
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self._inputs = [item.name for item in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        # The tokenizer file may pad; padding would slow the bare call.
        self._tokenizer.no_padding()

    def call(self, text: str) -> Callable[[], object]:
        """Make ready the tensors of `text`, for a call that does nothing else than run the graph."""
        feeds = self._feeds(text)
        return lambda: self._session.run(["logits"], feeds)

    def settled(self, texts: Sequence[str]) -> float | None:
        """Share of `texts` that the graph settles early; None where it is no cascade."""
        if not self._is_cascade:
            return None
        found = [self._session.run([SETTLED], self._feeds(text))[0].all() for text in texts]
        return float(np.mean(found))

    def _feeds(self, text: str) -> dict[str, np.ndarray]:
        ids = np.array([self._tokenizer.encode(text).ids])
        made = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: made[name] for name in self._inputs}


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
    rounds: Annotated[int, typer.Option(min=1)] = 700,
    output: OutputOption = None,
) -> None:
    """Measure latency and record the result."""
    result = measure(bundle or default_bundle_path(), rounds)
    target = write_result(result, f"{result['classifier']}.latency.json", output)
    print(
        f"wrote {target.name}: {result['mean_ms']}, ratio {result['ratio_of_medians']:.2f}, "
        f"over MiniLM {result['ratio_of_means_over_minilm']:.2f}"
    )


if __name__ == "__main__":
    app()
