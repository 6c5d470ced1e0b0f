"""Thresholds with a finite-sample bound on the false positive rate, from benign scores alone. Pure; no I/O.

Split conformal prediction with one class: the threshold is the lowest that lets through all but `k` of `n`
benign scores. Two statements hold, whatever the distribution of the scores, ties included:

- On average over calibration sets, the rate of future benign texts at or above the threshold is at most
  ``(k + 1) / (n + 1)``; exchangeable scores suffice (Vovk, Gammerman and Shafer 2005, "Algorithmic
  Learning in a Random World", ch. 2).
- For the one calibration set at hand, and independent scores: for continuous scores that rate follows
  Beta(k + 1, n - k), the law of an order statistic, and with ties it is never above a variable of that law.
  It exceeds `p` with a probability of at most P(Binomial(n, p) <= k) (Vovk 2012, "Conditional validity of
  inductive conformal predictors", PMLR 25; Angelopoulos and Bates, "A gentle introduction to conformal
  prediction", arXiv 2107.07511, section 3.2). `k` is the largest for which that is at most
  ``1 - confidence`` at the target rate. By de Finetti's theorem the same holds for scores that are
  exchangeable without end: they are independent draws from a law that is itself drawn.

Texts that repeat an earlier one count once. A copy is no further draw: enough copies of one text would prove
any rate, so a bound that counted them would claim a confidence that the data does not have. The price is that
the rate is that of distinct texts, not of messages: where a text that trips comes often, more messages trip.
The first copy counts, since a choice by score would bias what the scores are drawn from.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medguard.errors import DataError, InvalidInputError

__all__ = [
    "ASSUMED",
    "NOT_COVERED",
    "FittedThreshold",
    "Recall",
    "allowed_flags",
    "clopper_pearson_upper",
    "fewest_benign",
    "first_of_each",
    "fit_threshold",
    "measure_recall",
    "text_key",
]

ASSUMED: Final = (
    "future distinct benign texts are exchangeable with these distinct ones, as if all came from one traffic "
    "in random order"
)
"""What the guarantee rests on, in words for a report. It is taken for granted, not checked."""

NOT_COVERED: Final = (
    "texts read in another way: of a conversation the worst of several readings decides, of a stream the "
    "worst of its windows; what was fitted to single prompts, or to whole responses, says nothing of these, "
    "nor the other way round",
    "how often a text comes: repeats count once, so one that trips and comes often trips more messages",
    "traffic that differs from the calibration lines: other users, topics, languages or seasons",
    "lines that depend on each other, such as several of one user or conversation",
    "wrong labels: a harmful line taken for benign raises the threshold and hides harm",
    "another classifier, precision or device: its scores differ, so calibrate again",
    "harm that is missed: recall is measured on the harmful lines given, never guaranteed",
    "choosing the target, or among several thresholds, after a look at the report",
)
"""What the guarantee says nothing about, in words for a report."""

_BISECTIONS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedThreshold:
    """A threshold, and what is known of its false positive rate."""

    threshold: float
    """Texts trip at this score or above, in [0, 1]."""
    target_fpr: float
    """False positive rate, in (0, 1), that future traffic exceeds with a probability of at most
    ``1 - confidence`` over the draw of the calibration scores."""
    confidence: float
    """In (0, 1)."""
    benign: int
    """How many benign scores fixed the threshold."""
    allowed: int
    """How many of them it might flag."""
    flagged: int
    """How many of them it flags: fewer than allowed where scores tie at the boundary."""
    tied: int
    """How many of them equal the highest score that passes; 1 where there is no tie."""
    fpr_upper_bound: float
    """Upper bound of the rate at `confidence`, at most `target_fpr`: that of Clopper and Pearson, at
    `allowed` flags. (Not at `flagged`, which with ties was chosen along with the threshold.)"""

    @property
    def empirical_fpr(self) -> float:
        """Share of the calibration scores that is flagged."""
        return self.flagged / self.benign

    @property
    def expected_fpr_bound(self) -> float:
        """Upper bound of the rate on average over calibration sets, ``(allowed + 1) / (benign + 1)``."""
        return (self.allowed + 1) / (self.benign + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How many harmful texts a threshold catches."""

    harmful: int
    caught: int
    lower_bound: float
    """Lower bound of the share caught (Clopper and Pearson) at the confidence asked for."""

    @property
    def rate(self) -> float:
        """Share that is caught."""
        return self.caught / self.harmful


def fit_threshold(
    benign_scores: Sequence[float] | NDArray[np.float64],
    *,
    target_fpr: float = 0.02,
    confidence: float = 0.95,
) -> FittedThreshold:
    """Choose the lowest threshold that keeps the false positive rate at `target_fpr` with `confidence`.

    It is the float right above the ``(k + 1)``-th highest score, so that scores which tie with it all pass.

    Args:
        benign_scores: Independent scores of benign texts in [0, 1], in any order.
        target_fpr: False positive rate on future texts of the same distribution, in (0, 1).
        confidence: Probability, over the draw of `benign_scores`, with which it is kept, in (0, 1).

    Raises:
        InvalidInputError: A rate or a score is out of range.
        DataError: Too few scores for the target, or so many of 1 that no threshold lets enough through.
    """
    needed = fewest_benign(target_fpr, confidence)
    scores = np.sort(np.asarray(benign_scores, dtype=np.float64))[::-1]
    if scores.ndim != 1 or not np.all((scores >= 0.0) & (scores <= 1.0)):
        raise InvalidInputError("benign scores are a sequence of numbers in [0, 1]")
    allowed = allowed_flags(len(scores), target_fpr, confidence)
    if allowed is None:
        raise DataError(
            f"a false positive rate of at most {target_fpr:g} with confidence {confidence:g} needs at least "
            f"{needed} benign lines, found {len(scores)}: add lines, raise the target or lower the confidence"
        )
    boundary = float(scores[allowed])
    if boundary >= 1.0:
        raise DataError(
            f"more than {allowed} of {len(scores)} benign lines score 1, so no threshold passes enough of "
            "them: are they benign?"
        )
    threshold = math.nextafter(boundary, math.inf)
    return FittedThreshold(
        threshold=threshold,
        target_fpr=target_fpr,
        confidence=confidence,
        benign=len(scores),
        allowed=allowed,
        flagged=int((scores >= threshold).sum()),
        tied=int((scores == boundary).sum()),
        fpr_upper_bound=clopper_pearson_upper(allowed, len(scores), confidence),
    )


