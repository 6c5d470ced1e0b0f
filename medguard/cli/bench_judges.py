"""``medguard bench`` ``judge-requests``, ``judge-results``, ``agreement``: judges by file, and compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from medguard.cli.files import open_output
from medguard.cli.shared import ExitStatus, fail, one_line_errors, say

if TYPE_CHECKING:
    from medguard.evaluation.bench.agreement import Agreement, Matched
    from medguard.evaluation.bench.batch_files import BatchResults, Question
    from medguard.evaluation.bench.types import SuiteItem
    from medguard.evaluation.metrics import Estimate

__all__ = ["bench_judges_app"]

_LISTED: Final = 50
_LEVELS: Final = range(1, 6)

# Without a name, so that `bench` takes the commands as its own.
bench_judges_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AnswersArgument: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="ANSWERS",
        help="Folder of a run, or JSONL file: id, response, and prompt or --suite.",
        show_default=False,
    ),
]
SuiteOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--suite", metavar="NAME", help="Suite that the ids are of; gives requests and policy."),
]
PolicyNameOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME", help="ama or general, for lines that name none [default: ama]."),
]


@bench_judges_app.command("judge-requests")
def judge_requests(
    answers: AnswersArgument,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Judge's model, as the provider names it.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Batch file; further ones are OUT-2, OUT-3.")
    ],
    suite: SuiteOption = None,
    policy: PolicyNameOption = None,
    wording: Annotated[
        Path | None,
        typer.Option("--wording", metavar="DIR", help="Folder with wording files; else the project's own."),
    ] = None,
    max_output_tokens: Annotated[
        int, typer.Option("--max-output-tokens", min=16, max=32_768, help="Longest reply.")
    ] = 256,
    no_temperature: Annotated[
        bool, typer.Option("--no-temperature", help="For models that refuse a temperature; else it is 0.")
    ] = False,
) -> None:
    """Write the requests for an LLM judge in the OpenAI Batch API format.

    The files hold the texts of requests and answers. Nothing is sent: upload them yourself, to endpoint
    /v1/chat/completions, and read what comes back with judge-results.

    Exit status: 0 written, 2 error.
    """
    from medguard.evaluation.bench.batch_files import write_requests
    from medguard.evaluation.bench.judges import LlmSettings

    with one_line_errors():
        _refuse_overwriting(output, answers)
        settings = LlmSettings(
            wording=wording,
            max_output_tokens=max_output_tokens,
            temperature=None if no_temperature else 0.0,
        )
        done = write_requests(_questions(answers, suite, policy), output, model=model, settings=settings)
        for file in done.files:
            typer.echo(str(file))
        say(
            f"{done.requests} requests in {len(done.files)} files; {done.repeated} answers were asked about "
            f"before, {done.blank} are blank and need no judge"
        )


@bench_judges_app.command("judge-results")
def judge_results(
    answers: AnswersArgument,
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Result and error files of the batch.", show_default=False),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="LABELS", help="Labels to write; - is standard output.")
    ] = "-",
    suite: SuiteOption = None,
    policy: PolicyNameOption = None,
    problems: Annotated[
        Path | None,
        typer.Option("--problems", metavar="FILE", help="List every unusable line and every gap, as JSONL."),
    ] = None,
) -> None:
    """Read what a batch gave back, in any order, and write labels for the judge recorded:LABELS.

    Lines that are damaged, failed, unknown or not as asked are listed on standard error with their file and
    number; what could be read is written all the same. Give ANSWERS, --suite and --policy as to
    judge-requests.

    Exit status: 0 every answer has a label, 1 some have none, 2 error.
    """
    from medguard.evaluation.bench.batch_files import read_results
    from medguard.evaluation.bench.judge_labels import write_labels

    with one_line_errors():
        for file in (answers, *results):
            for target in (Path(output), *([] if problems is None else [problems])):
                _refuse_overwriting(target, file)
        found = read_results(_questions(answers, suite, policy), results)
        with open_output(output) as sink:
            sink.writelines(write_labels(found.labels))
        if problems is not None:
            with open_output(str(problems)) as sink:
                sink.writelines(_problem_lines(found))
        _say_problems(found)
        raise typer.Exit(ExitStatus.BLOCKED if found.missing else ExitStatus.OK)


@bench_judges_app.command()
def agreement(
    one: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels of one judge, JSONL.", show_default=False)
    ],
    other: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels of the other judge.", show_default=False)
    ],
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, max=1_000_000, help="Bootstrap resamples.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 20260101,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two judges on the answers that both labelled, with 95% bootstrap intervals.

    Exit status: 0 compared, 2 error.
    """
    from medguard.evaluation.bench.agreement import agreement as compare
    from medguard.evaluation.bench.agreement import match_labels
    from medguard.evaluation.bench.judge_labels import read_labels

    with one_line_errors():
        matched = match_labels(read_labels(one), read_labels(other))
        found = compare(matched.one, matched.other, requests=matched.requests, resamples=resamples, seed=seed)
        if as_json:
            only = {"only_one": matched.only_one, "only_other": matched.only_other}
            typer.echo(json.dumps({**found.to_dict(), **only, "matched_by_answer": matched.by_answer}))
        else:
            for line in _agreement_lines(found, matched):
                typer.echo(line)


