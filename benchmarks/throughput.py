"""Time and memory of the guard over all of med_harm_llama3: ``python -m benchmarks.throughput``.

The pipeline of `medguard.evaluation.bench`, with its store, applies the guard to 74,374 requests.
"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.shared import OutputOption, comparison_key, write_result
from medguard import Classifier
from medguard.bundle import default_bundle_path
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.progress import ConsoleProgress
from medguard.evaluation.bench.suites import load_suite

__all__ = ["main", "measure"]

SUITE: Final = "med-harm-llama3"


def measure(limit: int | None = None) -> dict[str, Any]:
    """Score the suite once, from an empty folder.

    Returns:
        Requests, wall time of the scoring in seconds, requests a second, and the process's peak memory in MB.
    """
    with tempfile.TemporaryDirectory() as folder, ConsoleProgress() as progress:
        suite = load_suite(SUITE, limit=limit)
        summary = run_bench(Path(folder) / "run", suites=[suite], guards=["medguard"], progress=progress)
    seconds = sum(stage.seconds for stage in summary.stages)
    return {
        "suite": SUITE,
        "requests": summary.calls,
        "failed": summary.failed,
        "seconds": seconds,
        "requests_per_second": summary.calls / seconds,
        "peak_memory_mb": _peak_bytes() / 1e6,
    }


def _peak_bytes() -> int:
    # Kilobytes everywhere but on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(
    limit: Annotated[int | None, typer.Option(min=1, help="First requests alone.")] = None,
    output: OutputOption = None,
) -> None:
    """Measure and write JSON."""
    result = measure(limit)
    classifier = Classifier.load(default_bundle_path(), device="cpu")
    key = {"schema_version": 1, "comparison": comparison_key(classifier), "machine": platform.machine()}
    target = write_result({**key, **result}, f"{classifier.id}.throughput.json", output)
    rate, peak = result["requests_per_second"], result["peak_memory_mb"]
    print(f"{rate:.0f} requests/s, {peak:.0f} MB; wrote {target}")


if __name__ == "__main__":
    typer.run(main)
