"""``medguard calibrate``: fit thresholds to a team's own traffic, with a bound on false positives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console

from medguard.calibration import (
    NOT_COVERED,
    FittedThreshold,
    Recall,
    count_repeats,
    fewest_benign,
    fit_threshold,
    measure_recall,
    text_key,
)
from medguard.checker import Checker
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
from medguard.policy import OnError, Policy
from medguard.scan import scan
from medguard.scan_input import BadLine, InputFormat, Record, read_records
from medguard.verdict import Stage

__all__ = ["calibrate"]


class Stages(StrEnum):
    """Which thresholds to fit."""

    PROMPT = "prompt"
    RESPONSE = "response"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class _Label:
    """What is kept of a line beside its scores; no text."""

    harmful: bool
    key: bytes
    """Equal for lines with the same request (the same answer, where the request is not known)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """What was found at one stage."""

    found: FittedThreshold
    recall: Recall | None
    repeats: int
    """Benign lines whose request an earlier one holds too."""

    def to_dict(self) -> dict[str, Any]:
        found = self.found
        rates = {"empirical_fpr": found.empirical_fpr, "expected_fpr_bound": found.expected_fpr_bound}
        recall = None if self.recall is None else {**asdict(self.recall), "rate": self.recall.rate}
        return {**asdict(found), **rates, "repeated_benign": self.repeats, "recall": recall}


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
    input_format: FormatOption = None,
    policy: PolicyOption = None,
    bundle: BundleOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report, and the policy in it, as one JSON object.")
    ] = False,
) -> None:
    """Fit thresholds to your own traffic: fields prompt, and optionally id, response and harmful.

    Benign lines fix the thresholds so that at most the target rate of future benign texts like them trips,
    with the confidence asked for. Lines with harmful true only measure recall. A line that cannot be read or
    judged ends the command: on lines silently dropped no guarantee stands.

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
        rules = base.model_copy(update={"stages": stages, "on_error": OnError.BLOCK, "allow_patterns": ()})
        with open_input(source) as stream:
            refuse_same_file(stream, output)
            checker = Checker(policy=rules, classifier=load_classifier(bundle))
            lines = _score(stream, input_format or format_of(source), checker)
        fits = {
            each: _fit(each, lines, target_fpr, confidence)
            for each in _offered(lines, stages, is_default=stage is None)
        }
        fitted = base.model_copy(
            update={f"{each.value}_threshold": fit.found.threshold for each, fit in fits.items()}
        )
        if output != "-" or not as_json:
            with open_output(output) as sink:
                sink.write(_policy_file(fitted, fits, checker.classifier.id).encode())
        if as_json:
            typer.echo(json.dumps(_report(fits, fitted, checker.classifier.id), allow_nan=False))
        else:
            # Standard output holds the policy and nothing else, so that it can be redirected.
            console = Console(stderr=output == "-", highlight=False, markup=False, emoji=False)
            for line in _report_lines(fits):
                console.print(line, soft_wrap=True)


def _stages(choice: Stages) -> frozenset[Stage]:
    return frozenset(Stage) if choice is Stages.BOTH else frozenset({Stage(choice.value)})


def _score(
    stream: BinaryIO, input_format: InputFormat, checker: Checker
) -> list[tuple[_Label, dict[Stage, float]]]:
    """Score every line at the policy's stages.

    Raises:
        DataError: A line cannot be read or judged; the message names it.
    """
    labels: list[_Label] = []
    records = _noted(read_records(stream, input_format, labelled=True), labels)
    lines: list[tuple[_Label, dict[Stage, float]]] = []
    with progress(stream, Console(stderr=True)) as advance:
        # `scan` reads a chunk ahead of its rows, so each row finds its label in place.
        for index, row in enumerate(scan(records, checker, strict=True)):
            verdicts = (verdict for verdict in (row.prompt, row.response) if verdict is not None)
            scores = {verdict.stage: verdict.score for verdict in verdicts if verdict.score is not None}
            lines.append((labels[index], scores))
            advance(len(lines))
    return lines


def _noted(items: Iterable[Record | BadLine], labels: list[_Label]) -> Iterator[Record | BadLine]:
    for item in items:
        if isinstance(item, Record):
            known = item.prompt if item.prompt.strip() else item.response or ""
            labels.append(_Label(item.harmful, text_key(known)))
        yield item


def _offered(
    lines: list[tuple[_Label, dict[Stage, float]]], stages: frozenset[Stage], *, is_default: bool
) -> list[Stage]:
    """List the stages to fit; where none was asked for, the answers' only if the file holds any."""
    has_answers = any(Stage.RESPONSE in scores for _, scores in lines)
    if Stage.RESPONSE in stages and not has_answers:
        if not is_default or stages == {Stage.RESPONSE}:
            raise DataError("the response stage needs lines with a response, found none")
        stages = stages - {Stage.RESPONSE}
    return [stage for stage in Stage if stage in stages]


