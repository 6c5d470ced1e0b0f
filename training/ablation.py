"""What each ingredient of the training data is worth: ``python -m training.ablation``.

A small encoder is trained on requests alone, over several seeds, once with everything and once without each
ingredient; all runs are compared on the same held-out training groups. No evaluation set is read. The small
encoder stands in for the released one, which takes hours a run: read the order of the ingredients, not the
figures.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import track

from medguard.evaluation.metrics import auroc, recall_at_fpr
from medguard.scores import LABELS, request_scores, sigmoid
from training.batches import encode
from training.config import TrainingConfig
from training.encoder import load_pretrained, read_tokenizer
from training.examples import OWN_PAIRS, Example, split_examples
from training.leaks import clean_examples
from training.logits import torch_logits
from training.loop import train
from training.request_sources import RESTYLED
from training.weights import encoder_folder

__all__ = ["INGREDIENTS", "ablate"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
_HARMFUL = LABELS.index("request_harm>=2")
_REQUEST_LABELS = [LABELS.index(f"request_harm>={level}") for level in (1, 2, 3)]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A change to the training examples."""

    title: str
    change: Callable[[Sequence[Example]], list[Example]]


def _without(*sources: str) -> Callable[[Sequence[Example]], list[Example]]:
    return lambda examples: [item for item in examples if item.source not in sources]


def _hard_labels(examples: Sequence[Example]) -> list[Example]:
    """Every upstream request harmful, as the dataset has it, instead of the judge's level."""

    def hardened(item: Example) -> Example:
        if item.source not in ("medsafetybench", "llama3"):
            return item
        targets = list(item.targets)
        for column in _REQUEST_LABELS:
            targets[column] = 1.0
        return replace(item, targets=tuple(targets))

    return [hardened(item) for item in examples]


INGREDIENTS: dict[str, Ingredient] = {
    "everything": Ingredient("everything", list),
    "hard_labels": Ingredient("the dataset's labels instead of the judge's", _hard_labels),
    "no_twins": Ingredient("no benign twins", _without("contrast", "contrast_llama3", "general_contrast")),
    "no_restyled": Ingredient("no rephrased requests", _without(*RESTYLED)),
    "no_pairs": Ingredient(
        "no pairs as people type them",
        _without(*OWN_PAIRS, "general_pairs", "general_more"),
    ),
    "no_llama3": Ingredient("no judged requests of med_harm_llama3", _without("llama3", "contrast_llama3")),
    "no_augmentation": Ingredient("no frames, noise or burial", _without("framed", "noisy", "buried")),
}


def ablate(config: TrainingConfig, seeds: Sequence[int]) -> dict[str, Any]:
    """Train every variant with every seed.

    Returns:
        By ingredient the title, the number of examples, and each figure as mean, spread (standard deviation
        over seeds) and the values themselves.
    """
    examples, _ = clean_examples(config)
    requests = [item for item in examples if item.response is None]
    kept, held_out = split_examples(requests, config.data.holdout_fraction)
    found = {}
    for name, ingredient in INGREDIENTS.items():
        chosen = ingredient.change(kept)
        figures = [
            _figures(replace_seed(config, seed), chosen, held_out)
            for seed in track(seeds, description=f"{name} ({len(chosen)} examples)")
        ]
        found[name] = {
            "title": ingredient.title,
            "examples": len(chosen),
            **{key: _summary([item[key] for item in figures]) for key in figures[0]},
        }
    return found


def replace_seed(config: TrainingConfig, seed: int) -> TrainingConfig:
    """The same settings with another order, dropout and head."""
    return config.model_copy(update={"seed": seed})


def _figures(
    config: TrainingConfig, examples: Sequence[Example], held_out: Sequence[Example]
) -> dict[str, float]:
    tokenizer = read_tokenizer(encoder_folder(config.encoder))
    torch.manual_seed(config.seed)
    model = load_pretrained(config.encoder, config.layers)
    encoded = encode(examples, tokenizer, config.windows, model.special_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        train(model, encoded, config, Path(scratch), device=torch.device("cpu"))
    logits = torch_logits(model, encode(held_out, tokenizer, config.windows, model.special_tokens))
    return _measured(request_scores(sigmoid(logits)), held_out)


def _measured(score: np.ndarray[Any, np.dtype[np.float64]], held_out: Sequence[Example]) -> dict[str, float]:
    harmful = np.array([item.targets[_HARMFUL] >= 0.5 for item in held_out])
    source = np.array([item.source for item in held_out])
    asked = np.isin(source, ("medsafetybench", "llama3")) & harmful
    hard = np.array([item.is_benign_medical_request for item in held_out])
    restyled = np.char.startswith(source.astype(str), "restyled")
    general = np.isin(source, ("general_harm", "general_pairs", "general_more"))
    limit = np.quantile(score[hard], 0.98)
    return {
        "auroc": auroc(score[asked], score[hard]),
        "recall_at_2%_fpr": recall_at_fpr(score[asked], score[hard], 0.02),
        "restyled_auroc": auroc(score[restyled & harmful], score[restyled & ~harmful]),
        "general_recall_at_2%_fpr": float((score[general & harmful] > limit).mean()),
        "general_benign_above_2%_fpr": float((score[general & ~harmful] > limit).mean()),
    }


def _summary(values: list[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "values": values,
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings file.")] = HERE / "configs" / "ablation.toml",
    seeds: Annotated[int, typer.Option(help="How many seeds.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Where to write.")] = RESULTS / "ablation.json",
) -> None:
    """Train and compare; writes JSON."""
    settings = TrainingConfig.from_toml(config)
    found = ablate(settings, range(settings.seed, settings.seed + seeds))
    record = {"schema_version": 1, "settings": settings.model_dump(mode="json"), "ablation": found}
    output.write_text(json.dumps(record, indent=4) + "\n", encoding="utf-8")
    print(f"wrote {output}")


if __name__ == "__main__":
    app()
