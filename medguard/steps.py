"""What the guard's courses ask of their drivers. Pure."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from medguard.decision import skipped
from medguard.errors import MedGuardError
from medguard.verdict import Stage, Verdict

__all__ = [
    "END",
    "CallModel",
    "Emit",
    "Judge",
    "Judgement",
    "Judging",
    "NextChunk",
    "Step",
    "Whole",
    "judge_texts",
    "or_raise",
]


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask for one `Judgement` per text."""

    stage: Stage
    prompts: Sequence[object]
    responses: Sequence[str] | None
    requests: int = 1
    """How many of the caller's requests the texts belong to; each has the policy's time."""


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask for a call of the model; it is answered with one answer or exception per input."""

    indices: Sequence[int]
    """Which of the caller's inputs the model may see."""
    inputs: Sequence[Any]
    """What of them it is given, in the same order."""


@dataclass(frozen=True, slots=True)
class NextChunk:
    """Ask for the model's next chunk; it is answered with a chunk, an exception, or `END`."""

    model_input: Any
    """What the model is given; it is called for the first chunk."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Ask to hand a chunk to the caller."""

    chunk: Any


@dataclass(frozen=True, slots=True)
class Whole:
    """The only chunk of a model that does not stream: its answer."""

    answer: Any


END = object()
"""What answers `NextChunk` after the last chunk."""

Step: TypeAlias = Judge | CallModel | NextChunk | Emit
Judgement: TypeAlias = Verdict | MedGuardError
"""A verdict, or the error to raise instead of one (``on_error: raise``)."""
Judging: TypeAlias = Generator[Step, Any, list[Judgement]]


def judge_texts(
    stage: Stage, prompts: Sequence[object], responses: Sequence[str] | None = None, *, requests: int = 1
) -> Judging:
    """Ask for one judgement per prompt or, where there are responses, per response; see `Judge`.

    A response of white space alone has nothing to check and nothing to leak: its verdict is skipped.
    """
    wanted = [index for index in range(len(prompts)) if responses is None or responses[index].strip()]
    judgements: list[Judgement] = [skipped(stage) for _ in prompts]
    if wanted:
        judged = yield Judge(
            stage,
            [prompts[index] for index in wanted],
            None if responses is None else [responses[index] for index in wanted],
            requests,
        )
        for index, judgement in zip(wanted, judged, strict=True):
            judgements[index] = judgement
    return judgements


def or_raise(result: Any) -> Any:
    """Return a result; raise an exception that stands in its place."""
    if isinstance(result, Exception):
        raise result
    return result
