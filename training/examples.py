"""Training examples: what is known of a text, which sources a run uses, which examples are held out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from medguard.scores import LABELS
from training.config import DataConfig
from training.targets import Targets

__all__ = ["DATA", "Example", "build_examples", "is_held_out", "make_example", "split_examples"]

DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True, slots=True)
class Example:
    """One text with what is known of it."""

    id: str
    source: str
    """Data set, as named in the data card."""
    group: str
    """Request, twin and rephrasings share a group, so that a split never parts them."""
    prompt: str
    response: str | None
    targets: tuple[float, ...]
    mask: tuple[float, ...]
    weight: float = 1.0

    @property
    def is_medical_request(self) -> bool:
        """A medical request as it was asked: what the request head is calibrated on."""
        return self.source in ("medsafetybench", "contrast", "sensitive", "patient")

    @property
    def is_benign_medical_request(self) -> bool:
        """A hard benign medical request: what operating points are fixed on."""
        return self.source in ("contrast", "sensitive", "patient") and self.targets[0] == 0.0

    @property
    def is_harmless_answer(self) -> bool:
        """A model's answer at harmfulness 1 or 2: what the response thresholds are fixed on."""
        written = self.source in ("judged_answers", "forced_answers", "contrast_answers")
        return written and self.targets[LABELS.index("harmfulness>=3")] == 0.0


def make_example(
    item_id: str, source: str, group: str, prompt: str, response: str | None, targets: Targets
) -> Example:
    """Make an example of targets as `training.targets` gives them."""
    return Example(item_id, source, group, prompt, response, *targets)


def build_examples(config: DataConfig, seed: int) -> list[Example]:
    """Read every training source; `config.limit` shortens each (for tests)."""
    # Here, for the sources make examples.
    from training import answer_sources, augment, request_sources

    sources: Sequence[Iterable[Example]] = (
        request_sources.judged_requests(),
        request_sources.own_requests(),
        request_sources.patient_pairs(),
        request_sources.restyled_requests(),
        request_sources.general_harm(),
        request_sources.general_pairs(),
        request_sources.red_team_openings(),
        request_sources.medquad_questions(config.medquad_questions, seed),
        request_sources.everyday(config.everyday_requests, seed),
        request_sources.self_instruct(),
        answer_sources.judged_answers(),
        answer_sources.safe_answers(config.safe_answers, seed),
        answer_sources.contrast_answers(),
        answer_sources.medquad_answers(config.medquad_answers, seed),
    )
    read = (item for source in sources for item in islice(source, config.limit))
    examples = [item for item in read if item.source not in config.leave_out]
    examples += islice(augment.framed(examples, config.framed_requests, config.frames, seed), config.limit)
    examples += islice(augment.noisy(examples, config.noisy_requests, seed), config.limit)
    examples += islice(augment.buried(examples, config.buried_requests, seed), config.limit)
    return list(_drop_prompts(examples, config.prompt_dropout, seed))


def split_examples(examples: Sequence[Example], fraction: float) -> tuple[list[Example], list[Example]]:
    """Part the examples into training and held-out ones by a hash of their group."""
    train = [item for item in examples if not is_held_out(item.group, fraction)]
    return train, [item for item in examples if is_held_out(item.group, fraction)]


def is_held_out(group: str, fraction: float) -> bool:
    """Whether the hash of `group` falls in the first `fraction` of its range.

    The prefix keeps this choice independent of the one that keeps MedQuAD documents for evaluation.
    """
    number = int.from_bytes(hashlib.sha256(f"held-out:{group}".encode()).digest()[:8], "big")
    return number < fraction * 2**64


def _drop_prompts(examples: Sequence[Example], share: float, seed: int) -> Iterator[Example]:
    """Show a share of the answers without their request, as `check_response` may be asked to judge them."""
    draw = random.Random(seed)
    for item in examples:
        hidden = item.response is not None and draw.random() < share
        yield replace(item, prompt="") if hidden else item
