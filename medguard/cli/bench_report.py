"""``medguard bench`` ``report``, ``compare``: figures of a run, and two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medguard.cli.shared import one_line_errors, say

__all__ = ["bench_report_app"]

# Without a name, so that `bench` takes the commands as its own.
bench_report_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@bench_report_app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    examples: Annotated[
        int,
        typer.Option(
            "--examples", min=0, max=50, help="Shown of each kind, suite, subject and guard; 0 for none."
        ),
    ] = 3,
    hard_benign: Annotated[
        list[str] | None,
        typer.Option(
            "--hard-benign",
            metavar="SUITE",
            help="Rank guards against the benign requests of this suite; can be repeated. "
            "[default: contrast, sensitive, xstest]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write results.json, report.md and report.html into the folder of a run.

    report.html shows harmful requests and answers behind a click, unless --examples 0 leaves them out.

    Exit status: 0 written, 2 error.
    """
    from medguard.evaluation.bench.analysis import HARD_BENIGN
    from medguard.evaluation.bench.report import write_report

    with one_line_errors():
        page = write_report(run, examples=examples, hard_benign=hard_benign or HARD_BENIGN)
        typer.echo(str(page))


@bench_report_app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    second: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of the other run.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Also write comparison.json, .md and .html to this folder."
        ),
    ] = None,
) -> None:
    """Compare two runs on the same requests, pair by pair, with a significance test.

    Runs that differ in data, operating point, judge or version of medguard are refused.

    Exit status: 0 compared, 2 error.
    """
    from medguard.evaluation.bench.report import compare_runs, write_comparison
    from medguard.evaluation.bench.tables import comparison_tables, to_markdown

    with one_line_errors():
        found = compare_runs(first, second)
        if output is not None:
            say(f"wrote {write_comparison(found, output)}")
        typer.echo(to_markdown("MedGuard benchmark: two runs", comparison_tables(found)), nl=False)
