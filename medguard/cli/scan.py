"""``medguard scan``: judge a file of requests and answers, line by line."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from medguard.checker import Checker
from medguard.cli.shared import (
    BundleOption,
    ExitStatus,
    OperatingPointOption,
    PolicyOption,
    load_classifier,
    one_line_errors,
    read_policy,
)
from medguard.errors import DataError
from medguard.policy import OnError
from medguard.scan import Row
from medguard.scan import scan as scan_records
from medguard.scan_input import InputFormat, read_records

__all__ = ["scan"]

_SUFFIXES = {".csv": InputFormat.CSV, ".jsonl": InputFormat.JSONL, ".ndjson": InputFormat.JSONL}


def scan(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="JSONL or CSV file; - is standard input.", show_default=False),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="JSONL file, called OUT.part until it is complete; - is standard output.",
        ),
    ] = "-",
    input_format: Annotated[
        InputFormat | None,
        typer.Option("--format", help="Of INPUT; else by its suffix, jsonl for standard input."),
    ] = None,
    policy: PolicyOption = None,
    bundle: BundleOption = None,
    operating_point: OperatingPointOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End at the first line that cannot be judged.")
    ] = False,
) -> None:
    """Judge the lines of a file: fields prompt, and optionally id and response; one line out for each.

    A line that cannot be read or judged is not allowed, carries an error, and is named on standard error.
    Exit status: 0 complete, 1 complete with such lines, 2 error.
    """
    with one_line_errors():
        rules = read_policy(policy, operating_point)
        strict = strict or rules.on_error is OnError.RAISE
        if rules.on_error is OnError.RAISE:
            # The checker's own error would not know the line; `strict` ends the scan with its number.
            rules = rules.model_copy(update={"on_error": OnError.BLOCK})
        read_as = input_format or _format_of(source)
        with _open_input(source) as stream:
            _refuse_same_file(stream, output)
            checker = Checker(policy=rules, classifier=load_classifier(bundle))
            with _open_output(output) as sink:
                bad_lines = _run(
                    stream, sink, scan_records(read_records(stream, read_as), checker, strict=strict)
                )
        raise typer.Exit(ExitStatus.BLOCKED if bad_lines else ExitStatus.OK)


def _run(stream: BinaryIO, sink: BinaryIO, rows: Iterator[Row]) -> int:
    """Write the rows and return how many could not be read or judged."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    lines = blocked = bad_lines = 0
    with _progress(stream, console) as advance:
        for row in rows:
            _write_line(sink, row)
            lines += 1
            blocked += not row.allowed
            if row.error is not None:
                bad_lines += 1
                console.print(f"medguard: line {row.line}: {row.error}", soft_wrap=True)
            advance(lines)
    if bad_lines or sys.stderr.isatty():
        console.print(
            f"medguard: {lines} lines, {blocked} not allowed, {bad_lines} not read or not judged",
            soft_wrap=True,
        )
    return bad_lines


def _write_line(sink: BinaryIO, row: Row) -> None:
    try:
        sink.write(row.to_json().encode("ascii") + b"\n")
        # Line by line, so that a scan that is cut off leaves whole lines; the classifier costs far more.
        sink.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(sink.name)) from error


@contextlib.contextmanager
def _progress(stream: BinaryIO, console: Console) -> Iterator[Callable[[int], None]]:
    """Show a bar while the scan runs, by bytes where the size of the input is known; only on a terminal."""
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


def _format_of(source: str) -> InputFormat:
    if source == "-":
        return InputFormat.JSONL
    try:
        return _SUFFIXES[Path(source).suffix.lower()]
    except KeyError:
        raise DataError(
            f"expected INPUT to end in {', '.join(sorted(_SUFFIXES))}; name what it holds with --format"
        ) from None


@contextlib.contextmanager
def _open_input(source: str) -> Iterator[BinaryIO]:
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


def _refuse_same_file(stream: BinaryIO, output: str) -> None:
    if output == "-":
        return
    for path in _part_of(output):
        if path.is_file() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            raise DataError(f"the output {path} would overwrite the input: choose another file")


@contextlib.contextmanager
def _open_output(output: str) -> Iterator[BinaryIO]:
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
