"""The lines of ``medguard calibrate``: prompts, conversations and answers, scored as a guard does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from medguard.calibration import text_key
from medguard.checker import Checker
from medguard.errors import InvalidInputError
from medguard.flow import read_or_error
from medguard.policy import Policy
from medguard.scan import scan
from medguard.scan_input import BadLine, InputFormat, Record, read_records, text_error
from medguard.verdict import Stage

__all__ = ["ScoredLine", "score_lines"]


@dataclass(frozen=True, slots=True)
class ScoredLine:
    """What is kept of a line; no text."""

    harmful: bool
    key: bytes
    """Equal for lines with the same request (the same answer, where the request is not known)."""
    is_conversation: bool
    scores: dict[Stage, float] = field(default_factory=dict)
    """The worst score of what the guard judges, by stage; none where there is nothing to judge."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the guard judges of one line."""

    parts: list[Record]
    """Every reading of the request; the first has the answer, which is judged in its light."""
    is_conversation: bool = False


def score_lines(
    stream: BinaryIO, input_format: InputFormat, checker: Checker, advance: Callable[[int], None]
) -> list[ScoredLine]:
    """Score every line at the stages of the checker's policy.

    Args:
        stream: JSONL or CSV, as for `read_records`. JSONL may have ``messages`` instead of ``prompt``: a
            conversation, of which the worst reading counts.
        input_format: Which of the two.
        checker: Judges; a `medguard.streamed.StreamedChecker` for answers that are streamed.
        advance: Told how many lines are done.

    Raises:
        DataError: A line cannot be read or judged; the message names it.
    """
    lines: dict[int, ScoredLine] = {}
    parts = _noted(_read_lines(stream, input_format, checker.policy), lines)
    # `scan` reads a chunk ahead of its rows, so each row finds its line noted.
    for row in scan(parts, checker, strict=True):
        scores = lines[row.line].scores
        for verdict in (row.prompt, row.response):
            if verdict is not None and verdict.score is not None:
                scores[verdict.stage] = max(verdict.score, scores.get(verdict.stage, 0.0))
        advance(row.line)
    return list(lines.values())


def _noted(items: Iterable[_Asked | BadLine], lines: dict[int, ScoredLine]) -> Iterator[Record | BadLine]:
    """Note the lines and pass on what is to be judged of them."""
    for item in items:
        if isinstance(item, BadLine):
            yield item
            continue
        first = item.parts[0]
        request = "\n".join(part.prompt for part in item.parts)
        key = text_key(request if request.strip() else first.response or "")
        lines[first.line] = ScoredLine(first.harmful, key, item.is_conversation)
        yield from item.parts


def _read_lines(stream: BinaryIO, input_format: InputFormat, policy: Policy) -> Iterator[_Asked | BadLine]:
    for item in read_records(stream, input_format, labelled=True, conversations=True):
        if isinstance(item, BadLine):
            yield item
        else:
            yield _Asked([item]) if item.messages is None else _conversation(item, policy)


def _conversation(record: Record, policy: Policy) -> _Asked | BadLine:
    """Read a line that holds a conversation as the guard reads one."""
    readings = read_or_error(lambda: _readings(record.messages, policy))
    for text in readings:
        error = f"field 'messages': {text}" if isinstance(text, Exception) else text_error("messages", text)
        if error:
            return BadLine(line=record.line, id=record.id, error=error)
    first, *others = (replace(record, prompt=str(text), messages=None) for text in readings)
    return _Asked([first, *(replace(other, response=None) for other in others)], is_conversation=True)


def _readings(value: Any, policy: Policy) -> Sequence[str]:
    # Lines without a conversation, and the other commands, do without LangChain.
    from langchain_core.messages import AIMessage

    from medguard.conversation import prompt_readings
    from medguard.text import as_messages

    messages = as_messages(value)
    if messages is None:
        raise InvalidInputError("expected a list of objects with role and content")
    if isinstance(messages[-1], AIMessage):
        raise InvalidInputError("the last one is an answer: give it as the field 'response'")
    return prompt_readings(messages, policy)
