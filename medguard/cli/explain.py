"""``medguard explain``: show which words of a request, or of an answer, the classifier reacts to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from medguard.bundle import OperatingPoint
from medguard.cli.explain_html import to_html
from medguard.cli.explain_view import LEGEND, Explained, facts, split_space, visible
from medguard.cli.files import open_output
from medguard.cli.shared import (
    BundleOption,
    OperatingPointOption,
    PolicyOption,
    load_classifier,
    one_line_errors,
    read_policy,
    read_stdin,
    refuse_more_texts,
)
from medguard.decision import decide, require_checkable, resolve_operating_point
from medguard.explain import Explanation
from medguard.explain import explain as explain_score
from medguard.policy import Policy
from medguard.verdict import Stage

__all__ = ["explain"]

_RAISES = ("", "underline", "black on dark_orange", "bold white on red")
_LOWERS = ("", "underline", "black on sky_blue1", "bold white on blue")


def explain(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(help="The request; - reads it from standard input.", show_default=False)
    ],
    response: Annotated[
        str | None, typer.Option("--response", metavar="TEXT", help="An answer to explain with the request.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that needs nothing else.")
    ] = None,
    policy: PolicyOption = None,
    bundle: BundleOption = None,
    operating_point: OperatingPointOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which words the classifier reacts to, by leaving them out one by one.

    What is printed and written holds the text itself: treat it as you treat the text.

    Exit status: 0 explained, whatever the verdict, 2 error.
    """
    with one_line_errors():
        refuse_more_texts(context)
        rules = read_policy(policy, operating_point)
        classifier = load_classifier(bundle)
        point = resolve_operating_point(rules, classifier.operating_points)
        prompt = read_stdin(rules.max_chars) if text == "-" else text
        require_checkable(prompt, rules.max_chars)
        explained = [_judged(explain_score(classifier, prompt), rules, point, classifier.id)]
        if response is not None:
            require_checkable(response, rules.max_chars)
            explained.append(
                _judged(explain_score(classifier, prompt, response), rules, point, classifier.id)
            )
        if html is not None:
            with open_output(str(html)) as sink:
                sink.write(to_html(explained).encode())
        if as_json:
            typer.echo(json.dumps(_to_json(explained), allow_nan=False))
        else:
            console = Console(highlight=False, markup=False, emoji=False)
            for item in explained:
                _show(item, console)


def _judged(explanation: Explanation, rules: Policy, point: OperatingPoint, classifier_id: str) -> Explained:
    verdict = decide(explanation.scores, explanation.stage, rules, point, classifier_id)
    return Explained(explanation=explanation, verdict=verdict)


def _to_json(explained: list[Explained]) -> dict[str, Any]:
    found: dict[str, Any] = {stage.value: None for stage in Stage}
    for item in explained:
        explanation, verdict = item.explanation, item.verdict
        found[verdict.stage.value] = {
            "tripped": verdict.tripped,
            "score": verdict.score,
            "threshold": verdict.threshold,
            "principle": verdict.principle,
            "principles": list(verdict.principles),
            "general_harm": verdict.general_harm,
            "windows": explanation.scores.windows,
            "form": explanation.form.value,
            "start": explanation.start,
            "end": explanation.end,
            "text": explanation.text,
            "spans": [{**asdict(span), "text": item.text_of(span)} for span in explanation.spans],
        }
    return {"classifier_id": explained[0].verdict.classifier_id, **found}


def _show(item: Explained, console: Console) -> None:
    for name, fact in facts(item):
        console.print(Text(f"{name:<12}", style="bold").append(fact, style="not bold"), soft_wrap=True)
    line = Text()
    for span in item.explanation.spans:
        shade = item.shade(span)
        words, space = split_space(visible(item.text_of(span)))
        styles = _RAISES if span.attribution >= 0 else _LOWERS
        # The signs say without colour what the colour says.
        line.append(f"[{words} {shade.signs}]" if shade.level else words, style=styles[shade.level])
        line.append(space)
    console.print(Text(), line, Text(LEGEND, style="dim"), Text(), sep="\n", soft_wrap=True)
