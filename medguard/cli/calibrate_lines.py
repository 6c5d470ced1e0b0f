"""The lines of ``medguard calibrate``: prompts, conversations and answers, scored as a guard does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, BinaryIO, Final, cast

from medguard.calibration import text_key
from medguard.checker import Checker
from medguard.errors import InvalidInputError
from medguard.flow import read_or_error
from medguard.holdback import streamed_texts
from medguard.policy import Policy
from medguard.scan import scan
from medguard.scan_input import BadLine, InputFormat, Record, read_records
from medguard.verdict import Stage, Verdict

__all__ = ["ScoredLine", "StreamedChecker", "score_lines"]

_NO_PROMPT: Final = "no field 'prompt'"
_MESSAGES: Final = "messages"


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


class StreamedChecker(Checker):
    """Judges answers as a guard judges streams of them: by the windows in which it holds them back."""

    def check_responses(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Give for each answer the verdict on its worst window; a failed one is the worst."""
        windows = [streamed_texts(text, self.policy) for text in responses]
        contexts = [prompt for prompt, texts in zip(prompts, windows, strict=True) for _ in texts]
        verdicts = iter(super().check_responses(contexts, [text for texts in windows for text in texts]))
        return [_highest([next(verdicts) for _ in texts]) for texts in windows]


def score_lines(
    stream: BinaryIO, input_format: InputFormat, checker: Checker, advance: Callable[[int], None]
) -> list[ScoredLine]:
    """Score every line at the stages of the checker's policy.

    Args:
        stream: JSONL or CSV, as for `read_records`. JSONL may have ``messages`` instead of ``prompt``: a
            conversation, of which the worst reading counts.
        input_format: Which of the two.
        checker: Judges; a `StreamedChecker` for answers that are streamed.
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


def _highest(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: (verdict.failed, verdict.score or 0.0))


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


class _Remembering:
    """Lines of a file, of which the last is remembered."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._stream.readline(limit)
        return self.last


def _read_lines(stream: BinaryIO, input_format: InputFormat, policy: Policy) -> Iterator[_Asked | BadLine]:
    lines = _Remembering(stream)
    for item in read_records(cast("BinaryIO", lines), input_format, labelled=True):
        is_sound = isinstance(item, Record) or item.error == _NO_PROMPT
        if is_sound and input_format is InputFormat.JSONL and _MESSAGES.encode() in lines.last:
            fields = json.loads(lines.last)
            if fields.get(_MESSAGES) is not None:
                yield _conversation(item.line, fields, policy)
                continue
        yield item if isinstance(item, BadLine) else _Asked([item])


def _conversation(line: int, fields: dict[str, Any], policy: Policy) -> _Asked | BadLine:
    """Read a line that holds a conversation as the guard reads one."""
    if "prompt" in fields:
        return BadLine(line=line, error="expected a field 'prompt' or a field 'messages', found both")
    readings = read_or_error(lambda: _readings(fields[_MESSAGES], policy))
    if isinstance(readings[0], Exception):
        return BadLine(line=line, error=f"field 'messages': {readings[0]}")
    # The other fields are read as they are beside a prompt.
    same_line = {"harmful": fields.get("harmful"), "response": fields.get("response"), "prompt": readings[0]}
    (first,) = read_records(BytesIO(json.dumps(same_line).encode()), InputFormat.JSONL, labelled=True)
    if isinstance(first, BadLine):
        return replace(first, line=line)
    first = replace(first, line=line)
    others = [replace(first, prompt=str(text), response=None) for text in readings[1:]]
    return _Asked([first, *others], is_conversation=True)


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
