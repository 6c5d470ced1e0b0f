"""``medguard scan``: judge a file of requests and answers, line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from medguard.checker import Checker
from medguard.cli.files import format_of, open_input, open_output, progress, refuse_same_file
from medguard.cli.shared import (
    BundleOption,
    ExitStatus,
    FormatOption,
    OperatingPointOption,
    PolicyOption,
    load_classifier,
    one_line_errors,
    read_policy,
)
from medguard.policy import OnError
from medguard.scan import Row
from medguard.scan import scan as scan_records
from medguard.scan_input import read_records

__all__ = ["scan"]


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
    input_format: FormatOption = None,
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
        read_as = input_format or format_of(source)
        with open_input(source) as stream:
            refuse_same_file(stream, output)
            checker = Checker(policy=rules, classifier=load_classifier(bundle))
            with open_output(output) as sink:
                bad_lines = _run(
                    stream, sink, scan_records(read_records(stream, read_as), checker, strict=strict)
                )
        raise typer.Exit(ExitStatus.BLOCKED if bad_lines else ExitStatus.OK)


def _run(stream: BinaryIO, sink: BinaryIO, rows: Iterator[Row]) -> int:
    """Write the rows and return how many could not be read or judged."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    lines = blocked = bad_lines = 0
    with progress(stream, console) as advance:
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
