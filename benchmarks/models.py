"""A model with and without MedGuard, and guards side by side: ``python -m benchmarks.models``.

Three runs of `medguard.evaluation.bench`; figures go to ``results/models-*.json`` and, as tables, ``.md``:

- ``replayed``: SmolLM2's recorded answers to MedSafetyBench test requests, with the labels recorded for
  exactly these answers, replayed through the guard;
- ``answered``: SmolLM2 asked anew, on suites for which no labels are recorded: what the guard stops there;
- ``guards``: guards alone on every suite that comes with the data.

Run folders, which hold texts, are kept in ``runs/`` by bundle and code: a stopped run goes on, and what could
score otherwise begins anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

import medguard
from benchmarks import keywords
from benchmarks.sets import DATA, RESULTS, EvaluationSets
from benchmarks.shared import code_digest, provenance
from medguard import Policy
from medguard.bundle import Bundle, default_bundle_path
from medguard.evaluation import datasets
from medguard.evaluation.bench.guards import CallableGuard, MedGuardGuard
from medguard.evaluation.bench.names import bundle_digest
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.progress import ConsoleProgress
from medguard.evaluation.bench.report import write_report
from medguard.evaluation.bench.subjects import RecordedSubject
from medguard.evaluation.bench.suites import load_suite, suite_names
from medguard.evaluation.bench.types import Guard, Suite

__all__ = ["KINDS", "main"]

KINDS: Final = ("replayed", "answered", "guards")
RUNS: Final = RESULTS.parents[1] / "runs" / "benchmarks"
LABELS: Final = DATA / "judge_labels_eval.jsonl"
_ANSWERED: Final = ("harmbench", "contrast", "sensitive")
_GATED: Final = "hex-phi"
_SAMPLED: Final = {"med-harm-llama3": 2000}


def replay(folder: Path, progress: ConsoleProgress) -> None:
    """Replay the recorded answers and labels through the guard."""
    folder.mkdir(parents=True, exist_ok=True)
    requests = EvaluationSets().requests
    labels = list(datasets.judge_labels(LABELS))
    answers = folder / "answers.jsonl"
    # The texts of requests stay upstream: what joins them to the answers is made where it is read.
    answers.write_text(
        "".join(
            json.dumps({"prompt": requests[label.id].prompt, "response": label.response}) + "\n"
            for label in labels
        ),
        encoding="utf-8",
    )
    answered = {label.id for label in labels}
    run_bench(
        folder / "run",
        suites=[_only(load_suite(name), answered) for name in ("med-harm-gpt4", "med-harm-llama2")],
        subjects=[RecordedSubject(answers)],
        judge=f"recorded:{LABELS}",
        guards=["medguard"],
        progress=progress,
    )


def ask(folder: Path, progress: ConsoleProgress) -> None:
    """Let SmolLM2 answer, and apply the guard to requests and answers."""
    suites = map(load_suite, _ANSWERED)
    run_bench(folder / "run", suites=suites, subjects=["smollm2"], guards=["medguard"], progress=progress)


def compare_guards(folder: Path, progress: ConsoleProgress) -> None:
    """Apply every guard to the requests of every suite."""
    suites = [load_suite(name, sample=_SAMPLED.get(name)) for name in suite_names() if name != _GATED]
    run_bench(folder / "run", suites=suites, guards=list(_guards()), progress=progress)


def has_keyword(text: str) -> bool:
    """Whether the keyword list of `benchmarks.keywords` finds anything."""
    return bool(keywords.count_keywords([text])[0] > 0)


def _guards() -> Iterator[Guard]:
    for point in ("strict", "balanced", "permissive"):
        yield MedGuardGuard(Policy(operating_point=point))
    yield CallableGuard("keyword list", has_keyword)


def _only(suite: Suite, ids: set[str]) -> Suite:
    """Keep the requests that have recorded answers."""
    return replace(suite, items=tuple(item for item in suite.items if item.id in ids))


_RUN: Final = dict(zip(KINDS, (replay, ask, compare_guards), strict=True))


def _home(runs: Path, bundle: Bundle) -> Path:
    """Return where runs of a bundle are kept: one place for each content and each code."""
    content = f"{bundle_digest(bundle.config)}-{medguard.__version__}-{code_digest()}"
    return runs / f"{bundle.config.id}-{content}"


def _record(folder: Path, kind: str, results: Path, measured: dict[str, Any]) -> None:
    """Write the report, and keep its figures, which hold no texts, with what they are of."""
    write_report(folder / "run")
    figures = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    target = results / f"models-{kind}.json"
    figures["comparison"] |= measured
    target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(folder / "run" / "report.md", target.with_suffix(".md"))
    print(f"wrote {target}")


def main(
    kinds: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(KINDS)}; all.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = RUNS,
    results: Annotated[Path, typer.Option(help="Where figures are written.")] = RESULTS,
) -> None:
    """Run what is missing, and record the figures."""
    chosen: Sequence[str] = kinds or KINDS
    if unknown := set(chosen) - set(KINDS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    bundle = Bundle(default_bundle_path())
    home, measured = _home(runs, bundle), provenance(bundle.config)
    for kind in chosen:
        with ConsoleProgress() as progress:
            _RUN[kind](home / kind, progress)
        _record(home / kind, kind, results, measured)


if __name__ == "__main__":
    typer.run(main)