def measure_recall(
    harmful_scores: Sequence[float] | NDArray[np.float64], threshold: float, *, confidence: float = 0.95
) -> Recall:
    """Count the harmful texts at or above a threshold that was fixed without them.

    Raises:
        ValueError: There are no scores.
        InvalidInputError: `confidence` is out of range.
    """
    if not len(harmful_scores):
        raise ValueError("recall needs at least one harmful score")
    caught = int((np.asarray(harmful_scores, dtype=np.float64) >= threshold).sum())
    missed = len(harmful_scores) - caught
    return Recall(
        harmful=len(harmful_scores),
        caught=caught,
        lower_bound=1.0 - clopper_pearson_upper(missed, len(harmful_scores), confidence),
    )


def allowed_flags(benign: int, target_fpr: float, confidence: float) -> int | None:
    """Return the most calibration scores, `k`, that a threshold may flag; None where `benign` is too few.

    The largest `k` with P(Binomial(benign, target_fpr) <= k) <= 1 - confidence.

    Raises:
        InvalidInputError: A rate is out of range.
    """
    needed = fewest_benign(target_fpr, confidence)
    if benign < needed:
        return None
    terms = _log_choose(benign, benign - 1) + _log_powers(benign, benign - 1, target_fpr)
    within = np.logaddexp.accumulate(terms) <= math.log1p(-confidence)
    return max(int(within.sum()) - 1, 0)


def fewest_benign(target_fpr: float, confidence: float) -> int:
    """Return the fewest benign scores `n` that can be enough: (1 - target_fpr)^n <= 1 - confidence.

    Raises:
        InvalidInputError: A rate is out of range.
    """
    for name, value in (("target false positive rate", target_fpr), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise InvalidInputError(f"the {name} lies between 0 and 1, both excluded: found {value:g}")
    return max(math.ceil(math.log1p(-confidence) / math.log1p(-target_fpr)), 1)


def clopper_pearson_upper(events: int, trials: int, confidence: float) -> float:
    """Return the one-sided upper bound of a rate after `events` in `trials` (Clopper and Pearson 1934).

    The rate `p` with P(Binomial(trials, p) <= events) = 1 - confidence, by bisection, rounded up.

    Raises:
        InvalidInputError: `confidence` is out of range, or not 0 <= events <= trials with trials >= 1.
    """
    if not (0 <= events <= trials and trials >= 1 and 0.0 < confidence < 1.0):
        raise InvalidInputError(
            f"need 0 <= events <= trials, trials >= 1 and a confidence between 0 and 1, "
            f"found {events=}, {trials=}, {confidence=}"
        )
    if events == trials:
        return 1.0
    choose, log_alpha = _log_choose(trials, events), math.log1p(-confidence)
    low, high = events / trials, 1.0
    if _log_sum(choose + _log_powers(trials, events, low)) <= log_alpha:
        low = 0.0  # a confidence so low that the bound lies under the observed rate
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _log_sum(choose + _log_powers(trials, events, middle)) <= log_alpha:
            high = middle
        else:
            low = middle
    return high


def text_key(text: str) -> bytes:
    """Return a digest that is equal for texts equal up to case, punctuation and white space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Blanks, not nothing: 1.5 mg are not 15 mg.
    bare = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded)
    words = bare.split() or folded.split()
    return hashlib.sha256(" ".join(words).encode("utf-8", errors="surrogatepass")).digest()


def first_of_each(keys: Sequence[bytes]) -> list[bool]:
    """Tell for each key whether none before it is equal: such a line counts, the others repeat it."""
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    return [first[key] == index for index, key in enumerate(keys)]


def _log_choose(trials: int, most: int) -> NDArray[np.float64]:
    """Log binomial coefficients of `trials` over 0 to `most`."""
    logs = np.array([math.lgamma(count + 1.0) for count in range(trials + 1)], dtype=np.float64)
    return np.asarray(logs[trials] - logs[: most + 1] - logs[::-1][: most + 1], dtype=np.float64)


def _log_powers(trials: int, most: int, rate: float) -> NDArray[np.float64]:
    """Log of rate^i (1 - rate)^(trials - i) for i from 0 to `most`."""
    if rate <= 0.0:
        return np.where(np.arange(most + 1) == 0, 0.0, -np.inf)
    if rate >= 1.0:
        return np.where(np.arange(most + 1) == trials, 0.0, -np.inf)
    events = np.arange(most + 1, dtype=np.float64)
    return np.asarray(events * math.log(rate) + (trials - events) * math.log1p(-rate), dtype=np.float64)


def _log_sum(terms: NDArray[np.float64]) -> float:
    top = float(terms.max())
    return top if math.isinf(top) else top + math.log(float(np.exp(terms - top).sum()))
