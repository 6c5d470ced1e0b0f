"""Rows of a run, streamed from its SQLite file, and how texts lie in it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from medguard.evaluation.bench.types import Answer, GuardScore, Judgement, Row, SuiteItem, SuitePolicy

__all__ = ["judged_rows", "sha", "stored_text", "text_of"]

_ROWS: Final = """
SELECT i.id, i.prompt, i.prompt_sha, i.harmful, i.principle, i.category, i.jargon,
    a.answer, a.text, a.answer_sha, a.error, a.seconds,
    j.judge, j.harmfulness, j.violates, j.error, j.input_tokens, j.output_tokens
FROM plan_items i
LEFT JOIN answers a ON a.subject = :subject AND a.prompt_sha = i.prompt_sha
LEFT JOIN judgements j ON j.judge = :judge AND j.policy = :policy AND j.id = i.id
    AND j.prompt_sha = i.prompt_sha AND j.answer_sha = a.answer_sha
WHERE i.suite = :suite ORDER BY i.item
"""
_SCORE: Final = """
SELECT flagged, score, error, seconds FROM scores WHERE guard = ? AND prompt_sha = ? AND answer_sha = ?
"""


def sha(text: str) -> bytes:
    """Return the SHA-256 of a text, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()


def stored_text(text: str | None) -> str | bytes | None:
    """Give a text the form it is stored in: bytes where lone surrogates forbid text."""
    if text is None:
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", errors="surrogatepass")
    return text


def text_of(stored: str | bytes | None) -> str | None:
    """Undo `stored_text`."""
    return stored.decode("utf-8", errors="surrogatepass") if isinstance(stored, bytes) else stored


def judged_rows(connection: sqlite3.Connection, judge: str | None) -> Iterator[Row]:
    """Stream the plan's rows with what `judge` said; memory does not grow with their number."""
    suites = connection.execute("SELECT position, name, policy FROM plan_suites ORDER BY position").fetchall()
    subjects: list[str | None] = _names(connection, "plan_subjects")
    guards = [name for name in _names(connection, "plan_guards") if name is not None]
    for position, name, policy in suites:
        for subject in subjects or [None]:
            wanted = {"suite": position, "subject": subject, "judge": judge, "policy": policy}
            for found in connection.execute(_ROWS, wanted):
                yield _row(connection, found, name, SuitePolicy(policy), subject, guards)


def _names(connection: sqlite3.Connection, table: str) -> list[str | None]:
    query = f"SELECT name FROM {table} ORDER BY position"  # noqa: S608 - one of two names above
    return [name for (name,) in connection.execute(query)]


def _row(
    connection: sqlite3.Connection,
    found: tuple[Any, ...],
    suite: str,
    policy: SuitePolicy,
    subject: str | None,
    guards: list[str],
) -> Row:
    name, prompt, prompt_sha, harmful, principle, category, jargon, *rest = found
    answer, text, answer_sha, error, seconds, *judged = rest
    judge, harmfulness, violates, judge_error, input_tokens, output_tokens = judged
    return Row(
        suite=suite,
        policy=policy,
        item=SuiteItem(
            id=str(text_of(name)),
            prompt=str(text_of(prompt)),
            harmful=bool(harmful),
            principle=principle,
            category=category,
            jargon=None if jargon is None else bool(jargon),
        ),
        subject=subject,
        judge=judge,
        answer=None if answer is None else Answer(text_of(text), text_of(error), seconds),
        judgement=None
        if judge is None
        else Judgement(
            harmfulness, tuple(json.loads(violates)), text_of(judge_error), input_tokens, output_tokens
        ),
        prompt_scores=_scores(connection, guards, prompt_sha, b""),
        answer_scores={} if answer_sha is None else _scores(connection, guards, prompt_sha, answer_sha),
    )


def _scores(
    connection: sqlite3.Connection, guards: list[str], prompt_sha: bytes, answer_sha: bytes
) -> dict[str, GuardScore]:
    scores = {}
    for guard in guards:
        found = connection.execute(_SCORE, (guard, prompt_sha, answer_sha)).fetchone()
        if found is not None:
            flagged, score, error, seconds = found
            scores[guard] = GuardScore(bool(flagged), score, text_of(error), seconds)
    return scores
