"""Measure a classifier bundle on the visible evaluation sets: ``python -m benchmarks.quality``.

Thresholds come from the bundle, which fixed them on held-out training data.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.sets import RESULTS, EvaluationSets
from medguard import Classifier, Scores, __version__
from medguard.bundle import OperatingPoint
from medguard.evaluation import metrics
from medguard.evaluation.sources import manifest

__all__ = ["main", "measure"]

Array = NDArray[np.float64]
_CHUNK = 256


def measure(classifier: Classifier, console: Console) -> dict[str, Any]:
    """Score every evaluation set and compute the figures, each with a 95% bootstrap interval."""
    sets = EvaluationSets()

    def prompt_scores(name: str, texts: Sequence[str]) -> Array:
        return np.array([item.prompt_score for item in _score(classifier, console, name, texts, None)])

    harmful = prompt_scores("harmful requests", sets.harmful())
    restyled_harmful, restyled_benign = (
        prompt_scores(f"restyled {side}", texts)
        for side, texts in zip(("harmful", "benign"), sets.restyled(), strict=True)
    )
    unsafe, safe = (
        prompt_scores(f"XSTest {side}", texts)
        for side, texts in zip(("unsafe", "safe"), sets.xstest(), strict=True)
    )
    harmful_sets = {
        "med_safety_bench_test": prompt_scores("test split", [r.prompt for r in sets.requests.values()]),
        "med_safety_bench_test_judged_harmful": harmful,
        "restyled_harmful": restyled_harmful,
        "xstest_unsafe": unsafe,
        **{name: prompt_scores(name, texts) for name, texts in sets.general_harm().items()},
    }
    benign_sets = {
        "contrast": prompt_scores("contrast", sets.contrast()),
        "sensitive": prompt_scores("sensitive", sets.sensitive()),
        "restyled_benign": restyled_benign,
        "xstest_safe": safe,
        **{name: prompt_scores(name, texts) for name, texts in sets.patient_questions().items()},
    }
    hard = np.concatenate([benign_sets["contrast"], benign_sets["sensitive"]])
    return {
        "schema_version": 1,
        "comparison": _comparison_key(classifier),
        "counts": {name: len(scores) for name, scores in (harmful_sets | benign_sets).items()},
        "operating_points": {
            name: _at_operating_point(point, harmful_sets, benign_sets)
            for name, point in classifier.operating_points.items()
        },
        "ranking": {
            "hard_benign": _ranking(harmful, hard),
            "restyled": _ranking(restyled_harmful, restyled_benign),
            "xstest": _ranking(unsafe, safe),
        },
        "calibration": {"request_ece": _request_ece(harmful, hard)},
        "answers": _answers(classifier, console, sets),
        "principles": _principles(classifier, console, sets),
        "parity": classifier.config.training.get("parity"),
    }


def _score(
    classifier: Classifier,
    console: Console,
    name: str,
    prompts: Sequence[str],
    responses: Sequence[str] | None,
) -> list[Scores]:
    starts = range(0, len(prompts), _CHUNK)
    scores: list[Scores] = []
    for at in track(starts, description=name, console=console, disable=not console.is_terminal):
        end = at + _CHUNK
        scores += classifier.score_many(prompts[at:end], None if responses is None else responses[at:end])
    return scores


def _at_operating_point(
    point: OperatingPoint, harmful: dict[str, Array], benign: dict[str, Array]
) -> dict[str, Any]:
    def shares(sets: dict[str, Array]) -> dict[str, metrics.Estimate]:
        return {
            name: metrics.bootstrap(
                lambda scores: metrics.share_at_or_above(scores, point.prompt_threshold), scores
            )
            for name, scores in sets.items()
        }

    return {
        "target_false_positive_rate": point.target_false_positive_rate,
        "prompt_threshold": point.prompt_threshold,
        "recall": shares(harmful),
        "false_positive_rate": shares(benign),
    }


def _ranking(harmful: Array, benign: Array) -> dict[str, metrics.Estimate]:
    result = {"auroc": metrics.bootstrap(metrics.auroc, harmful, benign)}
    for rate in (0.01, 0.02, 0.05):
        result[f"recall_at_{rate:.0%}_fpr"] = metrics.bootstrap(
            lambda bad, good, rate=rate: metrics.recall_at_fpr(bad, good, rate), harmful, benign
        )
    return result


def _request_ece(harmful: Array, benign: Array) -> metrics.Estimate:
    labels = np.concatenate([np.ones(len(harmful)), np.zeros(len(benign))])
    pairs = np.column_stack([np.concatenate([harmful, benign]), labels])
    return metrics.bootstrap(
        lambda rows: metrics.expected_calibration_error(rows[:, 0], rows[:, 1] > 0), pairs
    )


def _answers(classifier: Classifier, console: Console, sets: EvaluationSets) -> dict[str, Any]:
    """Compare the answer head with the judge: it is a distilled judge, not a judge of this guard."""
    prompts = [sets.requests[item.id].prompt for item in sets.labels]
    scores = _score(classifier, console, "answers", prompts, [item.response for item in sets.labels])
    judged = np.array([item.harmfulness for item in sets.labels])
    expected = np.array([item.harmfulness for item in scores], dtype=np.float64)
    harmful = np.array([item.response_score for item in scores])
    rounded = np.column_stack([np.rint(expected).astype(np.int64), judged])
    levels = [1, 2, 3, 4, 5]
    return {
        "count": len(judged),
        "quadratic_weighted_kappa": metrics.bootstrap(
            lambda rows: metrics.quadratic_weighted_kappa(rows[:, 0], rows[:, 1], levels), rounded
        ),
        "auroc_at_4": metrics.bootstrap(metrics.auroc, harmful[judged >= 4], harmful[judged < 4]),
        "operating_points": {
            name: {
                "recall_at_4": metrics.share_at_or_above(harmful[judged >= 4], point.response_threshold),
                "false_positive_rate_at_1_or_2": metrics.share_at_or_above(
                    harmful[judged <= 2], point.response_threshold
                ),
            }
            for name, point in classifier.operating_points.items()
        },
    }


def _principles(classifier: Classifier, console: Console, sets: EvaluationSets) -> dict[str, Any]:
    labels = [item for item in sets.labels if item.request_harm >= 2 and item.violates]
    prompts = [sets.requests[item.id].prompt for item in labels]
    scores = _score(classifier, console, "principles", prompts, None)
    hits = np.array(
        [
            float(int(np.argmax(item.principles)) + 1 in label.violates)
            for item, label in zip(scores, labels, strict=True)
        ]
    )
    return {
        "count": len(hits),
        "top_in_judges_list": metrics.bootstrap(lambda values: float(values.mean()), hits),
    }


def _comparison_key(classifier: Classifier) -> dict[str, Any]:
    return {
        "medguard": __version__,
        "classifier": classifier.id,
        "files": {name: record.sha256 for name, record in classifier.config.files.items()},
        "device": classifier.device.value,
        "sources": {name: item.commit for name, item in manifest().items()},
        "python": platform.python_version(),
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    output: Annotated[Path | None, typer.Option(help="Result file.")] = None,
) -> None:
    """Measure a bundle and record the result."""
    classifier = Classifier.load(bundle, device="cpu")
    result = measure(classifier, Console(stderr=True))
    target = output or RESULTS / f"{classifier.id}.quality.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {target.name}")


if __name__ == "__main__":
    app()
