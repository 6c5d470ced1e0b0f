"""Unlabelled texts for the teacher to score: the student learns from its scores alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from medguard.evaluation import datasets
from medguard.scores import LABELS
from training.augment import framed
from training.config import DataConfig, PoolConfig
from training.examples import Example, make_example
from training.request_sources import sample
from training.targets import Targets

__all__ = ["build_pool"]

_SHORTEST_ANSWER = 4
_UNKNOWN: Targets = ((0.0,) * len(LABELS), (0.0,) * len(LABELS))


def build_pool(config: PoolConfig, data: DataConfig, examples: list[Example], seed: int) -> list[Example]:
    """Draw the pool; every target is unknown.

    Args:
        config: How many texts of each kind.
        data: Settings of the labelled data; its `limit` holds for the pool too.
        examples: Labelled training examples: requests among them are framed anew.
        seed: Fixes the choice, apart from that of the labelled examples.
    """
    draw = random.Random(f"pool:{seed}")
    sources: tuple[Iterable[Example], ...] = (
        _llama3_requests(config.llama3_requests, draw),
        _medquad_questions(config.medquad_questions, seed + 2),
        _dialogues(config.dialogues, draw),
        framed(examples, config.framed_requests, data.frames, seed + 1),
        _dialogue_answers(config.dialogue_answers, draw),
    )
    pool = [item for source in sources for item in list(source)[: data.limit]]
    return [
        Example(f"{item.id}~pool", "pool", item.group, item.prompt, item.response, *_UNKNOWN) for item in pool
    ]


def _llama3_requests(count: int, draw: random.Random) -> Iterator[Example]:
    requests = list(datasets.med_harm_llama3())
    for item in draw.sample(requests, min(count, len(requests))):
        yield make_example(item.id, "pool", item.id, item.prompt, None, _UNKNOWN)


def _medquad_questions(count: int, seed: int) -> Iterator[Example]:
    for item in sample(datasets.medquad("train"), count, seed):
        yield make_example(item.id, "pool", item.document_id, item.question, None, _UNKNOWN)


def _dialogues(count: int, draw: random.Random) -> Iterator[Example]:
    """Human turns of red-team dialogues, openings and later ones."""
    turns = [
        (f"{dialogue.id}-{number}", dialogue.id, text.strip())
        for dialogue in datasets.hh_rlhf()
        for number, (speaker, text) in enumerate(dialogue.turns)
        if speaker == "human" and 3 <= len(text.split()) <= 80
    ]
    for item_id, group, text in draw.sample(turns, min(count, len(turns))):
        yield make_example(item_id, "pool", group, text, None, _UNKNOWN)


def _dialogue_answers(count: int, draw: random.Random) -> Iterator[Example]:
    """Assistant turns of red-team dialogues, each with the human turn before it."""
    answers = [
        (f"{dialogue.id}-{number}-a", dialogue.id, dialogue.turns[number - 1][1].strip(), text.strip())
        for dialogue in datasets.hh_rlhf()
        for number, (speaker, text) in enumerate(dialogue.turns)
        if speaker == "assistant" and number and len(text.split()) >= _SHORTEST_ANSWER
    ]
    for item_id, group, asked, text in draw.sample(answers, min(count, len(answers))):
        yield make_example(item_id, "pool", group, asked, text, _UNKNOWN)
