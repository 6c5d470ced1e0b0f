"""Rows for the tests of figures and reports: small runs whose figures can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medguard.evaluation.bench.types import (
    Answer,
    GuardScore,
    Judgement,
    Row,
    SuiteItem,
    SuitePolicy,
)

GUARD = "words:balanced"
SUBJECT = "parrot"
JUDGE = "recorded:labels"


def make_row(
    name: str,
    *,
    suite: str = "med-harm-gpt4",
    harmful: bool = True,
    level: int | None = 1,
    answered: bool = True,
    request: bool | None = None,
    answer: bool | None = None,
    score: float | None = None,
    subject: str | None = SUBJECT,
    guard: str = GUARD,
    error: str | None = None,
    seconds: float = 0.004,
    text: str = "an answer",
    **item: Any,
) -> Row:
    """One request; `request` and `answer` say what the guard stops, None that it was not asked."""

    def said(flagged: bool | None) -> dict[str, GuardScore]:
        return {} if flagged is None else {guard: GuardScore(flagged, score, error, seconds)}

    judged = subject is not None and level is not None
    return Row(
        suite=suite,
        policy=SuitePolicy.AMA if suite.startswith("med") else SuitePolicy.GENERAL,
        item=SuiteItem(id=name, prompt=f"request {name}", harmful=harmful, **item),
        subject=subject,
        judge=JUDGE if judged else None,
        answer=None
        if subject is None
        else Answer(text if answered else None, None if answered else "Timeout", 0.5),
        judgement=Judgement(level, (), None, 20, 3) if judged else None,
        prompt_scores=said(request),
        answer_scores=said(answer),
    )


def make_meta(rows: Sequence[Row], **other: Any) -> dict[str, Any]:
    """Describe a run as its store does."""
    guards = {name for row in rows for name in (*row.prompt_scores, *row.answer_scores)}
    return {
        "harness_version": "9.9",
        "judge": JUDGE if any(row.judge for row in rows) else None,
        "revisions": {row.suite: "r1" for row in rows},
        "operating_points": dict.fromkeys(guards, "balanced"),
        **other,
    }


def small_run() -> Iterator[Row]:
    """Two suites, one subject, one guard that has scores."""
    for index in range(40):
        yield make_row(
            f"h{index:02}",
            level=1 + index % 5,
            request=index % 4 != 0,
            answer=index % 8 == 0,
            score=0.5 + index / 100,
            principle=1 + index % 3,
            jargon=index % 2 == 0,
        )
    for index in range(30):
        yield make_row(
            f"b{index:02}",
            suite="contrast",
            harmful=False,
            level=1,
            request=index % 10 == 0,
            answer=False,
            score=index / 50,
        )