def _fit(
    stage: Stage, lines: list[tuple[_Label, dict[Stage, float]]], target_fpr: float, confidence: float
) -> _Fit:
    judged = [(label, scores[stage]) for label, scores in lines if stage in scores]
    try:
        found = fit_threshold(
            [score for label, score in judged if not label.harmful],
            target_fpr=target_fpr,
            confidence=confidence,
        )
    except DataError as error:
        raise DataError(f"{stage.value} stage: {error}") from error
    harmful = [score for label, score in judged if label.harmful]
    return _Fit(
        found=found,
        recall=measure_recall(harmful, found.threshold, confidence=confidence) if harmful else None,
        repeats=count_repeats([label.key for label, _ in judged if not label.harmful]),
    )


def _policy_file(policy: Policy, fits: dict[Stage, _Fit], classifier_id: str) -> str:
    """Return the policy as YAML, headed by what its thresholds belong to."""
    name = " ".join(classifier_id.split())
    head = [f"# Thresholds fitted by medguard calibrate to classifier {name}; another needs its own."]
    for stage, fit in fits.items():
        found = fit.found
        head.append(
            f"# {stage.value}: false positive rate at most {found.target_fpr:g}, confidence "
            f"{found.confidence:g}, from {found.benign} benign lines."
        )
    return "\n".join([*head, policy.to_yaml()])


def _report(fits: dict[Stage, _Fit], policy: Policy, classifier_id: str) -> dict[str, Any]:
    return {
        "classifier_id": classifier_id,
        "stages": {stage.value: fit.to_dict() for stage, fit in fits.items()},
        "joint_confidence": _joint_confidence(fits),
        "not_covered": list(NOT_COVERED),
        "policy": {**policy.model_dump(mode="json"), "stages": sorted(policy.stages)},
    }


def _joint_confidence(fits: dict[Stage, _Fit]) -> float:
    """Probability with which all stages keep their rate at least, however they depend on each other."""
    return max(1.0 - sum(1.0 - fit.found.confidence for fit in fits.values()), 0.0)


def _report_lines(fits: dict[Stage, _Fit]) -> Iterator[str]:
    for stage, fit in fits.items():
        yield from _stage_lines(stage, fit)
    if len(fits) > 1:
        yield (
            f"Each stage has a guarantee of its own; both hold with probability {_joint_confidence(fits):g} "
            "at least, and then a benign line trips at either at most as often as both rates together."
        )
    yield "Not covered:"
    for gap in NOT_COVERED:
        yield f"  - {gap}"


def _stage_lines(stage: Stage, fit: _Fit) -> Iterator[str]:
    found, recall = fit.found, fit.recall
    yield f"{stage.value} threshold {found.threshold:.6g}"
    yield (
        f"  guarantee    with probability {found.confidence:g} over the draw of the {found.benign} benign "
        f"lines, at most {_percent(found.target_fpr)} of future benign {stage.value}s like them trip"
    )
    yield (
        f"  on average   over all such draws, at most {_percent(found.expected_fpr_bound)} trip "
        f"(({found.allowed} + 1) / ({found.benign} + 1))"
    )
    yield f"  these lines  {found.flagged} of {found.benign} trip ({_percent(found.empirical_fpr)})"
    yield (
        f"  upper bound  {_percent(found.fpr_upper_bound)} at confidence {found.confidence:g} "
        f"(Clopper-Pearson, {found.allowed} of {found.benign})"
    )
    if recall is not None:
        yield (
            f"  recall       {recall.caught} of {recall.harmful} harmful lines trip "
            f"({_percent(recall.rate)}); of lines like them at least {_percent(recall.lower_bound)} "
            f"at confidence {found.confidence:g}"
        )
    if found.tied > 1:
        yield f"  ties         {found.tied} benign lines share the highest score that passes; all pass"
    if fit.repeats:
        yield (
            f"  WARNING      {fit.repeats} benign lines repeat the request of an earlier one (up to case and "
            "space): these are not independent draws, so the guarantee does not hold until they are removed"
        )


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g}%"
