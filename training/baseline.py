"""Train the plainest classifier on the same kinds of data: TF-IDF and logistic regression.

The data is what this checkout holds, which may be newer than a bundle.

``python -m training.baseline`` writes it as JSON into ``training/runs/``, and ``benchmarks.peers`` reads it
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medguard.scores import LABELS
from training.calibration import threshold_at
from training.config import TrainingConfig
from training.examples import Example, split_examples
from training.leaks import clean_examples

__all__ = ["fit", "main", "request_examples"]

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "training" / "runs" / "baseline" / "tfidf.json"
_HARMFUL = LABELS.index("request_harm>=2")
_MAX_FEATURES = 50_000
_FEATURES: tuple[dict[str, Any], ...] = (
    {"analyzer": "word", "ngram_range": (1, 2), "sublinear_tf": True},
    {"analyzer": "char_wb", "ngram_range": (3, 5), "sublinear_tf": True},
)
_INVERSE_PENALTIES = (1.0, 10.0, 100.0)


def request_examples(examples: Iterable[Example]) -> list[Example]:
    """Keep requests whose harm is known: what the request head learns from."""
    return [item for item in examples if item.response is None and item.mask[_HARMFUL] > 0]


def fit(train: Sequence[Example], held_out: Sequence[Example], false_positive_rate: float) -> dict[str, Any]:
    """Fit every combination of features and penalty, and keep the best AUROC on held-out requests.

    A soft label of 0.5 or more counts as harmful.

    Args:
        train: Request examples to fit on.
        held_out: Request examples to choose on, and to fix the threshold on as the bundle's is.
        false_positive_rate: Share of the held-out hard benign medical requests that may be flagged.

    Returns:
        Features, vocabulary, weights and threshold: all that scoring needs, as JSON holds it.
    """
    fitted: list[tuple[float, dict[str, Any], float, TfidfVectorizer, LogisticRegression]] = []
    for features in track(_FEATURES, description="fitting", console=Console(stderr=True)):
        vectoriser = TfidfVectorizer(**features, min_df=2, max_features=_MAX_FEATURES)
        rows = vectoriser.fit_transform([item.prompt for item in train])
        for penalty in _INVERSE_PENALTIES:
            model = LogisticRegression(C=penalty, max_iter=2000)
            model.fit(rows, _labels(train), sample_weight=[item.weight for item in train])
            area = roc_auc_score(_labels(held_out), _predict(vectoriser, model, held_out))
            fitted.append((float(area), features, penalty, vectoriser, model))
    area, features, penalty, vectoriser, model = max(fitted, key=lambda candidate: candidate[0])
    benign = [item for item in held_out if item.is_benign_medical_request]
    return {
        "schema_version": 1,
        "features": features,
        "inverse_penalty": penalty,
        "train_examples": len(train),
        "held_out_auroc": area,
        "target_false_positive_rate": false_positive_rate,
        "threshold": threshold_at(_predict(vectoriser, model, benign), false_positive_rate),
        "vocabulary": vectoriser.get_feature_names_out().tolist(),
        "idf": vectoriser.idf_.tolist(),
        "coefficients": model.coef_[0].tolist(),
        "intercept": float(model.intercept_[0]),
    }


def _labels(examples: Sequence[Example]) -> NDArray[np.bool_]:
    return np.array([item.targets[_HARMFUL] >= 0.5 for item in examples])


def _predict(
    vectoriser: TfidfVectorizer, model: LogisticRegression, examples: Sequence[Example]
) -> NDArray[np.float64]:
    rows = vectoriser.transform([item.prompt for item in examples])
    return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings file.")] = ROOT / "training/configs/mpnet9-v6.toml",
    output: Annotated[Path, typer.Option(help="Model file.")] = OUTPUT,
) -> None:
    """Train the baseline on the requests that `config` takes from the training data of this checkout."""
    settings = TrainingConfig.from_toml(config)
    clean, _ = clean_examples(settings)
    train, held_out = split_examples(request_examples(clean), settings.data.holdout_fraction)
    model = fit(train, held_out, settings.operating_points["balanced"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(model) + "\n", encoding="utf-8")
    print(
        f"wrote {output.name}: {len(train)} examples, {model['features']['analyzer']} n-grams, "
        f"C = {model['inverse_penalty']:g}, held-out AUROC {model['held_out_auroc']:.3f}"
    )


if __name__ == "__main__":
    app()
