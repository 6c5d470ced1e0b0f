"""The ``medguard`` command: what its subcommands are, and how misuse is reported."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

import medguard
from medguard.cli.bench import bench_app
from medguard.cli.calibrate import calibrate
from medguard.cli.check import check
from medguard.cli.demo import demo
from medguard.cli.explain import explain
from medguard.cli.policy import policy_app
from medguard.cli.scan import scan
from medguard.cli.serve import serve
from medguard.cli.shared import ExitStatus, say

__all__ = ["app", "main"]

app = typer.Typer(
    name="medguard",
    add_completion=False,
    # Tracebacks of Typer's own making show local variables, and those hold user text.
    pretty_exceptions_enable=False,
)
# Words left over are counted by `check` and `explain` themselves: the parser's own error would quote them.
app.command(context_settings={"allow_extra_args": True})(check)
app.command(context_settings={"allow_extra_args": True})(explain)
app.command()(scan)
app.command()(calibrate)
app.command()(demo)
app.command()(serve)
app.add_typer(policy_app, name="policy")
app.add_typer(bench_app, name="bench")


@app.callback(invoke_without_command=True)
def medguard_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Guardrail for medical language models: judge requests and answers, on this machine alone."""
    if version:
        typer.echo(f"medguard {medguard.__version__}")
        raise typer.Exit(ExitStatus.OK)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitStatus.ERROR)


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: Always, with the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without the right characters gets question marks, not a crash.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        status = app(prog_name="medguard", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        say(_usage_error(error))
        status = ExitStatus.ERROR
    sys.exit(status if isinstance(status, int) else ExitStatus.OK)


def _usage_error(error: Exception) -> str:
    """Say what is wrong with the command line, without an argument that may be the user's text.

    Newer Typer brings its own copy of click, so that these errors have no one class to name here.
    """
    option = getattr(error, "option_name", None)
    if isinstance(option, str) and not re.fullmatch(r"--?[a-z][a-z-]{0,30}", option):
        return "no such option; a text that begins with a dash goes after a lone --"
    if option is None and getattr(error, "param", None) is None:
        return (
            "expected bench, calibrate, check, demo, explain, policy, scan or serve with its own arguments: "
            "try 'medguard --help'"
        )
    message: str = error.format_message()  # type: ignore[attr-defined]
    return f"{message} Try 'medguard --help'."
