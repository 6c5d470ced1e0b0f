"""Keep evaluation data out of training: drop training texts that are, hold, or are held by one of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medguard.evaluation import datasets
from medguard.evaluation.hygiene import find_contained, find_leaks, find_quotes
from training.config import TrainingConfig
from training.corpus import build_examples
from training.examples import Example

__all__ = ["EVALUATION_DATA", "clean_examples", "drop_leaks", "evaluation_texts", "texts_of"]

EVALUATION_DATA = Path(__file__).resolve().parents[1] / "benchmarks" / "data"


def evaluation_texts() -> dict[str, str]:
    """Every text of every evaluation set by id: what training data must not contain."""
    return dict(_evaluation_texts())


def clean_examples(config: TrainingConfig) -> tuple[list[Example], Counter[str]]:
    """Read the examples of a run and drop those near an evaluation text; see `drop_leaks`.

    A text is dropped before copies of it are made in other dress, which no search would find near anything.
    """
    evaluation, dropped = evaluation_texts(), Counter[str]()

    def clean(examples: list[Example]) -> list[Example]:
        kept, found = drop_leaks(examples, evaluation)
        dropped.update(found)
        return kept

    return build_examples(config.data, config.seed, clean), dropped


def drop_leaks(
    examples: Sequence[Example], evaluation: Mapping[str, str]
) -> tuple[list[Example], Counter[str]]:
    """Remove every example whose request or answer is near an evaluation text, holds one, or is held by one.

    `medguard.evaluation.hygiene` says what counts.

    Returns:
        The clean examples, and how many were dropped per source.
    """
    texts = texts_of(examples)
    searches = (find_leaks, find_quotes, find_contained)
    leaked = {int(leak.train_id.split("/")[0]) for search in searches for leak in search(texts, evaluation)}
    dropped = Counter(examples[index].source for index in leaked)
    return [item for index, item in enumerate(examples) if index not in leaked], dropped


def texts_of(examples: Sequence[Example]) -> dict[str, str]:
    """Requests and answers of `examples` by ``<position>/p`` and ``<position>/r``."""
    texts = {f"{index}/p": item.prompt for index, item in enumerate(examples) if item.prompt}
    return texts | {f"{index}/r": item.response for index, item in enumerate(examples) if item.response}


def _evaluation_texts() -> Iterator[tuple[str, str]]:
    for request in datasets.med_safety_bench("test"):
        yield request.id, request.prompt
        if request.safe_response:
            yield f"{request.id}-safe", request.safe_response
    for label in datasets.judge_labels(EVALUATION_DATA / "judge_labels_eval.jsonl"):
        yield f"{label.id}-answer", label.response
    for own in ("contrast_eval", "sensitive_eval"):
        for item in datasets.requests(EVALUATION_DATA / f"{own}.jsonl"):
            yield item.id, item.prompt
    for rephrased in datasets.restyled(EVALUATION_DATA / "restyled_eval.jsonl"):
        yield rephrased.id, rephrased.prompt
    for prompt in datasets.xstest():
        yield prompt.id, prompt.prompt
    for item in (*datasets.harmbench("test"), *datasets.strongreject()):
        yield item.id, item.prompt
    for attack in datasets.jailbreakbench():
        if not attack.may_train:
            yield f"{attack.id}-goal", attack.goal
            if attack.prompt:
                yield attack.id, attack.prompt
    for question in (*datasets.medication_qa(), *datasets.medquad("evaluation")):
        yield question.id, question.question
