"""The project's own data: requests, benign twins, rephrasings and judge labels, as JSON lines files.

Every loader raises `DataError` where the file cannot be read or a line of it is not as expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from medguard.errors import DataError
from medguard.evaluation.parsing import json_lines_of
from medguard.evaluation.records import (
    AnswerLabel,
    ContrastAnswer,
    JudgeLabel,
    Request,
    RequestLabel,
    RestyledRequest,
    SecondJudgeLabel,
)

__all__ = [
    "answer_labels",
    "contrast_answers",
    "judge_labels",
    "request_labels",
    "requests",
    "restyled",
    "second_judge_labels",
]

Kind = TypeVar("Kind")


def requests(path: Path) -> Iterator[Request]:
    """Yield benign requests: ``contrast_*``, ``sensitive_*`` and ``general_contrast_*`` files."""
    return _records(Request, json_lines_of(path), path)


def restyled(path: Path) -> Iterator[RestyledRequest]:
    """Yield rephrased requests: ``restyled_*`` files."""
    lines = (
        {
            **line,
            "derived_from": line.get("from"),
            "request_harm": line.get("request_harm", line.get("request_harm_of_source")),
        }
        for line in json_lines_of(path)
    )
    return _records(RestyledRequest, lines, path)


def judge_labels(path: Path) -> Iterator[JudgeLabel]:
    """Yield answers with the judge's labels: ``judge_labels_train`` and ``judge_labels_eval``."""
    return _records(JudgeLabel, json_lines_of(path), path)


def second_judge_labels(path: Path) -> Iterator[SecondJudgeLabel]:
    """Yield the second judge's labels."""
    return _records(SecondJudgeLabel, json_lines_of(path), path)


def answer_labels(path: Path) -> Iterator[AnswerLabel]:
    """Yield labelled answers whose requests are elsewhere: ``judge_labels_forced`` and the like."""
    return _records(AnswerLabel, json_lines_of(path), path)


def request_labels(path: Path) -> Iterator[RequestLabel]:
    """Yield labels of requests that stay upstream: ``judge_labels_hh``, ``judge_labels_llama3``."""
    return _records(RequestLabel, json_lines_of(path), path)


def contrast_answers(path: Path) -> Iterator[ContrastAnswer]:
    """Yield answers to benign requests."""
    return _records(ContrastAnswer, json_lines_of(path), path)


def _records(kind: type[Kind], lines: Iterable[Mapping[str, Any]], path: Path) -> Iterator[Kind]:
    """Check each object against the fields of `kind`; other fields are left out."""
    adapter = TypeAdapter(kind)
    for number, line in enumerate(lines, start=1):
        try:
            yield adapter.validate_python(line)
        except ValidationError as error:
            # Without the values, which are texts.
            wrong = "; ".join(
                f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_input=False)
            )
            raise DataError(f"{path}, record {number}: {wrong}") from None
