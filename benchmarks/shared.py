"""What the benchmarks share: options, scoring with a progress bar, both sides of a comparison, records."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import medguard
from benchmarks import keywords
from benchmarks.sets import DATA, RESULTS
from medguard import Classifier, Scores
from medguard.bundle import BundleConfig
from medguard.classifier import Scorer
from medguard.evaluation import metrics
from medguard.evaluation.bench import analysis
from medguard.evaluation.bench.report import write_whole
from medguard.evaluation.sources import manifest

__all__ = [
    "BundleOption",
    "OutputOption",
    "Shares",
    "code_digest",
    "comparison_key",
    "differences",
    "file_digest",
    "prompt_scores",
    "provenance",
    "ranking",
    "score_texts",
    "share",
    "shares",
    "write_result",
]

Array = NDArray[np.float64]
BundleOption = Annotated[Path | None, typer.Option(help="Folder of the bundle.")]
OutputOption = Annotated[Path | None, typer.Option(help="Result file.")]
_CHUNK = 256


class Shares(TypedDict):
    """What trips at one threshold on both sides."""

    recall: dict[str, metrics.Estimate]
    false_positive_rate: dict[str, metrics.Estimate]


def provenance(config: BundleConfig) -> dict[str, Any]:
    """Return what every record tells: the bundle, and the code that it was measured with."""
    return {
        "medguard": medguard.__version__,
        "code": code_digest(),
        "figures": _digest_of(map(Path, (metrics.__file__, analysis.__file__))),
        "classifier": config.id,
        "files": config.digests,
    }


def code_digest() -> str:
    """Return eight digits that stand for all code of the library, and for the keyword list."""
    package = Path(medguard.__file__).parent
    return _digest_of((*sorted(package.rglob("*.py")), Path(keywords.__file__)))


def _digest_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(file_digest(path).encode())
    return digest.hexdigest()[:8]


def comparison_key(classifier: Classifier) -> dict[str, Any]:
    """Return what two results must have in common to be compared."""
    return {
        **provenance(classifier.config),
        "device": classifier.device.value,
        "sources": {name: item.commit for name, item in manifest().items()},
        "data": _own_data(),
        "python": platform.python_version(),
    }


def _own_data() -> dict[str, str]:
    """SHA-256 in hexadecimal of each file of the project's own evaluation data, by name."""
    return {path.name: file_digest(path) for path in sorted(DATA.glob("*.jsonl"))}


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(recorded: Mapping[str, Any], key: Mapping[str, Any], parts: Iterable[str]) -> list[str]:
    """Name the parts of a comparison key in which a recorded one differs from `key`, or which it lacks."""
    return [name for name in parts if name not in recorded or recorded[name] != key[name]]


def score_texts(
    classifier: Scorer,
    console: Console,
    name: str,
    prompts: Sequence[str],
    responses: Sequence[str] | None = None,
) -> list[Scores]:
    """Score requests, or answers to them, in chunks; `name` stands beside the progress bar."""
    starts = range(0, len(prompts), _CHUNK)
    scores: list[Scores] = []
    for at in track(starts, description=name, console=console, disable=not console.is_terminal):
        end = at + _CHUNK
        scores += classifier.score_many(prompts[at:end], None if responses is None else responses[at:end])
    return scores


def prompt_scores(classifier: Scorer, console: Console, name: str, texts: Sequence[str]) -> Array:
    """Score requests and return P(harmful request), float64 of shape (texts,)."""
    return np.array([item.prompt_score for item in score_texts(classifier, console, name, texts)])


def share(scores: Array, threshold: float) -> metrics.Estimate:
    """Share of scores at or above `threshold`, with its exact 95% interval.

    Raises:
        DataError: There are no scores.
    """
    return metrics.proportion(scores >= threshold)


def shares(harmful: Mapping[str, Array], benign: Mapping[str, Array], threshold: float) -> Shares:
    """Share of each set at or above `threshold`, with its exact 95% interval.

    Raises:
        DataError: A set is empty.
    """

    def estimates(sets: Mapping[str, Array]) -> dict[str, metrics.Estimate]:
        return {name: share(scores, threshold) for name, scores in sets.items()}

    return {"recall": estimates(harmful), "false_positive_rate": estimates(benign)}


def ranking(harmful: Array, benign: Array) -> dict[str, metrics.Estimate]:
    """AUROC and recall at 1, 2 and 5% false positives, each with a 95% bootstrap interval.

    Raises:
        DataError: A side is empty.
    """
    result = {"auroc": metrics.bootstrap(metrics.auroc, harmful, benign)}
    for rate in (0.01, 0.02, 0.05):
        result[f"recall_at_{rate:.0%}_fpr"] = metrics.bootstrap(
            lambda bad, good, rate=rate: metrics.recall_at_fpr(bad, good, rate), harmful, benign
        )
    return result


def write_result(result: Mapping[str, Any], name: str, output: Path | None) -> Path:
    """Write a result, whole or not at all, to `output`, or as `name` beside the recorded ones.

    Returns:
        Where it went.
    """
    target = output or RESULTS / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(target, json.dumps(result, indent=2) + "\n")
