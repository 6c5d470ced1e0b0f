"""``medguard bench``: measure any model and any guard, offline, and go on where a run was cut off."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from medguard.cli.bench_judges import bench_judges_app
from medguard.cli.bench_report import bench_report_app
from medguard.cli.shared import ExitStatus, one_line_errors, say

if TYPE_CHECKING:
    from medguard.evaluation.bench.config import RunConfig
    from medguard.evaluation.bench.pipeline import RunSummary

__all__ = ["bench_app"]

_RUNS: Final = Path("runs")

bench_app = typer.Typer(
    name="bench", add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True
)
bench_app.add_typer(bench_judges_app)
bench_app.add_typer(bench_report_app)


@bench_app.callback()
def bench(context: typer.Context) -> None:
    """Measure models and guards: what they answer, how harmful it is, and what a guard stops."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitStatus.ERROR)


@bench_app.command("list")
def list_suites() -> None:
    """List the suites with the policy that answers are judged by, which side they test, and their licence.

    Exit status: 0 listed, 2 error.
    """
    from medguard.evaluation.bench.suites import suite_info, suite_names

    with one_line_errors():
        rows = [("SUITE", "POLICY", "SIDE", "LICENCE", "TITLE")]
        for name in suite_names():
            info = suite_info(name)
            rows.append((name, info.policy.value, info.side.value, info.licence, info.title))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        for *cells, title in rows:
            aligned = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            typer.echo(f"{'  '.join(aligned)}  {title}")


@bench_app.command()
def run(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Settings in YAML; options go over them.", show_default=False),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="NAME", help="Suite, or a JSONL file of your own; can be repeated."),
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            metavar="SPEC",
            help="Model under test: smollm2, recorded:FILE, transformers:PATH, URL#MODEL or PROVIDER:MODEL; "
            "can be repeated. None: guards alone.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="SPEC",
            help="recorded:FILE, classifier[:BUNDLE], llm:PROVIDER:MODEL, llm:URL#MODEL or none.",
        ),
    ] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            metavar="SPEC",
            help="medguard[:POLICY.yaml], python:MODULE:FUNCTION, llm-guard:SCANNER, moderation:URL#MODEL or "
            "llama-guard:SUBJECT; can be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Run folder; else runs/ and CONFIG's name."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="First requests of each suite alone.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Requests drawn of each suite at random.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the sample; else 0.")] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="local or ray; else local.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Of the Ray engine; else 2.")
    ] = None,
    no_retry: Annotated[
        bool, typer.Option("--no-retry", help="Leave calls that failed in an earlier run as they are.")
    ] = False,
) -> None:
    """Let models answer, judge the answers, apply guards, and report; or do the rest of an earlier run.

    Everything is stored as it arrives. The same command goes on where it was cut off and pays for nothing
    twice; another judge re-uses the answers. The run folder and its report.html hold the texts of requests
    and answers: harmful ones, and health data where the suites hold any. The table goes to standard output.

    Exit status: 0 complete, 1 complete with calls that failed, 2 error.
    """
    from medguard.evaluation.bench.config import RunConfig, read_settings

    with one_line_errors():
        settings: dict[str, Any] = {} if config is None else read_settings(config)
        given = {
            "suites": suite,
            "subjects": subject,
            "judge": judge,
            "guards": guard,
            "output": None if output is None else str(output),
            "limit": limit,
            "sample": sample,
            "seed": seed,
            "engine": engine,
            "retry_failures": False if no_retry else None,
        }
        if limit is not None or sample is not None:
            # One of the two stands: the command line's.
            settings = {name: value for name, value in settings.items() if name not in ("limit", "sample")}
        settings |= {name: value for name, value in given.items() if value not in (None, [])}
        if workers is not None:
            settings["ray"] = {**(settings.get("ray") or {}), "workers": workers}
        if config is not None:
            settings.setdefault("output", str(_RUNS / config.stem))
        summary = _run(RunConfig.from_mapping(settings))
        raise typer.Exit(ExitStatus.BLOCKED if summary.failed else ExitStatus.OK)


def _run(config: RunConfig) -> RunSummary:
    from medguard.evaluation.bench.pipeline import run_config
    from medguard.evaluation.bench.progress import ConsoleProgress
    from medguard.evaluation.bench.report import write_report

    # Ray writes notices of its own to standard output, which is for the table.
    with contextlib.redirect_stdout(sys.stderr), ConsoleProgress() as progress:
        summary = run_config(config, progress=progress)
    page = write_report(summary.folder)
    # Names in the table may hold any character; an old terminal is no reason to lose the run's end.
    typer.echo((summary.folder / "report.md").read_text(encoding="utf-8"), nl=False)
    sys.stdout.flush()
    say(
        f"{summary.calls} calls, {summary.failed} failed; {page} shows the figures and, behind clicks, texts "
        "that are harmful"
    )
    return summary
