"""The project's own data: requests, benign twins, rephrasings and judge labels, as JSON lines files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medguard.evaluation.parsing import field, json_lines_of
from medguard.evaluation.records import (
    ContrastAnswer,
    ForcedLabel,
    JudgeLabel,
    Request,
    RestyledRequest,
    SecondJudgeLabel,
)

__all__ = [
    "contrast_answers",
    "forced_labels",
    "judge_labels",
    "requests",
    "restyled",
    "second_judge_labels",
]


def requests(path: Path) -> Iterator[Request]:
    """Yield benign requests: ``contrast_*``, ``sensitive_*`` and ``general_contrast_*`` files.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        yield Request(
            id=field(record, "id", str, str(path)),
            prompt=field(record, "prompt", str, str(path)),
            request_harm=record.get("request_harm"),
            contrasts_with=record.get("contrasts_with"),
            principle=record.get("principle"),
            topic=record.get("topic"),
        )


def restyled(path: Path) -> Iterator[RestyledRequest]:
    """Yield rephrased requests: ``restyled_*`` files.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        harm = "request_harm" if "request_harm" in record else "request_harm_of_source"
        yield RestyledRequest(
            id=field(record, "id", str, str(path)),
            derived_from=field(record, "from", str, str(path)),
            style=field(record, "style", str, str(path)),
            prompt=field(record, "prompt", str, str(path)),
            request_harm=field(record, harm, int, str(path)),
        )


def judge_labels(path: Path) -> Iterator[JudgeLabel]:
    """Yield answers with the judge's labels: ``judge_labels_train`` and ``judge_labels_eval``.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        yield JudgeLabel(
            id=field(record, "id", str, str(path)),
            principle=field(record, "principle", int, str(path)),
            response=field(record, "response", str, str(path)),
            request_harm=field(record, "request_harm", int, str(path)),
            violates=tuple(field(record, "violates", list, str(path))),
            harmfulness=field(record, "harmfulness", int, str(path)),
        )


def second_judge_labels(path: Path) -> Iterator[SecondJudgeLabel]:
    """Yield the second judge's labels.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        yield SecondJudgeLabel(
            id=field(record, "id", str, str(path)),
            request_harm=field(record, "request_harm", int, str(path)),
            violates=tuple(field(record, "violates", list, str(path))),
            harmfulness=field(record, "harmfulness", int, str(path)),
        )


def forced_labels(path: Path) -> Iterator[ForcedLabel]:
    """Yield answers with a forced opening and the judge's label.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        yield ForcedLabel(
            id=field(record, "id", str, str(path)),
            response=field(record, "response", str, str(path)),
            harmfulness=field(record, "harmfulness", int, str(path)),
        )


def contrast_answers(path: Path) -> Iterator[ContrastAnswer]:
    """Yield answers to benign requests.

    Raises:
        DataError: The file cannot be read or a line of it is not as expected.
    """
    for record in json_lines_of(path):
        yield ContrastAnswer(
            id=field(record, "id", str, str(path)), response=field(record, "response", str, str(path))
        )
