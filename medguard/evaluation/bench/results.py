"""What ``results.json`` holds, and when two runs may stand side by side. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medguard.errors import DataError
from medguard.evaluation.metrics import Estimate

__all__ = [
    "RESULTS_SCHEMA_VERSION",
    "Calibration",
    "ComparisonKey",
    "Cost",
    "GuardResult",
    "HarmCell",
    "HarmResult",
    "Interval",
    "Latency",
    "RankingResult",
    "ReliabilityPoint",
    "Results",
    "SuiteFlags",
    "SuiteKey",
    "check_comparable",
    "digest_of_items",
    "interval",
    "key_differences",
]

RESULTS_SCHEMA_VERSION: Final = 1
_UNKNOWN: Final = frozenset({"", "unknown", "unspecified"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Model):
    """A figure with its 95% interval: exact for shares, of a bootstrap otherwise."""

    value: float
    low: float
    high: float


def interval(estimate: Estimate) -> Interval:
    """Turn an estimate of `medguard.evaluation.metrics` into its form in the file."""
    return Interval(**estimate)


class SuiteKey(_Model):
    """Which requests of which data were used."""

    revision: str
    """Commit or digest of the data."""
    policy: Literal["ama", "general"]
    requests: int
    """Distinct requests in the run: fewer than the suite has under a limit or a sample."""
    items_sha256: str
    """Digest of the ids of these requests, see `digest_of_items`."""


class ComparisonKey(_Model):
    """What two runs must have in common to be compared."""

    harness_version: str
    judge: str | None
    """Name of the judge, its wording and model included; None where nothing was judged."""
    suites: dict[str, SuiteKey]
    operating_points: dict[str, str]
    """By guard: the point or threshold at which it flags."""

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], items: Mapping[str, SuiteItems]) -> ComparisonKey:
        """Join what a run folder says of itself with the requests that it holds.

        Args:
            meta: ``harness_version``, ``judge``, ``revisions`` by suite and ``operating_points`` by guard;
                further entries are of no concern here.
            items: What the run holds of each suite.

        Raises:
            DataError: A part is missing, or says "unspecified": such a run could be put beside any other.
        """
        revisions = _mapping(meta, "revisions")
        for name in items:
            if revisions.get(name) is None or str(revisions[name]).lower() in _UNKNOWN:
                raise DataError(f"the run does not tell the data revision of suite {name}")
        version = str(meta.get("harness_version") or "")
        if version.lower() in _UNKNOWN:
            raise DataError("the run does not tell the version of medguard that it was made with")
        points = {str(name): str(point) for name, point in _mapping(meta, "operating_points").items()}
        if unclear := sorted(name for name, point in points.items() if point.lower() in _UNKNOWN):
            raise DataError(f"the run does not tell the operating point of guard {unclear[0]}")
        judge = meta.get("judge")
        try:
            return cls(
                harness_version=version,
                judge=None if judge is None else str(judge),
                suites={
                    name: SuiteKey(
                        revision=str(revisions[name]),
                        policy=held.policy,
                        requests=len(held.ids),
                        items_sha256=digest_of_items(held.ids),
                    )
                    for name, held in sorted(items.items())
                },
                operating_points=points,
            )
        except ValidationError as error:
            raise DataError(f"the run's description is damaged: {error.errors()[0]['loc']}") from None


class SuiteItems(_Model):
    """The requests of one suite that a run holds."""

    policy: Literal["ama", "general"]
    ids: frozenset[str]


class HarmCell(_Model):
    """How harmful the judged answers of one group are."""

    judged: int
    """Answers with a level: the figures below are of these."""
    mean: Interval | None
    """Mean harmfulness, 1 to 5; None where nothing was judged."""
    standard_error: float | None
    """Of the mean, sample deviation; None below two answers."""
    share_harmful: Interval | None
    """Share of answers at level 4 or 5."""
    refusal_rate: Interval | None
    """Share at level 1, or stopped by the guard. Only of harmful requests: an ordinary answer to a benign
    request is at level 1 too, and tells nothing of refusals."""
    levels: tuple[int, int, int, int, int]
    """Answers at each level, 1 to 5."""


class HarmResult(_Model):
    """One subject on one side of one suite, with one guard or none."""

    subject: str
    suite: str
    side: Literal["harmful", "benign"]
    """Which of the suite's requests these are."""
    guard: str | None
    """None is the subject alone."""
    requests: int
    """Requests given to the subject, and seen by the guard where there is one."""
    failed: int
    """Requests without an answer, as the subject failed."""
    unjudged: int
    """Answers without a level: not judged, or the judge failed."""
    stopped_requests: int
    """Requests that the guard stopped; 0 without a guard."""
    stopped_answers: int
    """Answers that the guard stopped though it had let the request pass."""
    overall: HarmCell
    change: Interval | None
    """Mean harmfulness behind the guard less that of the subject alone, on the same answers; None without a
    guard or judged answers."""
    by_principle: dict[int, HarmCell]
    """By AMA principle, 1 to 9; empty outside the medical suites."""
    with_jargon: HarmCell | None
    """None where the suite was not searched for jargon."""
    without_jargon: HarmCell | None


class SuiteFlags(_Model):
    """What one guard stops of one suite, at its operating point."""

    suite: str
    harmful: int
    """Harmful texts."""
    benign: int
    recall: Interval | None
    """Share of the harmful that is stopped; None where there is none."""
    over_refusal: Interval | None
    """Share of the benign that is stopped."""


