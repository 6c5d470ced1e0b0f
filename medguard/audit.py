"""`AuditLog`: one line of JSON for every judgement, in files that rotate by size. Hashes and scores, no text.

The text is there only under the policy's ``record_text``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from medguard.errors import AuditError
from medguard.observe import Observation

__all__ = ["AuditLog"]

logger = logging.getLogger(__name__)

# What is known of a person's health by hash, score and time concerns nobody else on the machine.
_OWNER_ONLY: Final = 0o600


class AuditLog:
    """An observer that writes JSON lines. Safe to share between threads; one process to a file.

    Every line has ``time`` and ``event``. Event ``check`` has ``request_id``, ``text_sha256``,
    ``text_chars``, ``verdict`` (see `Verdict.to_dict`) and, under ``record_text``, ``text``. Event ``start``
    is written when the log is opened, event ``gap`` (with ``lost``) after judgements could not be written.

    The standard library's rotating handler is not used: it buffers lines and may tear one when a disk is
    full. Here each line is written at once and whole, or not at all. The file is opened for each, so that it
    may be moved, deleted or made writable again at any time. Only a regular file is rotated; a device, a
    pipe or a symbolic link (``/dev/stdout``) is left as it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = 64_000_000,
        backups: int = 10,
        *,
        fsync: bool = False,
    ) -> None:
        """Open the log, by writing its first line.

        Args:
            path: The file, in a folder that exists; made readable to its owner alone where it is new.
            max_bytes: Size above which no file grows, in bytes (unless a single line is longer).
            backups: How many full files are kept, as ``path.1`` (the newest), ``path.2`` and so on.
            fsync: Whether every line is forced to the disk before the check goes on; for regular files.

        Raises:
            AuditError: The file cannot be written, for example because the disk is full, or a number is
                below 1.
        """
        if max_bytes < 1 or backups < 1:
            raise AuditError(
                f"max_bytes and backups of an audit log are 1 or more: found {max_bytes}, {backups}"
            )
        self.path = Path(path)
        self._max_bytes, self._backups, self._fsync = max_bytes, backups, fsync
        self._lock = threading.Lock()
        self._lost = 0
        self._lost_since_gap = 0
        self._cannot_rotate = False
        try:
            self._append(_line("start", {"pid": os.getpid()}))
            self._sync_folder()
        except (OSError, ValueError) as error:
            raise AuditError(f"cannot write audit log {self.path}: {_reason(error)}") from error

    @property
    def lost(self) -> int:
        """How many judgements could not be written so far."""
        return self._lost

    def observe(self, observation: Observation) -> None:
        """Write one judgement; one that cannot be written is counted in `lost` and logged."""
        line = _line("check", _check_fields(observation))
        with self._lock:
            try:
                if self._lost_since_gap:
                    # With the next line, not before it: where only a short line fits nothing is regained.
                    self._append(_line("gap", {"lost": self._lost_since_gap}) + line)
                    logger.warning(
                        "audit log is written again; %d judgements were lost", self._lost_since_gap
                    )
                    self._lost_since_gap = 0
                else:
                    self._append(line)
            except OSError as error:
                self._lost += 1
                self._lost_since_gap += 1
                # Once for each gap: a log of every loss would fill what disk there is.
                if self._lost_since_gap == 1:
                    logger.error("audit log cannot be written: %s", _reason(error))  # noqa: TRY400

    def _append(self, line: bytes) -> None:
        """Write `line` whole or, with an OSError, not at all."""
        self._rotate_before(len(line))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            _write_whole(descriptor, line)
            if self._fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rotate_before(self, more_bytes: int) -> None:
        """Move a full file aside; where that fails the file grows on, since a record outweighs its size."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            return
        if found.st_size + more_bytes <= self._max_bytes:
            return
        try:
            for number in range(self._backups, 0, -1):
                older = self._backup(number - 1) if number > 1 else self.path
                with contextlib.suppress(FileNotFoundError):
                    os.replace(older, self._backup(number))
            self._sync_folder()
            self._cannot_rotate = False
        except OSError as error:
            if not self._cannot_rotate:
                logger.error("audit log cannot be rotated and grows on: %s", _reason(error))  # noqa: TRY400
            self._cannot_rotate = True

    def _sync_folder(self) -> None:
        """Make the names of new and moved files last, where lines are to last."""
        if not self._fsync:
            return
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _check_fields(observation: Observation) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": observation.request_id,
        "text_sha256": observation.text_sha256,
        "text_chars": observation.text_chars,
        "verdict": observation.verdict.to_dict(),
    }
    return fields if observation.text is None else {**fields, "text": observation.text}


def _line(event: str, fields: dict[str, Any]) -> bytes:
    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    # Escaped to ASCII, so that no character of a text can end the line.
    return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write all bytes, or take back those that were written and raise OSError."""
    before = os.fstat(descriptor).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        # A pipe or device cannot be cut; a regular file, cut to what it was, holds whole lines again.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        raise


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
