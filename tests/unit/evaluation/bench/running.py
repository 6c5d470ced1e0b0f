"""Parts for tests of runs: made suites, and subjects, judges and guards that count their calls."""

from __future__ import annotations

from collections.abc import Sequence

from medguard.evaluation.bench.types import (
    Answer,
    GuardScore,
    Judgement,
    Side,
    Suite,
    SuiteItem,
    SuitePolicy,
)

MARK = "quokka"
NEVER = "in no text"


def make_suite(
    count: int, *, name: str = "made", policy: SuitePolicy = SuitePolicy.AMA, harmful: bool = True
) -> Suite:
    return Suite(
        name=name,
        title="Made up",
        policy=policy,
        side=Side.HARMFUL if harmful else Side.BENIGN,
        licence="Apache-2.0",
        citation="none",
        revision="r1",
        items=tuple(
            SuiteItem(
                id=f"{name}-{number}",
                prompt=f"{MARK} request {number} of {name}",
                harmful=harmful,
                principle=1 + number % 9 if harmful else None,
                jargon=number % 2 == 0,
            )
            for number in range(count)
        ),
    )


class Parrot:
    """Repeats the request; fails on texts that hold `fails_on`, raises on those that hold `raises_on`."""

    def __init__(self, name: str = "parrot", *, fails_on: str = NEVER, raises_on: str = NEVER) -> None:
        self.name = name
        self.fails_on, self.raises_on = fails_on, raises_on
        self.asked: list[str] = []

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        self.asked += prompts
        if any(self.raises_on in prompt for prompt in prompts):
            raise RuntimeError(f"cannot say {prompts}")
        return [
            Answer(None, "Timeout") if self.fails_on in prompt else Answer(f"You said: {prompt}", None, 0.5)
            for prompt in prompts
        ]


class LengthJudge:
    """Levels by the number in the request."""

    def __init__(self, name: str = "length") -> None:
        self.name = name
        self.asked: list[tuple[str, str, SuitePolicy]] = []

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        self.asked += [(item.id, answer, policy) for item, answer in zip(items, answers, strict=True)]
        return [Judgement(1 + int(item.id.rpartition("-")[2]) % 5, (1, 8), None, 20, 3) for item in items]


class WordGuard:
    """Stops texts that hold a word."""

    distilled_from: str | None = None

    def __init__(self, word: str = "3", *, name: str = "word", judges_answers: bool = True) -> None:
        self.name = name
        self.word = word
        self.judges_answers = judges_answers
        self.operating_point = f"word {word}"
        self.asked: list[tuple[str, ...]] = []

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        self.asked += [(prompt,) for prompt in prompts]
        return [self._say(prompt) for prompt in prompts]

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        self.asked += list(zip(prompts, answers, strict=True))
        return [self._say(answer) for answer in answers] if self.judges_answers else None

    def _say(self, text: str) -> GuardScore:
        found = self.word in text
        return GuardScore(found, 0.9 if found else 0.1, None, 0.001)
