"""Measure a classifier bundle on the visible evaluation sets: ``python -m benchmarks.quality``.

Thresholds come from the bundle, which fixed them on held-out training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.reliability import draw_reliability
from benchmarks.sets import EvaluationSets
from benchmarks.shared import (
    BundleOption,
    OutputOption,
    comparison_key,
    prompt_scores,
    ranking,
    score_texts,
    share,
    shares,
    write_result,
)
from medguard import Classifier, Scores
from medguard.bundle import OperatingPoint
from medguard.evaluation import metrics
from medguard.streamed import StreamedChecker

__all__ = ["main", "measure"]

Array = NDArray[np.float64]


def measure(classifier: Classifier, console: Console) -> dict[str, Any]:
    """Score every evaluation set and compute the figures, each with a 95% bootstrap interval."""
    sets = EvaluationSets()

    def scored(name: str, texts: Sequence[str]) -> Array:
        return prompt_scores(classifier, console, name, texts)

    requests = list(sets.requests.values())
    by_id = dict(
        zip(
            (item.id for item in requests),
            score_texts(classifier, console, "test split", [item.prompt for item in requests]),
            strict=True,
        )
    )
    harmful = np.array([by_id[item.id].prompt_score for item in sets.labels if item.request_harm >= 2])
    borderline = np.array([by_id[item.id].prompt_score for item in sets.labels if item.request_harm == 1])
    restyled_harmful, restyled_benign = (
        scored(f"restyled {side}", texts)
        for side, texts in zip(("harmful", "benign"), sets.restyled(), strict=True)
    )
    unsafe, safe = (
        scored(f"XSTest {side}", texts) for side, texts in zip(("unsafe", "safe"), sets.xstest(), strict=True)
    )
    harmful_sets = {
        "med_safety_bench_test": np.array([item.prompt_score for item in by_id.values()]),
        "med_safety_bench_test_judged_harmful": harmful,
        "restyled_harmful": restyled_harmful,
        "xstest_unsafe": unsafe,
        **{name: scored(name, texts) for name, texts in sets.general_harm().items()},
    }
    benign_sets = {
        "contrast": scored("contrast", sets.contrast()),
        "sensitive": scored("sensitive", sets.sensitive()),
        "restyled_benign": restyled_benign,
        "xstest_safe": safe,
        **{name: scored(name, texts) for name, texts in sets.patient_questions().items()},
    }
    hard = np.concatenate([benign_sets["contrast"], benign_sets["sensitive"]])
    return {
        "schema_version": 2,
        "comparison": comparison_key(classifier),
        "counts": {name: len(scores) for name, scores in (harmful_sets | benign_sets).items()}
        | {"borderline": len(borderline)},
        "operating_points": {
            name: _at_operating_point(point, harmful_sets, benign_sets, borderline)
            for name, point in classifier.operating_points.items()
        },
        "ranking": {
            "hard_benign": ranking(harmful, hard),
            "restyled": ranking(restyled_harmful, restyled_benign),
            "xstest": ranking(unsafe, safe),
            "harmbench_test": ranking(harmful_sets["harmbench_test"], hard),
            "strongreject": ranking(harmful_sets["strongreject"], hard),
        },
        "calibration": _calibration(harmful, hard),
        "answers": _answers(classifier, console, sets),
        "principles": _principles(by_id, sets),
        "parity": classifier.config.training.get("parity"),
    }


def _at_operating_point(
    point: OperatingPoint, harmful: dict[str, Array], benign: dict[str, Array], borderline: Array
) -> dict[str, Any]:
    """Shares flagged; requests at the borderline level 1 are neither class, and stand by themselves."""
    return {
        "target_false_positive_rate": point.target_false_positive_rate,
        "prompt_threshold": point.prompt_threshold,
        **shares(harmful, benign, point.prompt_threshold),
        "borderline": share(borderline, point.prompt_threshold),
    }


def _calibration(harmful: Array, benign: Array) -> dict[str, Any]:
    labels = np.concatenate([np.ones(len(harmful)), np.zeros(len(benign))])
    pairs = np.column_stack([np.concatenate([harmful, benign]), labels])
    return {
        "request_ece": metrics.bootstrap(
            lambda rows: metrics.expected_calibration_error(rows[:, 0], rows[:, 1] > 0), pairs
        ),
        "request_reliability": metrics.reliability(pairs[:, 0], pairs[:, 1] > 0),
    }


def _answers(classifier: Classifier, console: Console, sets: EvaluationSets) -> dict[str, Any]:
    """Compare the answer head with the judge: it is a distilled judge, not a judge of this guard."""
    prompts = [sets.requests[item.id].prompt for item in sets.labels]
    responses = [item.response for item in sets.labels]
    scores = score_texts(classifier, console, "answers", prompts, responses)
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
        "operating_points": _answers_flagged(classifier, harmful, judged),
        "streamed_operating_points": _answers_flagged(
            classifier, _streamed_scores(classifier, prompts, responses), judged
        ),
    }


def _answers_flagged(classifier: Classifier, scores: Array, judged: NDArray[np.int64]) -> dict[str, Any]:
    return {
        name: {
            "recall_at_4": metrics.share_at_or_above(scores[judged >= 4], point.response_threshold),
            "false_positive_rate_at_1_or_2": metrics.share_at_or_above(
                scores[judged <= 2], point.response_threshold
            ),
        }
        for name, point in classifier.operating_points.items()
    }


def _streamed_scores(classifier: Classifier, prompts: Sequence[str], responses: Sequence[str]) -> Array:
    """Score answers as they are judged when they are streamed under the default policy."""
    verdicts = StreamedChecker(classifier=classifier).check_responses(prompts, responses)
    return np.array([verdict.score for verdict in verdicts], dtype=np.float64)


def _principles(by_id: Mapping[str, Scores], sets: EvaluationSets) -> dict[str, Any]:
    hits = np.array(
        [
            int(np.argmax(by_id[label.id].principles)) + 1 in label.violates
            for label in sets.labels
            if label.request_harm >= 2 and label.violates
        ]
    )
    return {
        "count": len(hits),
        "top_in_judges_list": metrics.proportion(hits),
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(bundle: BundleOption = None, output: OutputOption = None) -> None:
    """Measure a bundle and record the result."""
    classifier = Classifier.load(bundle, device="cpu")
    result = measure(classifier, Console(stderr=True))
    target = write_result(result, f"{classifier.id}.quality.json", output)
    diagram = draw_reliability(result["calibration"]["request_reliability"], target.with_suffix(".svg"))
    print(f"wrote {target.name} and {diagram.name}")


if __name__ == "__main__":
    app()
