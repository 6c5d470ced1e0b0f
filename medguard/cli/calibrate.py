"""``medguard calibrate``: fit thresholds to a team's own traffic, with a bound on false positives."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from medguard.calibration import fewest_benign, first_of_each, fit_threshold, measure_recall
from medguard.checker import Checker
from medguard.cli.calibrate_lines import ScoredLine, score_lines
from medguard.cli.calibrate_report import Fit, policy_file, report, report_lines
from medguard.cli.files import format_of, open_input, open_output, progress, refuse_same_file
from medguard.cli.shared import (
    BundleOption,
    FormatOption,
    PolicyOption,
    load_classifier,
    one_line_errors,
    read_policy,
)
from medguard.errors import DataError, PolicyError
from medguard.policy import OnError
from medguard.streamed import StreamedChecker
from medguard.verdict import Stage

__all__ = ["calibrate"]


class Stages(StrEnum):
    """Which thresholds to fit."""

    PROMPT = "prompt"
    RESPONSE = "response"
    BOTH = "both"


def calibrate(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="JSONL or CSV file; - is standard input.", show_default=False),
    ],
    target_fpr: Annotated[
        float, typer.Option("--target-fpr", help="False positive rate to keep, between 0 and 1.")
    ] = 0.02,
    confidence: Annotated[
        float, typer.Option("--confidence", help="Probability with which it is kept, between 0 and 1.")
    ] = 0.95,
    stage: Annotated[
        Stages | None,
        typer.Option("--stage", help="Thresholds to fit; else those that the policy and the file allow."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="Policy to write; - is standard output.")
    ] = "-",
    streamed: Annotated[
        bool,
        typer.Option(
            "--streamed",
            help="Score responses as streams of them are judged; else whole, as without a stream.",
        ),
    ] = False,
    input_format: FormatOption = None,
    policy: PolicyOption = None,
    bundle: BundleOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report, and the policy in it, as one JSON object.")
    ] = False,
) -> None:
    """Fit thresholds to your own traffic: fields prompt or messages, and optionally id, response and harmful.

    Benign lines fix the thresholds so that at most the target rate of future benign texts like them trips,
    with the confidence asked for. Lines that repeat an earlier one count once: the rate is that of distinct
    texts. Lines with harmful true only measure recall. A line that cannot be read or judged ends the command:
    on lines silently dropped no guarantee stands.

    The bound holds for texts read as these lines are. A conversation trips at the worst of several readings,
    so fit it to lines with messages (OpenAI's form, JSONL only; the answer goes into response); a stream
    trips at the worst of its windows, so fit it with --streamed. For what is read otherwise nothing is
    promised, whether the threshold is fitted or a named operating point.

    Exit status: 0 done, 2 error.
    """
    with one_line_errors():
        fewest_benign(target_fpr, confidence)  # refuses rates out of range before the long work
        base = read_policy(policy, None)
        if base.category_thresholds:
            raise PolicyError(
                "the policy's category_thresholds would trip more texts than the bound counts: "
                "calibrate without them"
            )
        stages = base.stages if stage is None else _stages(stage)
        if streamed and Stage.RESPONSE not in stages:
            raise DataError("--streamed scores responses, and the response stage is not calibrated")
        rules = base.model_copy(update={"stages": stages, "on_error": OnError.BLOCK, "allow_patterns": ()})
        with open_input(source) as stream:
            refuse_same_file(stream, output)
            judges = StreamedChecker if streamed else Checker
            checker = judges(policy=rules, classifier=load_classifier(bundle))
            with progress(stream, Console(stderr=True)) as advance:
                lines = score_lines(stream, input_format or format_of(source), checker, advance)
        fits = {
            each: _fit(each, lines, target_fpr, confidence, streamed=streamed)
            for each in _offered(lines, stages, is_default=stage is None and not streamed)
        }
        fitted = base.model_copy(
            update={f"{each.value}_threshold": fit.found.threshold for each, fit in fits.items()}
        )
        if output != "-" or not as_json:
            with open_output(output) as sink:
                sink.write(policy_file(fitted, fits, checker.classifier.id).encode())
        if as_json:
            typer.echo(json.dumps(report(fits, fitted, checker.classifier.id), allow_nan=False))
        else:
            # Standard output holds the policy and nothing else, so that it can be redirected.
            console = Console(stderr=output == "-", highlight=False, markup=False, emoji=False)
            for line in report_lines(fits):
                console.print(line, soft_wrap=True)


def _stages(choice: Stages) -> frozenset[Stage]:
    return frozenset(Stage) if choice is Stages.BOTH else frozenset({Stage(choice.value)})


def _offered(lines: list[ScoredLine], stages: frozenset[Stage], *, is_default: bool) -> list[Stage]:
    """List the stages to fit; where none was asked for, the answers' only if the file holds any."""
    has_answers = any(Stage.RESPONSE in line.scores for line in lines)
    if Stage.RESPONSE in stages and not has_answers:
        if not is_default or stages == {Stage.RESPONSE}:
            raise DataError("the response stage needs lines with a response, found none")
        stages = stages - {Stage.RESPONSE}
    return [stage for stage in Stage if stage in stages]


def _fit(
    stage: Stage, lines: list[ScoredLine], target_fpr: float, confidence: float, *, streamed: bool
) -> Fit:
    """Fit one threshold to the distinct benign lines, and count what it catches of the harmful ones."""
    benign, repeated_benign = _distinct(lines, stage, harmful=False)
    harmful, repeated_harmful = _distinct(lines, stage, harmful=True)
    try:
        found = fit_threshold(
            [line.scores[stage] for line in benign], target_fpr=target_fpr, confidence=confidence
        )
    except DataError as error:
        left_out = f" ({len(repeated_benign)} repeated ones left out)" if repeated_benign else ""
        raise DataError(f"{stage.value} stage: {error}{left_out}") from error
    caught = [line.scores[stage] for line in harmful]
    return Fit(
        found=found,
        recall=measure_recall(caught, found.threshold, confidence=confidence) if harmful else None,
        scored=_scored(stage, benign, streamed=streamed),
        repeated_benign=len(repeated_benign),
        repeated_harmful=len(repeated_harmful),
        flagged_with_repeats=found.flagged
        + sum(line.scores[stage] >= found.threshold for line in repeated_benign),
    )


def _distinct(
    lines: list[ScoredLine], stage: Stage, *, harmful: bool
) -> tuple[list[ScoredLine], list[ScoredLine]]:
    """Part the lines judged at a stage into those that count and those that repeat one of them."""
    judged = [line for line in lines if stage in line.scores and line.harmful is harmful]
    first = first_of_each([line.key for line in judged])
    return (
        [line for line, counts in zip(judged, first, strict=True) if counts],
        [line for line, counts in zip(judged, first, strict=True) if not counts],
    )


def _scored(stage: Stage, lines: list[ScoredLine], *, streamed: bool) -> str:
    """Name what the scores of a stage are of."""
    if stage is Stage.RESPONSE:
        return "streamed responses" if streamed else "whole responses"
    kinds = {line.is_conversation for line in lines}
    names = {False: "single prompts", True: "conversations"}
    return " and ".join(names[kind] for kind in sorted(kinds))
