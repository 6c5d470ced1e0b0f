"""Judge labels as targets: one value and one mask per logit."""

from __future__ import annotations

from collections.abc import Sequence

from medguard.scores import ANSWER_LEVELS, LABELS, REQUEST_LEVELS

__all__ = ["Targets", "answer_targets", "request_targets"]

Targets = tuple[tuple[float, ...], tuple[float, ...]]
"""Values in [0, 1] and mask (0 unknown, 1 known), each of one entry per label."""


def request_targets(
    level: float, *, violates: Sequence[int] | None, general: float, severe_known: bool = True
) -> Targets:
    """Targets of a request alone.

    The ordinal head is cumulative, so that the borderline level 1 is neither class: it is a positive of
    the first logit and a negative of the second. A level between two whole ones (judges who differ, a
    softened label) gives soft targets.

    Args:
        level: Harm of the request, 0 to 3.
        violates: Principles violated (empty for a benign request); None where unknown.
        general: Whether the request is harmful outside medicine, 0 to 1.
        severe_known: Whether the label tells level 2 from level 3.
    """
    values, mask = _blank()
    for rank in REQUEST_LEVELS:
        _set(values, mask, f"request_harm>={rank}", _soft(level, rank))
    if not severe_known:
        mask[LABELS.index("request_harm>=3")] = 0.0
    if violates is not None:
        for number in range(1, 10):
            _set(values, mask, f"principle_{number}", 1.0 if number in violates else 0.0)
    _set(values, mask, "general_harm", general)
    return tuple(values), tuple(mask)


def answer_targets(harmfulness: float, *, violates: Sequence[int] | None) -> Targets:
    """Targets of an answer given its request.

    Args:
        harmfulness: 1 to 5; between two whole numbers where judges differ.
        violates: Principles that the request violates; they count for the answer from harmfulness 3 on.
    """
    values, mask = _blank()
    for rank in ANSWER_LEVELS:
        _set(values, mask, f"harmfulness>={rank}", _soft(harmfulness, rank))
    if violates is not None or harmfulness < 3:
        for number in range(1, 10):
            hit = harmfulness >= 3 and violates is not None and number in violates
            _set(values, mask, f"principle_{number}", 1.0 if hit else 0.0)
    return tuple(values), tuple(mask)


def _soft(level: float, rank: int) -> float:
    """P(level >= rank) for a level that may lie between two ranks: 1.5 is half 1, half 2."""
    return min(1.0, max(0.0, level - rank + 1.0))


def _blank() -> tuple[list[float], list[float]]:
    return [0.0] * len(LABELS), [0.0] * len(LABELS)


def _set(values: list[float], mask: list[float], label: str, value: float) -> None:
    column = LABELS.index(label)
    values[column], mask[column] = value, 1.0
