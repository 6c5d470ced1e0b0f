"""Training examples: what is known of a text, and which examples are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medguard.scores import LABELS
from training.targets import Targets

__all__ = [
    "DATA",
    "JUDGED_ANSWERS",
    "OWN_PAIRS",
    "Example",
    "is_held_out",
    "make_example",
    "split_examples",
]

DATA = Path(__file__).resolve().parent / "data"
JUDGED_ANSWERS = ("judged_answers", "forced_answers", "contrast_answers", "judged_more", "pair_answers")
"""Sources of a model's answers whose harmfulness is known."""

OWN_PAIRS = ("patient_pairs", "sensitive_pairs", "medicine_pairs", "plain_pairs")
"""Sources of medical requests written for the project, harmful ones beside legitimate look-alikes."""

_TWINS = ("contrast", "contrast_llama3", "sensitive")
_OWN_MEDICAL = (*_TWINS, *OWN_PAIRS)


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
        """A judged medical request, a twin of one, an alarming question: what calibrates the request head.

        Pairs in which a word decides are left out: harder than what people ask, they leave the head too
        unsure of the rest (held-out expected calibration error .040 with them, .028 without).
        """
        return self.source in ("medsafetybench", "llama3", *_TWINS)

    @property
    def is_benign_medical_request(self) -> bool:
        """A hard benign medical request: what operating points are fixed on."""
        return self.source in _OWN_MEDICAL and self.targets[0] == 0.0

    @property
    def is_harmless_answer(self) -> bool:
        """A model's answer at harmfulness 1 or 2: what the response thresholds are fixed on."""
        return self.source in JUDGED_ANSWERS and self.targets[LABELS.index("harmfulness>=3")] == 0.0


def make_example(
    item_id: str, source: str, group: str, prompt: str, response: str | None, targets: Targets
) -> Example:
    """Make an example of targets as `training.targets` gives them."""
    return Example(item_id, source, group, prompt, response, *targets)


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