def _questions(answers: Path, suite: str | None, policy: str | None) -> Iterator[Question]:
    from medguard.evaluation.bench.batch_files import read_questions
    from medguard.evaluation.bench.types import SuitePolicy

    if answers.is_dir() and (suite is not None or policy is not None):
        fail("a run folder knows its suites and their policies: leave --suite and --policy out")
    if policy is not None and policy not in list(SuitePolicy):
        fail(f"expected --policy ama or general, found {policy!r}")
    items: dict[str, SuiteItem] | None = None
    under = SuitePolicy.AMA if policy is None else SuitePolicy(policy)
    if suite is not None:
        from medguard.evaluation.bench.suites import load_suite

        loaded = load_suite(suite)
        items = {item.id: item for item in loaded.items}
        under = loaded.policy if policy is None else under
    return read_questions(answers, items=items, policy=under)


def _refuse_overwriting(output: Path, source: Path) -> None:
    if output.exists() and source.exists() and output.samefile(source):
        fail(f"the output {output} would overwrite the input: choose another file")


def _problem_lines(found: BatchResults) -> Iterator[bytes]:
    for item in found.problems:
        line = {"file": item.file, "line": item.line, "reason": item.reason, "id": item.id}
        yield json.dumps(line).encode("ascii") + b"\n"
    for name in found.missing:
        line = {"file": None, "line": None, "reason": "no usable result", "id": name}
        yield json.dumps(line).encode("ascii") + b"\n"


def _say_problems(found: BatchResults) -> None:
    for item in found.problems[:_LISTED]:
        name = "" if item.id is None else f" ({item.id})"
        say(f"{item.file}, line {item.line}{name}: {item.reason}")
    for name in found.missing[:_LISTED]:
        say(f"no usable result for {name}")
    hidden = sum(max(0, len(items) - _LISTED) for items in (found.problems, found.missing))
    if hidden:
        say(f"{hidden} more of these: --problems FILE lists them all")
    used = Counter(label.judge for label in found.labels)
    judges = ", ".join(f"{count} by {name}" for name, count in sorted(used.items(), key=str))
    tokens = (
        sum(label.input_tokens for label in found.labels),
        sum(label.output_tokens for label in found.labels),
    )
    say(
        f"{len(found.labels)} labels ({judges or 'none'}), {len(found.missing)} missing, "
        f"{len(found.problems)} lines not used; {tokens[0]} input and {tokens[1]} output tokens"
    )


def _agreement_lines(found: Agreement, matched: Matched) -> Iterator[str]:
    how = (
        "request and answer" if matched.by_answer else "id alone: a file does not say which answer it judged"
    )
    yield f"answers that both judged     {found.answers} (matched by {how})"
    yield f"labels of one judge only     {matched.only_one} and {matched.only_other}"
    yield f"quadratic weighted kappa     {_interval(found.quadratic_weighted_kappa)}"
    yield f"Spearman                     {_interval(found.spearman)}"
    yield f"same level                   {_interval(found.exact)}"
    yield f"at most one level apart      {_interval(found.within_one)}"
    yield f"kappa of level 4 or 5        {_interval(found.harmful_kappa)}"
    yield f"mean difference (2nd - 1st)  {_interval(found.mean_difference)}"
    yield "confusion: rows are the first judge's levels, columns the second's"
    yield "  " + "".join(f"{level:>8}" for level in _LEVELS)
    for level, row in zip(_LEVELS, found.confusion, strict=True):
        yield f"{level:>2}" + "".join(f"{count:>8}" for count in row)


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "undefined: a judge gives one level only"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
