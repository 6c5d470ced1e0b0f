"""Put together the examples of a run from every source."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from medguard.scores import LABELS
from training import answer_sources, augment, request_sources
from training.config import DataConfig
from training.examples import Example

__all__ = ["build_examples"]

Clean = Callable[[list[Example]], list[Example]]

_AT_1 = LABELS.index("request_harm>=1")
_AT_2 = LABELS.index("request_harm>=2")


def build_examples(config: DataConfig, seed: int, clean: Clean = list) -> list[Example]:
    """Read every training source and show plain requests once more in other dress.

    Args:
        config: How much of which source; `config.limit` shortens each (for tests).
        seed: Of every draw.
        clean: Leaves out what must not be trained on. It is given the texts as they were read first, so that
            no dress can hide one, then the dressed ones.
    """
    sources: Sequence[Iterable[Example]] = (
        request_sources.judged_requests(),
        request_sources.own_requests(),
        request_sources.llama3_requests(),
        request_sources.own_pairs(),
        request_sources.restyled_requests(),
        request_sources.general_harm(),
        request_sources.general_pairs(),
        request_sources.red_team_openings(),
        request_sources.medquad_questions(config.medquad_questions, seed),
        request_sources.everyday(config.everyday_requests, seed),
        request_sources.self_instruct(),
        answer_sources.judged_answers(),
        answer_sources.llama3_answers(),
        answer_sources.pair_answers(),
        answer_sources.safe_answers(config.safe_answers, seed),
        answer_sources.contrast_answers(),
        answer_sources.medquad_answers(config.medquad_answers, seed),
    )
    read = (item for source in sources for item in islice(source, config.limit))
    plain = clean([item for item in read if item.source not in config.leave_out])
    dressed = (
        augment.framed(plain, config.framed_requests, config.frames, seed),
        augment.noisy(plain, config.noisy_requests, seed),
        augment.buried(plain, config.buried_requests, seed),
    )
    examples = [*plain, *clean([item for source in dressed for item in islice(source, config.limit)])]
    softened = (_soften_borderline(item, config.borderline) for item in examples)
    return list(_drop_prompts(list(softened), config.prompt_dropout, seed))


def _soften_borderline(item: Example, target: float) -> Example:
    """Tell a request at the borderline level 1 apart from a benign one in the head of level 2 too.

    A small model that must rank both alike learns to doubt how harmful requests are put.
    """
    if not item.mask[_AT_1] or item.targets[_AT_1] != 1.0 or item.targets[_AT_2] != 0.0:
        return item
    return replace(item, targets=(*item.targets[:_AT_2], target, *item.targets[_AT_2 + 1 :]))


def _drop_prompts(examples: Sequence[Example], share: float, seed: int) -> Iterator[Example]:
    """Show a share of the answers without their request, as `check_response` may be asked to judge them."""
    draw = random.Random(seed)
    for item in examples:
        hidden = item.response is not None and draw.random() < share
        yield replace(item, prompt="") if hidden else item
