"""Measure how a bundle withstands disguise, rephrasing and jailbreaks: ``python -m benchmarks.robustness``.

Thresholds come from the bundle. Recall on disguised harm always stands beside the false positive rate on
benign text in the same disguise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.attacks import attack_sets
from benchmarks.sets import EvaluationSets
from benchmarks.shared import (
    BundleOption,
    OutputOption,
    comparison_key,
    prompt_scores,
    share,
    write_result,
)
from medguard import Classifier
from medguard.classifier import Scorer
from medguard.evaluation import datasets, metrics
from medguard.evaluation.transforms import TRANSFORMS, Transform, burial

__all__ = ["Comparison", "Limits", "comparisons", "main", "measure"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many texts of each side to score; a larger set is sampled."""

    texts: int | None = None
    """None for all."""
    buried_texts: int | None = 100
    """The same for burial, whose texts are two hundred times as long."""
    seed: int = 20261125
    """For samples and transformations."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Harmful and benign texts under one condition."""

    group: str
    """``transformations``, ``restyled`` or ``jailbreaks``."""
    name: str
    harmful: Sequence[str]
    benign: Sequence[str]
    counterpart: str
    """What the benign texts are."""


def comparisons(sets: EvaluationSets, limits: Limits) -> Iterator[Comparison]:
    """Yield everything that is measured, one condition after another.

    Raises:
        DataError: An upstream source is not to be had.
    """
    harmful, benign = sets.harmful(), [*sets.contrast(), *sets.sensitive()]
    transforms: Mapping[str, Transform] = {**TRANSFORMS, "burial": burial(sets.passages)}
    for name, transform in transforms.items():
        count = limits.buried_texts if name == "burial" else limits.texts
        yield Comparison(
            "transformations",
            name,
            [transform(text, limits.seed) for text in _sample(harmful, count, limits.seed)],
            [transform(text, limits.seed) for text in _sample(benign, count, limits.seed)],
            "contrast and sensitive requests, transformed alike",
        )
    for style, (bad, good) in sets.restyled_by_style().items():
        yield Comparison(
            "restyled",
            style,
            _sample(bad, limits.texts, limits.seed),
            _sample(good, limits.texts, limits.seed),
            "benign twins in the same style",
        )
    yield from _jailbreaks(sets, benign, limits)


def measure(
    classifier: Scorer, conditions: Iterable[Comparison], console: Console
) -> dict[str, dict[str, Any]]:
    """Score both sides of every comparison.

    Returns:
        By group and name: counts, AUROC, and recall and false positive rate at each operating point, with
        95% bootstrap intervals.

    Raises:
        DataError: A side is empty.
    """
    result: dict[str, dict[str, Any]] = {}
    for item in conditions:
        harmful, benign = (
            prompt_scores(classifier, console, f"{item.name}, {side}", texts)
            for side, texts in (("harmful", item.harmful), ("benign", item.benign))
        )
        result.setdefault(item.group, {})[item.name] = {
            "counts": {"harmful": len(harmful), "benign": len(benign)},
            "counterpart": item.counterpart,
            "auroc": metrics.bootstrap(metrics.auroc, harmful, benign),
            "operating_points": {
                name: {
                    side: share(values, point.prompt_threshold)
                    for side, values in (("recall", harmful), ("false_positive_rate", benign))
                }
                for name, point in classifier.operating_points.items()
            },
        }
    return result


def _jailbreaks(sets: EvaluationSets, benign: Sequence[str], limits: Limits) -> Iterator[Comparison]:
    order = random.Random(limits.seed).sample(benign, len(benign))
    for method, found in attack_sets(datasets.jailbreakbench(), order).items():
        good, counterpart = found.benign, "contrast and sensitive requests in the attack's wrapping"
        if not good:
            good = tuple(sets.restyled()[1])
            counterpart = "restyled benign requests, as the attack rewrites the goal"
        yield Comparison(
            "jailbreaks",
            method,
            _sample(found.harmful, limits.texts, limits.seed),
            _sample(good, limits.texts, limits.seed),
            counterpart,
        )


def _sample(texts: Sequence[str], count: int | None, seed: int) -> Sequence[str]:
    if count is None or count >= len(texts):
        return texts
    return random.Random(seed).sample(texts, count)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: BundleOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Texts of each side of a comparison.")] = None,
    buried_limit: Annotated[
        int, typer.Option(min=1, help="The same for burial, whose texts are long.")
    ] = 100,
    output: OutputOption = None,
) -> None:
    """Measure a bundle and record the result."""
    classifier = Classifier.load(bundle, device="cpu")
    buried = buried_limit if limit is None else min(limit, buried_limit)
    limits = Limits(texts=limit, buried_texts=buried)
    result = {
        "schema_version": 1,
        "comparison": comparison_key(classifier),
        "limits": {"texts": limits.texts, "buried_texts": limits.buried_texts, "seed": limits.seed},
        **measure(classifier, comparisons(EvaluationSets(), limits), Console(stderr=True)),
    }
    print(f"wrote {write_result(result, f'{classifier.id}.robustness.json', output).name}")


if __name__ == "__main__":
    app()
