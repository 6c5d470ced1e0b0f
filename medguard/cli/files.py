"""What commands that read and write files share: formats, safe outputs and a progress bar."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from medguard.errors import DataError
from medguard.scan_input import InputFormat

__all__ = ["format_of", "open_input", "open_output", "progress", "refuse_same_file"]

_SUFFIXES: Final = {".csv": InputFormat.CSV, ".jsonl": InputFormat.JSONL, ".ndjson": InputFormat.JSONL}


@contextlib.contextmanager
def progress(stream: BinaryIO, console: Console) -> Iterator[Callable[[int], None]]:
    """Show a bar while lines are judged, by bytes where the input's size is known; only on a terminal.

    Yields:
        A function to tell how many lines are done.
    """
    total = _size_bytes(stream)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("0 lines", total=total)

        def advance(lines: int) -> None:
            position = None if total is None else stream.tell()
            bar.update(task, completed=position, description=f"{lines} lines")

        yield advance


def _size_bytes(stream: BinaryIO) -> int | None:
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def format_of(source: str) -> InputFormat:
    """Tell by its suffix what a file holds; standard input holds JSONL.

    Raises:
        DataError: The suffix tells nothing.
    """
    if source == "-":
        return InputFormat.JSONL
    try:
        return _SUFFIXES[Path(source).suffix.lower()]
    except KeyError:
        raise DataError(
            f"expected INPUT to end in {', '.join(sorted(_SUFFIXES))}; name what it holds with --format"
        ) from None


@contextlib.contextmanager
def open_input(source: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for ``-``.

    Raises:
        DataError: Standard input is closed.
        OSError: The file cannot be opened.
    """
    if source == "-":
        if sys.stdin is None:
            raise DataError("standard input is closed")
        yield sys.stdin.buffer
        return
    with Path(source).open("rb") as stream:
        yield stream


def _part_of(output: str) -> tuple[Path, Path]:
    """Return where the finished file lies (through links), and the file beside it that grows until then."""
    target = Path(os.path.realpath(output))
    return target, target.with_name(target.name + ".part")


def refuse_same_file(stream: BinaryIO, output: str) -> None:
    """Make sure that writing `output` leaves the input as it is.

    Raises:
        DataError: It would overwrite the input.
    """
    if output == "-":
        return
    for path in _part_of(output):
        if path.is_file() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            raise DataError(f"the output {path} would overwrite the input: choose another file")


@contextlib.contextmanager
def open_output(output: str) -> Iterator[BinaryIO]:
    """Open standard output for ``-``, else a file that bears its name only once it is complete.

    Raises:
        DataError: Standard output is closed.
        OSError: The file cannot be written.
    """
    if output == "-":
        if sys.stdout is None:
            raise DataError("standard output is closed")
        yield sys.stdout.buffer
        return
    if Path(output).exists() and not Path(output).is_file():
        # A device or pipe (a folder fails here): nothing to rename, and nothing to replace.
        with _written(Path(output)) as sink:
            yield sink
        return
    target, part = _part_of(output)
    with _written(part) as sink:
        yield sink
        os.fsync(sink.fileno())
    part.replace(target)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """Open for writing; after an error, closing (which writes again) must not hide it behind its own."""
    sink = path.open("wb")
    try:
        yield sink
    except BaseException:
        with contextlib.suppress(OSError):
            sink.close()
        raise
    sink.close()
