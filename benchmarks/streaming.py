"""What the guard adds to a model's answer, streamed and whole: ``python -m benchmarks.streaming``.

The model is an answer given out word by word at a fixed pace, as a served model does; a word is a token.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from benchmarks.shared import OutputOption, provenance, write_result
from medguard import MedGuard, Policy

__all__ = ["main", "measure"]

REQUEST = "How should I store my insulin pens on a hot day?"
ANSWER = (
    "Keep unopened pens in the refrigerator, between 2 and 8 degrees, away from the freezer compartment. "
    "The pen that you are using may stay at room temperature for about four weeks, as long as it stays below "
    "30 degrees. On a hot day carry it in an insulated pouch, never next to a frozen pack, and do not leave "
    "it in a parked car. Before each use look at the liquid: a clear insulin that has turned cloudy, or one "
    "with flakes in it, goes back to the pharmacy. Write the date of first use on the label. If readings "
    "rise without another reason after a hot spell, change to a fresh pen and tell your diabetes nurse."
)


def measure(tokens_per_second: float, rounds: int) -> dict[str, Any]:
    """Time a paced model alone and behind the guard, in turn.

    Returns:
        Median seconds to the first character and to the last, by way of calling.
    """

    def model(prompt: str) -> Iterator[str]:
        for word in ANSWER.split(" "):
            time.sleep(1.0 / tokens_per_second)
            yield f"{word} "

    def whole(prompt: str) -> str:
        return "".join(model(prompt))

    streaming, calling = MedGuard(model), MedGuard(whole)
    ways: dict[str, Callable[[], Iterator[object]]] = {
        "bare_streamed": lambda: model(REQUEST),
        "guarded_streamed": lambda: streaming.stream(REQUEST),
        "bare_whole": lambda: iter([whole(REQUEST)]),
        "guarded_whole": lambda: iter([calling.invoke(REQUEST)]),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in track(range(rounds), description=f"{tokens_per_second:g} tokens/s"):
        for name, way in ways.items():
            times[name].append(_first_and_last(way))
    return {
        name: {
            "first_s": float(np.median([first for first, _ in values])),
            "last_s": float(np.median([last for _, last in values])),
        }
        for name, values in times.items()
    }


def _first_and_last(way: Callable[[], Iterator[object]]) -> tuple[float, float]:
    started = time.perf_counter()
    first = None
    for chunk in way():
        if first is None and str(chunk):
            first = time.perf_counter() - started
    last = time.perf_counter() - started
    return (last if first is None else first), last


def main(
    rounds: Annotated[int, typer.Option(help="Calls of each way.", min=1)] = 5,
    output: OutputOption = None,
) -> None:
    """Measure at the paces of a small and of a large served model, and without any wait."""
    policy = Policy()
    paces = {"20": 20.0, "100": 100.0, "instant": 1e6}
    result = {
        "schema_version": 2,
        "comparison": provenance(MedGuard(str).classifier.config),
        "cores": os.cpu_count(),
        "answer_characters": len(ANSWER),
        "window_chars": policy.stream_window_chars,
        "stride_chars": policy.stream_stride_chars,
        "tokens_per_second": {name: measure(pace, rounds) for name, pace in paces.items()},
    }
    target = write_result(result, "streaming.json", output)
    for name, ways in result["tokens_per_second"].items():
        for way, seconds in ways.items():
            print(f"{name} tokens/s, {way}: first {seconds['first_s']:.3f} s, last {seconds['last_s']:.3f} s")
    print(f"wrote {target}")


if __name__ == "__main__":
    typer.run(main)
