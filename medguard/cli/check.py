"""``medguard check``: judge one request, and an answer to it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medguard.checker import Checker
from medguard.cli.shared import (
    BundleOption,
    ExitStatus,
    OperatingPointOption,
    PolicyOption,
    load_classifier,
    one_line_errors,
    read_policy,
    read_stdin,
    refuse_more_texts,
    say,
)
from medguard.principles import PRINCIPLES
from medguard.scan import Row, judge_records
from medguard.scan_input import Record
from medguard.verdict import Action, Verdict

__all__ = ["check", "principles_at_stake", "score_line"]

_AT_STAKE = 0.5
_MOST_SHOWN = 3


def check(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(help="The request; - reads it from standard input.", show_default=False)
    ],
    response: Annotated[
        str | None, typer.Option("--response", metavar="TEXT", help="An answer to judge with the request.")
    ] = None,
    policy: PolicyOption = None,
    bundle: BundleOption = None,
    operating_point: OperatingPointOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge a request, and with --response an answer to it.

    Exit status: 0 allowed, 1 blocked, 2 error (also when the text cannot be judged).
    """
    with one_line_errors():
        refuse_more_texts(context)
        checker = Checker(policy=read_policy(policy, operating_point), classifier=load_classifier(bundle))
        prompt = read_stdin(checker.policy.max_chars) if text == "-" else text
        record = Record(line=1, prompt=prompt, response=response)
        prompts, responses = judge_records([record], checker)
        row = Row(line=1, prompt=prompts[0], response=responses.get(0))
        if as_json:
            typer.echo(_to_json(row))
        else:
            _show(row, Console(highlight=False))
        for verdict in (row.prompt, row.response):
            if verdict is not None and verdict.failed:
                say(f"the {verdict.stage.value} could not be judged: {verdict.error}")
        if row.error is not None:
            raise typer.Exit(ExitStatus.ERROR)
        raise typer.Exit(ExitStatus.OK if row.allowed else ExitStatus.BLOCKED)


def principles_at_stake(verdict: Verdict) -> list[str]:
    """Name what a text that tripped puts at stake, the most probable first; empty for one that passed."""
    if not verdict.tripped:
        return []
    shares = dict(enumerate(verdict.principles, start=1))
    likely = [number for number, share in shares.items() if share >= _AT_STAKE or number == verdict.principle]
    likely.sort(key=lambda number: -shares[number])
    names = [f"{number}: {PRINCIPLES[number]} ({shares[number]:.2f})" for number in likely[:_MOST_SHOWN]]
    if verdict.principle is None and verdict.general_harm is not None:
        names = [f"harm outside medicine ({verdict.general_harm:.2f})", *names]
    return names


def _to_json(row: Row) -> str:
    verdicts = {
        "prompt": None if row.prompt is None else row.prompt.to_dict(),
        "response": None if row.response is None else row.response.to_dict(),
    }
    return json.dumps({"allowed": row.allowed, **verdicts}, allow_nan=False)


def _show(row: Row, console: Console) -> None:
    deciding = row.deciding
    if deciding is None or row.error is not None:
        console.print(Text("NOT JUDGED", style="bold yellow"))
    elif not row.allowed:
        stopped = "REDACTED" if deciding.action is Action.REDACT else "BLOCKED"
        console.print(Text(f"{stopped} at the {deciding.stage.value} stage", style="bold red"))
    else:
        note = "" if deciding.action.value == "allow" else f" ({deciding.action.value})"
        console.print(Text(f"ALLOWED{note}", style="bold green"))
    table = Table.grid(padding=(0, 2))
    for verdict in (row.prompt, row.response):
        if verdict is not None:
            _add_verdict(table, verdict)
    console.print(table)


def _add_verdict(table: Table, verdict: Verdict) -> None:
    outcome = {"tripped": "red", "passed": "green"}.get(verdict.outcome.value, "yellow")
    table.add_row(
        Text(verdict.stage.value, style="bold"),
        Text(verdict.outcome.value, style=outcome),
        Text(score_line(verdict)),
    )
    for index, name in enumerate(principles_at_stake(verdict)):
        table.add_row("", "at stake" if index == 0 else "", Text(name))
    if verdict.harmfulness is not None:
        table.add_row(
            "", "harmfulness", Text(f"{verdict.harmfulness:.1f} of 5 (1 declines, 5 fully serves the harm)")
        )
    table.add_row("", "latency", Text(f"{verdict.latency_ms:.1f} ms"))


def score_line(verdict: Verdict) -> str:
    """Say how the score stands to the threshold, or why there is none."""
    if verdict.score is None or verdict.threshold is None:
        return "not judged" if verdict.failed else "the policy leaves it out, or there is no text"
    sign = ">=" if verdict.tripped else "<"
    point = "set by the policy" if verdict.operating_point is None else verdict.operating_point
    return f"score {verdict.score:.3f} {sign} threshold {verdict.threshold:.3f} ({point})"