class RankingResult(_Model):
    """How well a guard's scores put harmful texts above the hard benign ones, whatever its threshold."""

    harmful_suite: str | None
    """None is all suites together."""
    benign_suites: tuple[str, ...]
    """Where the benign texts come from."""
    harmful: int
    benign: int
    auroc: Interval
    auprc: Interval
    """Average precision; depends on the two counts."""
    recall_at_fpr: dict[str, Interval]
    """By false positive rate, such as ``0.01``. The threshold is read off the same benign texts."""


class ReliabilityPoint(_Model):
    """One bin of a reliability diagram."""

    probability: float
    """Mean score."""
    frequency: float
    """Share that is harmful."""
    count: int


class Calibration(_Model):
    """Whether scores mean what they say as probabilities, over all texts of all suites."""

    texts: int
    prevalence: float
    """Share that is harmful. Calibration holds for a mixture like this one."""
    expected_calibration_error: Interval
    """15 equal-width bins (Naeini et al. 2015)."""
    bins: tuple[ReliabilityPoint, ...]


class Latency(_Model):
    """Time per text, in milliseconds: each text's share of its call's wall time.

    Texts of one call were timed as one, so intervals resample whole calls. Of a single call the spread is
    unknown: `low` and `high` are the value then.
    """

    texts: int
    """Distinct texts; a text that is in two suites was timed once."""
    calls: int
    mean_ms: Interval
    p50_ms: Interval
    p95_ms: Interval | None
    """None where a call had more than one text: how long the slowest took is not known."""
    p99_ms: Interval | None


class GuardResult(_Model):
    """One guard on texts of one kind."""

    guard: str
    stage: Literal["request", "answer"]
    """Requests are harmful as their suite says; answers are harmful at level 4 or 5."""
    texts: int
    """Texts judged by the guard; a request counts once, however many subjects answered it."""
    errors: int
    """Texts on which the guard failed; they are in no figure."""
    suites: tuple[SuiteFlags, ...]
    ranking: tuple[RankingResult, ...]
    """Empty where the guard gives no scores, or one side is missing."""
    calibration: Calibration | None
    """None where the guard gives no probabilities."""
    latency: Latency | None
    """None where no time was recorded."""


class Cost(_Model):
    """What the run took."""

    judgements: int
    judge_failures: int
    judge_input_tokens: int
    judge_output_tokens: int
    answers: int
    subject_failures: int
    subject_seconds: float
    """Wall time of the subjects, in seconds."""
    guard_seconds: float


class Results(_Model):
    """A run's figures."""

    schema_version: Literal[1] = Field(default=1)
    finished: bool
    """Whether the run was complete when this was written."""
    comparison: ComparisonKey
    harm: tuple[HarmResult, ...]
    guards: tuple[GuardResult, ...]
    cost: Cost


def digest_of_items(ids: Iterable[str]) -> str:
    """SHA-256 over the sorted ids, each ended by a line feed."""
    digest = hashlib.sha256()
    for item in sorted(ids):
        digest.update(item.encode("utf-8", errors="surrogatepass") + b"\n")
    return digest.hexdigest()


def key_differences(one: ComparisonKey, other: ComparisonKey) -> list[str]:
    """Say in what two runs differ that forbids comparing them; empty where they may be compared.

    Suites and guards that only one run has are no difference: only what is in both is compared. Where the
    guards bear other names, as do two versions of one guard, the sets of their operating points must agree.
    """
    return list(_differences(one, other))


def check_comparable(one: ComparisonKey, other: ComparisonKey) -> None:
    """Make sure that two runs may stand side by side.

    Raises:
        DataError: They differ in data, operating point, judge or harness, or share no suite.
    """
    if found := key_differences(one, other):
        raise DataError(f"these runs cannot be compared: {'; '.join(found)}")


def _differences(one: ComparisonKey, other: ComparisonKey) -> Iterator[str]:
    if one.harness_version != other.harness_version:
        yield f"harness version {one.harness_version} and {other.harness_version}"
    if one.judge != other.judge:
        yield f"judge {one.judge or 'none'} and {other.judge or 'none'}"
    shared = sorted(one.suites.keys() & other.suites.keys())
    if not shared:
        yield "they share no suite"
    for name in shared:
        first, second = one.suites[name], other.suites[name]
        if first.revision != second.revision:
            yield f"data revision of {name} {first.revision} and {second.revision}"
        elif first.items_sha256 != second.items_sha256:
            yield f"requests of {name}: {first.requests} and {second.requests}, and not the same ones"
        elif first.policy != second.policy:
            yield f"policy of {name} {first.policy} and {second.policy}"
    yield from _point_differences(one.operating_points, other.operating_points)


def _point_differences(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[str]:
    shared = sorted(one.keys() & other.keys())
    for name in shared:
        if one[name] != other[name]:
            yield f"operating point of {name} {one[name]} and {other[name]}"
    if one and other and not shared and set(one.values()) != set(other.values()):
        points = (", ".join(sorted(set(side.values()))) for side in (one, other))
        yield f"operating point {' and '.join(points)}"


def _mapping(meta: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = meta.get(name)
    if not isinstance(found, Mapping):
        raise DataError(f"the run does not tell its {name.replace('_', ' ')}")
    return found
