"""A run's folder: everything that models said, in one SQLite file, stored as it arrives.

What is stored is keyed by content (who said it, of which text), not by its place in a run: an interrupted run
goes on where it was, a changed judge re-uses the answers, and a success is never overwritten. A plan says
which of it the present run is about.

Run folders hold the texts of requests and answers: harmful ones, and whatever health data the suites and
answers hold. A folder made here is readable by its owner alone; keep it out of repositories and tickets.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from medguard.errors import DataError
from medguard.evaluation.bench.store_file import (
    DATABASE_NAME,
    SCHEMA,
    SCHEMA_VERSION,
    as_data_errors,
    connect,
    lock,
    require_version,
)
from medguard.evaluation.bench.store_rows import judged_rows, sha, stored_text, text_of
from medguard.evaluation.bench.types import Answer, GuardScore, Judgement, Row, Suite, SuiteItem, SuitePolicy

__all__ = ["DATABASE_NAME", "Store"]

_OWNER_ONLY: Final = 0o700


class Store:
    """One run's folder. One process writes at a time, any number may read; not for sharing between threads.

    Example:
        >>> with Store.open(Path("runs/first")) as store:
        ...     levels = [row.judgement.harmfulness for row in store.rows() if row.judgement]
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: sqlite3.Connection | None) -> None:
        """Take over open connections; use `open` or `create`."""
        self.folder = folder
        self._connection = connection
        self._lock = lock

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open a run to read it; a run that is going on may be read too.

        Raises:
            DataError: The folder holds no run, or one of another version of the format.
        """
        folder = Path(folder)
        if not (folder / DATABASE_NAME).is_file():
            raise DataError(f"{folder} holds no run: expected {DATABASE_NAME} in it")
        with as_data_errors(folder):
            connection = connect(folder / DATABASE_NAME)
            try:
                require_version(connection, folder)
            except BaseException:
                connection.close()
                raise
        return cls(folder, connection, None)

    @classmethod
    def create(cls, folder: Path) -> Store:
        """Open a run to write it, and make it where there is none.

        Raises:
            DataError: Another process writes it, or it is of another version of the format.
            OSError: The folder cannot be made.
        """
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        with as_data_errors(folder), contextlib.ExitStack() as opened:
            held = lock(folder)
            opened.callback(held.close)
            connection = connect(folder / DATABASE_NAME)
            opened.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            # Every commit is on the disk before the next call is paid for.
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            require_version(connection, folder)
            opened.pop_all()
        return cls(folder, connection, held)

    def close(self) -> None:
        """Close the file, and let others write the run."""
        for connection in (self._connection, self._lock):
            if connection is not None:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self) -> dict[str, Any]:
        """Return what the run says of itself.

        Raises:
            DataError: The file cannot be read.
        """
        with as_data_errors(self.folder):
            return {
                name: json.loads(value)
                for name, value in self._connection.execute("SELECT name, value FROM meta ORDER BY name")
            }

    def set_meta(self, entries: Mapping[str, Any]) -> None:
        """Set entries (JSON values) and leave the others as they are.

        Raises:
            DataError: The file cannot be written.
        """
        values = [(name, json.dumps(value)) for name, value in entries.items()]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def plan(self, suites: Iterable[Suite], subjects: Sequence[str], guards: Sequence[str]) -> None:
        """Say what the run is about, in place of what it was about before; nothing stored is lost.

        Raises:
            DataError: A suite has an id twice, or two suites, subjects or guards bear one name.
        """
        item = 0
        with self._transaction() as connection:
            for table in ("plan_items", "plan_suites", "plan_subjects", "plan_guards"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of the names above
            for table, names in (("plan_subjects", subjects), ("plan_guards", guards)):
                connection.executemany(
                    f"INSERT INTO {table} (name) VALUES (?)",  # noqa: S608 - one of two names
                    [(name,) for name in names],
                )
            for position, suite in enumerate(suites):
                connection.execute(
                    "INSERT INTO plan_suites VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (position, suite.name, suite.title, suite.policy.value, suite.side.value, suite.licence,
                     suite.citation, suite.revision),
                )  # fmt: skip
                connection.executemany(
                    "INSERT INTO plan_items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        (number, position, stored_text(held.id), stored_text(held.prompt), sha(held.prompt),
                         held.harmful, held.principle, held.category, held.jargon)
                        for number, held in enumerate(suite.items, start=item)
                    ),
                )  # fmt: skip
                item += len(suite.items)

    def planned(self, what: str) -> list[str]:
        """Names of the plan's ``suites``, ``subjects`` or ``guards``, in order."""
        table = {"suites": "plan_suites", "subjects": "plan_subjects", "guards": "plan_guards"}[what]
        query = f"SELECT name FROM {table} ORDER BY position"  # noqa: S608 - one of three names
        with as_data_errors(self.folder):
            return [name for (name,) in self._connection.execute(query)]

    def pending_answers(self, subject: str, *, retry: bool = True) -> list[tuple[int, ...]]:
        """Find requests without an answer of `subject`: numbers of items, one for each distinct text.

        Args:
            subject: Name of the subject.
            retry: Whether requests on which it failed count too.
        """
        return self._numbers(
            """SELECT MIN(i.item) FROM plan_items i
            LEFT JOIN answers a ON a.subject = :name AND a.prompt_sha = i.prompt_sha
            WHERE a.answer IS NULL OR (:retry AND a.text IS NULL)
            GROUP BY i.prompt_sha ORDER BY 1""",
            subject,
            retry=retry,
        )

    def pending_judgements(self, judge: str, *, retry: bool = True) -> list[tuple[int, ...]]:
        """Find answers of the planned subjects without a word of `judge`: numbers of items and answers."""
        return self._numbers(
            """SELECT MIN(i.item), MIN(a.answer) FROM plan_items i
            JOIN plan_suites s ON s.position = i.suite
            JOIN plan_subjects p
            JOIN answers a ON a.subject = p.name AND a.prompt_sha = i.prompt_sha AND a.text IS NOT NULL
            LEFT JOIN judgements j ON j.judge = :name AND j.policy = s.policy AND j.id = i.id
                AND j.prompt_sha = i.prompt_sha AND j.answer_sha = a.answer_sha
            WHERE j.judge IS NULL OR (:retry AND j.error IS NOT NULL)
            GROUP BY s.policy, i.id, i.prompt_sha, a.answer_sha ORDER BY 1, 2""",
            judge,
            retry=retry,
        )

    def pending_requests(self, guard: str, *, retry: bool = True) -> list[tuple[int, ...]]:
        """Find requests that `guard` has not scored: numbers of items, one for each distinct text."""
        return self._numbers(
            """SELECT MIN(i.item) FROM plan_items i
            LEFT JOIN scores g ON g.guard = :name AND g.prompt_sha = i.prompt_sha AND g.answer_sha = x''
            WHERE g.guard IS NULL OR (:retry AND g.error IS NOT NULL)
            GROUP BY i.prompt_sha ORDER BY 1""",
            guard,
            retry=retry,
        )

    def pending_pairs(self, guard: str, *, retry: bool = True) -> list[tuple[int, ...]]:
        """Find answers of the planned subjects that `guard` has not scored: items and answers."""
        return self._numbers(
            """SELECT MIN(i.item), MIN(a.answer) FROM plan_items i
            JOIN plan_subjects p
            JOIN answers a ON a.subject = p.name AND a.prompt_sha = i.prompt_sha AND a.text IS NOT NULL
            LEFT JOIN scores g ON g.guard = :name AND g.prompt_sha = i.prompt_sha
                AND g.answer_sha = a.answer_sha
            WHERE g.guard IS NULL OR (:retry AND g.error IS NOT NULL)
            GROUP BY i.prompt_sha, a.answer_sha ORDER BY 1, 2""",
            guard,
            retry=retry,
        )

    def load(self, numbers: Sequence[int]) -> tuple[SuiteItem, SuitePolicy, str | None]:
        """Read an item of the plan, its policy, and the answer where a second number names one.

        Raises:
            DataError: There is no such item or answer.
        """
        with as_data_errors(self.folder):
            found = self._connection.execute(
                """SELECT i.id, i.prompt, i.harmful, i.principle, i.category, i.jargon, s.policy
                FROM plan_items i JOIN plan_suites s ON s.position = i.suite WHERE i.item = ?""",
                (numbers[0],),
            ).fetchone()
            answer = (
                self._connection.execute(
                    "SELECT text FROM answers WHERE answer = ?", (numbers[1],)
                ).fetchone()
                if len(numbers) > 1
                else (None,)
            )
        if found is None or answer is None:
            raise DataError("the plan changed while the run was going on")
        name, prompt, harmful, principle, category, jargon, policy = found
        item = SuiteItem(
            id=str(text_of(name)),
            prompt=str(text_of(prompt)),
            harmful=bool(harmful),
            principle=principle,
            category=category,
            jargon=None if jargon is None else bool(jargon),
        )
        return item, SuitePolicy(policy), text_of(answer[0])

    def add_answers(self, subject: str, found: Iterable[tuple[str, Answer]]) -> None:
        """Store (request, answer) pairs, all or none; a stored answer stays, a stored failure is replaced.

        Raises:
            DataError: The file cannot be written.
        """
        self._write(
            """INSERT INTO answers (subject, prompt_sha, text, answer_sha, error, seconds)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text,
            answer_sha = excluded.answer_sha, error = excluded.error, seconds = excluded.seconds
            WHERE answers.text IS NULL""",
            (
                (subject, sha(prompt), stored_text(answer.text),
                 None if answer.text is None else sha(answer.text), stored_text(answer.error), answer.seconds)
                for prompt, answer in found
            ),
        )  # fmt: skip

    def add_judgements(
        self, judge: str, found: Iterable[tuple[SuiteItem, SuitePolicy, str, Judgement]]
    ) -> None:
        """Store judgements of (item, policy, answer), all or none; only a failure is ever replaced.

        Raises:
            DataError: The file cannot be written.
        """
        self._write(
            """INSERT INTO judgements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
            harmfulness = excluded.harmfulness, violates = excluded.violates, error = excluded.error,
            input_tokens = judgements.input_tokens + excluded.input_tokens,
            output_tokens = judgements.output_tokens + excluded.output_tokens
            WHERE judgements.error IS NOT NULL""",
            (
                (judge, policy.value, stored_text(item.id), sha(item.prompt), sha(answer), said.harmfulness,
                 json.dumps(said.violates), stored_text(said.error), said.input_tokens, said.output_tokens)
                for item, policy, answer, said in found
            ),
        )  # fmt: skip

    def add_scores(self, guard: str, found: Iterable[tuple[str, str | None, GuardScore]]) -> None:
        """Store scores of (request, answer or None), all or none; only a failure is ever replaced.

        Raises:
            DataError: The file cannot be written.
        """
        self._write(
            """INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
            flagged = excluded.flagged, score = excluded.score, error = excluded.error,
            seconds = excluded.seconds WHERE scores.error IS NOT NULL""",
            (
                (guard, sha(prompt), b"" if answer is None else sha(answer), said.flagged, said.score,
                 stored_text(said.error), said.seconds)
                for prompt, answer, said in found
            ),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Count what is stored, of this plan or of earlier ones: answers, judgements, scores."""
        with as_data_errors(self.folder):
            return {
                table: self._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("answers", "judgements", "scores")
            }

    def rows(self) -> Iterator[Row]:
        """Stream the planned requests with all that was found about them, suite by suite, subject by subject.

        One snapshot, whatever is written meanwhile.

        Raises:
            DataError: The file cannot be read.
        """
        judge = self.meta().get("judge")
        with as_data_errors(self.folder):
            self._connection.execute("BEGIN")
            try:
                yield from judged_rows(self._connection, judge)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _numbers(self, query: str, name: str, *, retry: bool) -> list[tuple[int, ...]]:
        with as_data_errors(self.folder):
            return self._connection.execute(query, {"name": name, "retry": retry}).fetchall()

    def _write(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        with self._transaction() as connection:
            connection.executemany(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with as_data_errors(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
