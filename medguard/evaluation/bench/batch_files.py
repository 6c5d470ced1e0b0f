"""Judging through files in the OpenAI Batch API format: requests out, results in.

A request file holds the texts of requests and answers; that is what it is for. Results come back in any
order, in several files (successes and errors), with lines missing or damaged; each such line is listed, and
what can be read is kept. Format: https://platform.openai.com/docs/guides/batch
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medguard.errors import DataError
from medguard.evaluation.bench.judge_labels import Label, answer_digest
from medguard.evaluation.bench.judge_models import JudgeCallError, completion_reply
from medguard.evaluation.bench.judges import LlmSettings
from medguard.evaluation.bench.rubric import load_wording, parse_reply, reply_schema
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import SuiteItem, SuitePolicy
from medguard.evaluation.parsing import json_lines_of

__all__ = [
    "BatchResults",
    "Problem",
    "Question",
    "Written",
    "read_questions",
    "read_results",
    "write_requests",
]

MAX_REQUESTS: Final = 50_000
"""Most requests in one batch file (OpenAI's limit)."""
MAX_BYTES: Final = 200_000_000
"""Largest batch file, in bytes (OpenAI's limit)."""

_URL: Final = "/v1/chat/completions"
_CUSTOM_ID: Final = re.compile(r"mg1-([0-9a-f]{12})-([0-9a-f]{40})")


@dataclass(frozen=True, slots=True)
class Question:
    """An answer to be judged."""

    id: str
    """Of the request."""
    prompt: str
    answer: str
    policy: SuitePolicy

    @property
    def key(self) -> str:
        """Name of this content: 40 hexadecimal digits of a SHA-256."""
        parts = (self.id, self.policy.value, self.prompt, self.answer)
        sizes = ",".join(str(len(part)) for part in parts)
        return hashlib.sha256("\0".join((sizes, *parts)).encode("utf-8", "surrogatepass")).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What results need of a question; not its texts, for there may be many."""

    id: str
    policy: SuitePolicy
    answer_sha256: str
    is_blank: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_requests` wrote."""

    files: tuple[Path, ...]
    requests: int
    repeated: int
    """Questions that are the same as an earlier one, asked once."""
    blank: int
    """Blank answers, which are harmfulness 1 without asking."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A result that could not be used."""

    file: str
    line: int
    """From 1."""
    reason: str
    """In words, without texts."""
    id: str | None = None
    """Of the request, where the line tells."""


@dataclass(frozen=True, slots=True)
class BatchResults:
    """What result files say of the questions."""

    labels: tuple[Label, ...]
    """In the order of the questions; blank answers among them."""
    problems: tuple[Problem, ...]
    missing: tuple[str, ...]
    """Ids of questions without a usable result, problems included."""


def read_questions(
    path: str | Path, *, items: Mapping[str, SuiteItem] | None = None, policy: SuitePolicy = SuitePolicy.AMA
) -> Iterator[Question]:
    """Yield the answers of a JSON lines file, or those that a run folder holds.

    Args:
        path: Lines with ``id``, ``response`` (or ``answer``), and optionally ``prompt`` and ``policy``; or
            the folder of a run, which knows requests and policies itself.
        items: Requests by id, for lines without a prompt, such as the project's own answers.
        policy: For lines that name none.

    Raises:
        DataError: The file cannot be read, or a line lacks what it needs; the message quotes no text.
    """
    if Path(path).is_dir():
        yield from _questions_of_run(Path(path))
        return
    for number, line in enumerate(json_lines_of(Path(path)), start=1):
        where = f"{path}, record {number}"
        name = line.get("id")
        answer = line.get("response", line.get("answer"))
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: expected an id of text")
        if not isinstance(answer, str):
            raise DataError(f"{where}: expected the answer as text in response")
        prompt = line.get("prompt")
        if prompt is None and items is not None and name in items:
            prompt = items[name].prompt
        if not isinstance(prompt, str):
            raise DataError(
                f"{where}: expected the request as text in prompt, or its id in the suite; found neither"
            )
        try:
            under = SuitePolicy(line.get("policy", policy))
        except ValueError:
            raise DataError(f"{where}: policy should be ama or general") from None
        yield Question(name, prompt, answer, under)


def _questions_of_run(folder: Path) -> Iterator[Question]:
    with Store.open(folder) as store:
        for row in store.rows():
            if row.answer is not None and row.answer.text is not None:
                yield Question(row.item.id, row.item.prompt, row.answer.text, row.policy)


def write_requests(
    questions: Iterable[Question],
    path: str | Path,
    *,
    model: str,
    settings: LlmSettings | None = None,
    max_requests: int = MAX_REQUESTS,
    max_bytes: int = MAX_BYTES,
) -> Written:
    """Write batch files; each bears its name only once it is complete.

    Args:
        questions: Taken one by one.
        path: First file; further ones, where a limit is reached, get ``-2``, ``-3`` before the suffix.
        model: The judge's model, as the provider names it.
        settings: Wording, temperature and longest reply.
        max_requests: Limit for one file.
        max_bytes: Limit for one file, in bytes.

    Raises:
        DataError: There is nothing to ask, or one request is larger than a file may be.
        OSError: A file cannot be written.
    """
    settings = LlmSettings() if settings is None else settings
    wording = load_wording(settings.wording)
    target = Path(path)
    seen: set[str] = set()
    repeated = blank = 0

    def lines() -> Iterator[bytes]:
        nonlocal repeated, blank
        for question in questions:
            if not question.answer.strip():
                blank += 1
            elif question.key in seen:
                repeated += 1
            else:
                seen.add(question.key)
                body = {
                    "model": model,
                    "messages": [
                        {"role": "system", "content": wording.system(question.policy)},
                        {"role": "user", "content": wording.user(question.prompt, question.answer)},
                    ],
                    **_body_settings(settings, question.policy),
                }
                custom_id = f"mg1-{wording.digest}-{question.key}"
                request = {"custom_id": custom_id, "method": "POST", "url": _URL, "body": body}
                yield json.dumps(request).encode("ascii") + b"\n"

    files = tuple(_write_files(lines(), target, max_requests, max_bytes))
    if not files:
        raise DataError("there is no answer to judge")
    return Written(files, len(seen), repeated, blank)


def read_results(questions: Iterable[Question], paths: Sequence[str | Path]) -> BatchResults:
    """Read result files, and error files, of any number of batches.

    Where a question has several usable results the first counts; one that differs from it is listed.

    Args:
        questions: What was asked, as given to `write_requests`; more or fewer do no harm.
        paths: Result files.

    Raises:
        DataError: A file cannot be read at all.
    """
    asked: dict[str, _Asked] = {}
    for question in questions:
        asked.setdefault(
            question.key,
            _Asked(question.id, question.policy, answer_digest(question.answer), not question.answer.strip()),
        )
    found = {
        key: Label(item.id, 1, item.answer_sha256, judge="blank answer")
        for key, item in asked.items()
        if item.is_blank
    }
    problems: list[Problem] = []
    for path in paths:
        for number, line in _lines(Path(path)):
            problem = _take(line, asked, found)
            if problem is not None:
                problems.append(Problem(str(path), number, *problem))
    return BatchResults(
        labels=tuple(found[key] for key in asked if key in found),
        problems=tuple(problems),
        missing=tuple(item.id for key, item in asked.items() if key not in found),
    )


def _body_settings(settings: LlmSettings, policy: SuitePolicy) -> dict[str, Any]:
    schema = {"name": "judgement", "strict": True, "schema": reply_schema(policy)}
    body: dict[str, Any] = {
        "max_completion_tokens": settings.max_output_tokens,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    return body


def _write_files(lines: Iterator[bytes], target: Path, max_requests: int, max_bytes: int) -> Iterator[Path]:
    line = next(lines, None)
    number = 0
    while line is not None:
        number += 1
        path = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        part = path.with_name(path.name + ".part")
        with part.open("wb") as sink:
            count = size = 0
            while line is not None and count < max_requests and size + len(line) <= max_bytes:
                sink.write(line)
                count, size = count + 1, size + len(line)
                line = next(lines, None)
            if not count:
                raise DataError(f"one request is larger than {max_bytes} bytes, the limit of a batch file")
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(path)
        yield path


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _take(line: bytes, asked: Mapping[str, _Asked], found: dict[str, Label]) -> tuple[str, str | None] | None:
    """Put a line's label into `found`, or return why that cannot be, and of which request."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return "no JSON: cut off or damaged", None
    custom_id = result.get("custom_id") if isinstance(result, dict) else None
    match = _CUSTOM_ID.fullmatch(custom_id) if isinstance(custom_id, str) else None
    if match is None:
        return "no custom_id of ours", None
    wording, key = match.groups()
    if key not in asked:
        return "an answer that is not among those given", None
    question = asked[key]
    response = result.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    # Other servers' batch tools leave the status of a success out.
    if result.get("error") or response.get("status_code", 200) != 200 or not isinstance(body, dict):
        return f"failed: {_code(result, response)}", question.id
    try:
        raw = completion_reply(body)
        reply = parse_reply(raw.content, question.policy)
    except (DataError, JudgeCallError) as error:
        return str(error), question.id
    label = Label(
        id=question.id,
        harmfulness=reply.harmfulness,
        answer_sha256=question.answer_sha256,
        violates=reply.violates,
        judge=f"batch:{body['model'] if isinstance(body.get('model'), str) else 'unknown'}@{wording}",
        input_tokens=max(raw.input_tokens, 0),
        output_tokens=max(raw.output_tokens, 0),
    )
    known = found.setdefault(key, label)
    if known.harmfulness != label.harmfulness:
        return "another level than an earlier result of the same answer", question.id
    return None


def _code(result: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """Name a failure by its code; messages may quote texts."""
    body = response.get("body")
    candidates = (result.get("error"), body.get("error") if isinstance(body, dict) else None)
    for error in candidates:
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", code):
            return code
    status = response.get("status_code")
    return f"HTTP {status}" if isinstance(status, int) else "no response"
