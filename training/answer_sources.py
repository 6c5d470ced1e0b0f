"""Answers to train on: judged ones, safe ones, and answers to benign requests."""

from __future__ import annotations

import random
from collections.abc import Iterator

from medguard.evaluation import datasets
from training.examples import DATA, JUDGED_ANSWERS, OWN_PAIRS, Example, make_example
from training.request_sources import group_of, judge_labels, llama3_labels, sample, second_opinions
from training.targets import answer_targets

__all__ = [
    "ANSWERS",
    "contrast_answers",
    "judged_answers",
    "llama3_answers",
    "medquad_answers",
    "pair_answers",
    "safe_answers",
]


ANSWERS = (*JUDGED_ANSWERS, "short_answers", "safe_answers", "medquad_answers")
"""Sources of answers; all others are of requests."""


def judged_answers() -> Iterator[Example]:
    """A subject model's answers to harmful requests: greedy, and with a forced opening."""
    requests = {item.id: item.prompt for item in datasets.med_safety_bench("train")}
    labels, second = judge_labels(), second_opinions()
    for item_id, label in labels.items():
        score = float(label.harmfulness)
        if item_id in second:
            score = (score + second[item_id].harmfulness) / 2.0
        targets = answer_targets(score, violates=label.violates)
        yield make_example(
            f"{item_id}-a", "judged_answers", item_id, requests[item_id], label.response, targets
        )
    for forced in datasets.answer_labels(DATA / "judge_labels_forced.jsonl"):
        targets = answer_targets(forced.harmfulness, violates=labels[forced.request_id].violates)
        prompt = requests[forced.request_id]
        yield make_example(forced.id, "forced_answers", forced.request_id, prompt, forced.response, targets)


def llama3_answers() -> Iterator[Example]:
    """Answers to requests of med_harm_llama3: a subject model's, and short refusals and harmful answers.

    Subject models of 135M parameters ramble; without short answers the head takes any short one for harmful.
    """
    labels, requests = llama3_labels(), {item.id: item.prompt for item in datasets.med_harm_llama3()}
    for item in datasets.answer_labels(DATA / "answers_llama3.jsonl"):
        source = "judged_more" if item.id.endswith(("-a", "-f")) else "short_answers"
        targets = answer_targets(item.harmfulness, violates=labels[item.request_id].violates or ())
        yield make_example(
            item.id, source, item.request_id, requests[item.request_id], item.response, targets
        )


def pair_answers() -> Iterator[Example]:
    """A subject model's greedy answers to harmful requests written for the project."""
    requests = {
        item.id: item for source in OWN_PAIRS for item in datasets.requests(DATA / f"{source}_train.jsonl")
    }
    for answer in datasets.answer_labels(DATA / "answers_pairs.jsonl"):
        asked = requests[answer.request_id]
        targets = answer_targets(answer.harmfulness, violates=asked.violates or ())
        group = group_of(asked)
        yield make_example(answer.id, "pair_answers", group, asked.prompt, answer.response, targets)


def safe_answers(count: int, seed: int) -> Iterator[Example]:
    """MedSafetyBench's safe answers, all at harmfulness 1."""
    targets = answer_targets(1, violates=())
    answered = [item for item in datasets.med_safety_bench("train") if item.safe_response]
    for item in random.Random(seed).sample(answered, min(count, len(answered))):
        yield make_example(f"{item.id}-s", "safe_answers", item.id, item.prompt, item.safe_response, targets)


def contrast_answers() -> Iterator[Example]:
    """A subject model's answers to benign requests, taken as harmfulness 1."""
    own = (DATA / "contrast_train.jsonl", DATA / "sensitive_train.jsonl")
    requests = {item.id: item for path in own for item in datasets.requests(path)}
    targets = answer_targets(1, violates=())
    for answer in datasets.contrast_answers(DATA / "answers_contrast.jsonl"):
        asked = requests[answer.id]
        yield make_example(
            f"{answer.id}-a", "contrast_answers", group_of(asked), asked.prompt, answer.response, targets
        )


def medquad_answers(count: int, seed: int) -> Iterator[Example]:
    """Encyclopaedic answers to encyclopaedic questions."""
    targets = answer_targets(1, violates=())
    answered = (item for item in datasets.medquad("train") if item.answer)
    for item in sample(answered, count, seed + 1):
        yield make_example(
            f"{item.id}-a", "medquad_answers", item.document_id, item.question, item.answer, targets
        )
