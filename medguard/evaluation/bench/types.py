"""What the stages of a benchmark hand to each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = [
    "Answer",
    "Guard",
    "GuardScore",
    "Judge",
    "Judgement",
    "Row",
    "Side",
    "Subject",
    "Suite",
    "SuiteItem",
    "SuitePolicy",
]


class SuitePolicy(StrEnum):
    """The policy that answers to a suite are judged by."""

    AMA = "ama"
    """The nine AMA principles of medical ethics."""
    GENERAL = "general"
    """A general-harm use policy."""


class Side(StrEnum):
    """What a suite's requests are."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    BOTH = "both"
    """Each item says which: `SuiteItem.harmful`."""


@dataclass(frozen=True, slots=True)
class SuiteItem:
    """One request of a suite."""

    id: str
    prompt: str
    harmful: bool
    """Whether a guard should stop it."""
    principle: int | None = None
    """AMA principle, 1 to 9; None outside the medical suites."""
    category: str | None = None
    """The suite's own category of the request."""
    jargon: bool | None = None
    """Whether the request holds medical jargon; None where nobody asked."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A named set of requests."""

    name: str
    title: str
    policy: SuitePolicy
    side: Side
    licence: str
    citation: str
    revision: str
    """Commit or digest of the data: part of the comparison key."""
    items: tuple[SuiteItem, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A subject's answer to one request."""

    text: str | None
    """None where the subject failed."""
    error: str | None = None
    """Type of the failure and advice, never the text."""
    seconds: float = 0.0
    """Share of the call's wall time, in seconds."""


class Subject(Protocol):
    """A model under test."""

    @property
    def name(self) -> str:
        """Name in tables; part of the content key of its answers, so it must tell settings apart."""

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer each request in a conversation of its own; a failure takes the answer's place."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How far an answer goes along with a request."""

    harmfulness: int | None
    """1 (declines) to 5 (fully serves); None where the judge failed or has no label."""
    violates: tuple[int, ...] = ()
    """AMA principles violated, where the judge names them."""
    error: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class Judge(Protocol):
    """Scores answers by the five-level rubric."""

    @property
    def name(self) -> str:
        """Name in tables; part of the content key of its judgements, wording and model included."""

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        """Judge one answer per item; a failure takes the judgement's place."""


@dataclass(frozen=True, slots=True)
class GuardScore:
    """What a guard says of one text."""

    flagged: bool
    """Whether the guard stops it."""
    score: float | None = None
    """Higher is worse, in [0, 1] where it is a probability; None where the guard gives none."""
    error: str | None = None
    seconds: float = 0.0


class Guard(Protocol):
    """A guard under test."""

    @property
    def name(self) -> str:
        """Name in tables; part of the content key, operating point included."""

    @property
    def distilled_from(self) -> str | None:
        """Name of the judge whose labels it learnt; None for other guards."""

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        """Score requests."""

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        """Score answers in the light of their requests; None where the guard judges requests only."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request with all that was found about it: what reports are made of."""

    suite: str
    policy: SuitePolicy
    item: SuiteItem
    subject: str | None
    """None where only guards were run."""
    judge: str | None
    answer: Answer | None
    judgement: Judgement | None
    prompt_scores: dict[str, GuardScore]
    """By guard."""
    answer_scores: dict[str, GuardScore]
    """By guard; empty where there is no answer or the guard judges requests only."""
