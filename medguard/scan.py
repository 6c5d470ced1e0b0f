"""From records to verdicts in bulk: bounded chunks, batches of like length, input order. Pure; no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medguard.checker import Checker
from medguard.decision import skipped
from medguard.errors import DataError
from medguard.scan_input import BadLine, Record, RecordId
from medguard.verdict import Action, Outcome, Stage, Verdict

__all__ = ["Row", "judge_records", "scan"]

_CHUNK_LINES: Final = 512
# Long texts end a chunk early: a million characters are some ten thousand windows to score at most.
_CHUNK_CHARS: Final = 1_000_000
_BATCH_TEXTS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a scan says about one line: verdicts, or why there are none."""

    line: int
    id: RecordId = None
    prompt: Verdict | None = None
    """The verdict on the request; None on a bad line."""
    response: Verdict | None = None
    """The verdict on the answer; None where there was none."""
    bad_line: str | None = None
    """Why the line holds no record; None where it does."""

    @property
    def deciding(self) -> Verdict | None:
        """The verdict that decides: the prompt's when it blocks, else the response's where it was judged.

        None on a bad line, which is blocked.
        """
        if self.response is None or self.prompt is None or not self.prompt.allowed:
            return self.prompt
        return self.prompt if self.response.outcome is Outcome.SKIPPED else self.response

    @property
    def allowed(self) -> bool:
        """Whether everything on the line may pass."""
        return self.deciding is not None and self.deciding.allowed

    @property
    def error(self) -> str | None:
        """Why the line, the request or the answer could not be judged; None when all was."""
        failures = [verdict.error for verdict in (self.prompt, self.response) if verdict is not None]
        return self.bad_line or next((error for error in failures if error is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the shape of a line that ``medguard scan`` writes."""
        deciding = self.deciding
        row: dict[str, Any] = {"id": self.id} if self.error is None else {"id": self.id, "line": self.line}
        row["allowed"] = self.allowed
        row["action"] = (Action.BLOCK if deciding is None else deciding.action).value
        row["stage"] = None if deciding is None else deciding.stage.value
        if self.prompt is not None and deciding is not None:
            row["prompt_score"] = self.prompt.score
            row["principles"] = {
                str(number): score for number, score in enumerate(deciding.principles, start=1)
            }
        if self.response is not None:
            row["response_score"] = self.response.harmfulness
            row["response_allowed"] = self.response.allowed
        if self.error is not None:
            row["error"] = self.error
        return row

    def to_json(self) -> str:
        """Return one line of JSON, in ASCII."""
        return json.dumps(self.to_dict(), allow_nan=False)


def scan(
    items: Iterable[Record | BadLine],
    checker: Checker,
    *,
    strict: bool = False,
    chunk_lines: int = _CHUNK_LINES,
    chunk_chars: int = _CHUNK_CHARS,
) -> Iterator[Row]:
    """Judge records lazily, one row per item in the order given.

    Args:
        items: What `read_records` gives; pulled at most a chunk ahead of the rows.
        checker: Judges. Under ``on_error: raise`` its error ends the scan without the line's number; use
            `strict` instead.
        strict: End at the first line that cannot be read or judged.
        chunk_lines: Most lines held at a time.
        chunk_chars: Characters after which a chunk ends before that.

    Yields:
        Rows. What was read before a fatal error is still judged and given.

    Raises:
        DataError: `strict`, and a line cannot be read or judged; the message names it. Or `items` raised it.
    """
    for chunk in _chunks(items, chunk_lines, chunk_chars):
        for row in _judge_chunk(chunk, checker):
            if strict and row.error is not None:
                raise DataError(f"line {row.line}: {row.error}")
            yield row


def judge_records(records: Sequence[Record], checker: Checker) -> tuple[list[Verdict], dict[int, Verdict]]:
    """Judge requests, and answers in the light of their requests, as the policy's stages want it.

    An answer is judged even where its request was blocked.

    Args:
        records: Held in memory together; see `scan` for many.
        checker: Judges.

    Returns:
        A verdict for every request, and a verdict by index for every answer.

    Raises:
        MedGuardError: Something could not be judged and the policy says ``on_error: raise``.
    """
    stages = checker.policy.stages
    prompts = [skipped(Stage.PROMPT) for _ in records]
    if Stage.PROMPT in stages:
        texts = [record.prompt for record in records]
        prompts = _in_batches(
            [len(text) for text in texts],
            lambda batch: checker.check_prompts([texts[index] for index in batch]),
        )
    answers = {index: record.response for index, record in enumerate(records) if record.response is not None}
    responses = {index: skipped(Stage.RESPONSE) for index in answers}
    # An answer without a character has nothing to check and nothing to leak, as in the guard itself.
    wanted = [index for index, text in answers.items() if text.strip()] if Stage.RESPONSE in stages else []
    judged = _in_batches(
        [len(answers[index]) for index in wanted],
        lambda batch: checker.check_responses(
            [records[wanted[place]].prompt for place in batch],
            [answers[wanted[place]] for place in batch],
        ),
    )
    responses.update(zip(wanted, judged, strict=True))
    return prompts, responses


def _judge_chunk(chunk: Sequence[Record | BadLine], checker: Checker) -> Iterator[Row]:
    records = [item for item in chunk if isinstance(item, Record)]
    prompts, responses = judge_records(records, checker)
    places = iter(range(len(records)))
    for item in chunk:
        if isinstance(item, BadLine):
            yield Row(line=item.line, id=item.id, bad_line=item.error)
        else:
            place = next(places)
            yield Row(line=item.line, id=item.id, prompt=prompts[place], response=responses.get(place))


def _chunks(
    items: Iterable[Record | BadLine], chunk_lines: int, chunk_chars: int
) -> Iterator[list[Record | BadLine]]:
    chunk: list[Record | BadLine] = []
    held_chars = 0
    fatal: Exception | None = None
    source = iter(items)
    while True:
        try:
            item = next(source, None)
        except (DataError, OSError) as error:
            fatal, item = error, None
        if item is not None:
            chunk.append(item)
            held_chars += item.length_chars
        if chunk and (item is None or len(chunk) >= chunk_lines or held_chars >= chunk_chars):
            yield chunk
            chunk, held_chars = [], 0
        if fatal is not None:
            raise fatal
        if item is None:
            return


def _in_batches(lengths: Sequence[int], judge: Callable[[list[int]], list[Verdict]]) -> list[Verdict]:
    """Judge indices in batches of like length, which pad little, and put the verdicts back in order."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    verdicts: dict[int, Verdict] = {}
    for start in range(0, len(order), _BATCH_TEXTS):
        batch = order[start : start + _BATCH_TEXTS]
        verdicts.update(zip(batch, judge(batch), strict=True))
    return [verdicts[index] for index in range(len(lengths))]
