"""The SQLite file of a run: its tables, its lock, and its errors."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from medguard.errors import DataError

__all__ = [
    "DATABASE_NAME",
    "SCHEMA",
    "SCHEMA_VERSION",
    "as_data_errors",
    "connect",
    "lock",
    "require_version",
]

DATABASE_NAME: Final = "run.sqlite"
_LOCK_NAME: Final = "run.lock"
SCHEMA_VERSION: Final = 1
_BUSY_S: Final = 30.0

# Digests are SHA-256 of the text; an answer of "" in `scores` is the request alone.
SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE plan_suites (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, policy TEXT NOT NULL,
    side TEXT NOT NULL, licence TEXT NOT NULL, citation TEXT NOT NULL, revision TEXT NOT NULL
);
CREATE TABLE plan_items (
    item INTEGER PRIMARY KEY, suite INTEGER NOT NULL REFERENCES plan_suites, id TEXT NOT NULL,
    prompt TEXT NOT NULL, prompt_sha BLOB NOT NULL, harmful INTEGER NOT NULL, principle INTEGER,
    category TEXT, jargon INTEGER, UNIQUE (suite, id)
);
CREATE TABLE plan_subjects (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE plan_guards (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE answers (
    answer INTEGER PRIMARY KEY, subject TEXT NOT NULL, prompt_sha BLOB NOT NULL, text TEXT, answer_sha BLOB,
    error TEXT, seconds REAL NOT NULL, UNIQUE (subject, prompt_sha)
);
CREATE TABLE judgements (
    judge TEXT NOT NULL, policy TEXT NOT NULL, id TEXT NOT NULL, prompt_sha BLOB NOT NULL,
    answer_sha BLOB NOT NULL, harmfulness INTEGER, violates TEXT NOT NULL, error TEXT,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    PRIMARY KEY (judge, policy, id, prompt_sha, answer_sha)
) WITHOUT ROWID;
CREATE TABLE scores (
    guard TEXT NOT NULL, prompt_sha BLOB NOT NULL, answer_sha BLOB NOT NULL, flagged INTEGER NOT NULL,
    score REAL, error TEXT, seconds REAL NOT NULL, PRIMARY KEY (guard, prompt_sha, answer_sha)
) WITHOUT ROWID;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, waiting a while where another process is writing it."""
    # No implicit transactions: what is a transaction is said where it begins.
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)


def lock(folder: Path) -> sqlite3.Connection:
    """Hold a second file's lock as long as the run is written: the system lets go of it if we are killed.

    Raises:
        DataError: Another process holds it.
    """
    held = sqlite3.connect(folder / _LOCK_NAME, timeout=0.0, isolation_level=None)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        held.close()
        raise DataError(f"another process writes the run in {folder}: wait for it, or end it") from None
    return held


def require_version(connection: sqlite3.Connection, folder: Path) -> None:
    """Make sure that the tables are as this version knows them.

    Raises:
        DataError: They are not.
    """
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != SCHEMA_VERSION:
        raise DataError(
            f"{folder} holds a run in format {found}, expected {SCHEMA_VERSION}: use another folder"
        )


@contextlib.contextmanager
def as_data_errors(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into the library's; they quote no values.

    Raises:
        DataError: Something went wrong inside.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise DataError(
            "expected every id once in a suite, and every suite, subject and guard once"
        ) from None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        raise DataError(f"cannot use the run in {folder}: {code}") from error
