"""Recorded labels: judgements in a JSON lines file, found again by request and answer.

A line has ``id`` (of the request), ``harmfulness`` (1 to 5), and the answer that was judged: ``response`` or
``answer`` with its text, or ``answer_sha256``, as ``medguard bench judge-results`` writes it. ``violates``
lists the principles that the answer goes against; in lines with ``request_harm``, such as the project's own
labels, that field is about the request and is left out. Ids of the project's answer files end in a letter for
the way the answer was made (``-f``); the request's id is what stands before it, and both are found.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from medguard.errors import DataError
from medguard.evaluation.bench.types import Judgement, SuiteItem, SuitePolicy
from medguard.evaluation.parsing import json_lines_of

__all__ = ["Label", "RecordedJudge", "answer_digest", "read_labels", "write_labels"]

_SUFFIX: Final = re.compile(r"-[a-z]$")


def answer_digest(text: str) -> str:
    """Return the SHA-256, in hexadecimal, of an answer without the white space around it."""
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Label:
    """One recorded judgement."""

    id: str
    """Of the request."""
    harmfulness: int
    answer_sha256: str | None = None
    """Which answer was judged (`answer_digest`); None where the file does not say."""
    violates: tuple[int, ...] = ()
    judge: str | None = None
    """Who judged; None where the file does not say."""
    input_tokens: int = 0
    output_tokens: int = 0


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(min_length=1)]
    harmfulness: Annotated[StrictInt, Field(ge=1, le=5)]
    response: str | None = None
    answer: str | None = None
    answer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    violates: tuple[Annotated[StrictInt, Field(ge=1, le=9)], ...] = ()
    request_harm: Any = None
    judge: str | None = None
    input_tokens: Annotated[StrictInt, Field(ge=0)] = 0
    output_tokens: Annotated[StrictInt, Field(ge=0)] = 0

    def label(self) -> Label:
        text = self.response if self.response is not None else self.answer
        return Label(
            id=self.id,
            harmfulness=self.harmfulness,
            answer_sha256=self.answer_sha256 if text is None else answer_digest(text),
            violates=() if self.request_harm is not None else self.violates,
            judge=self.judge,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )


def read_labels(path: str | Path) -> list[Label]:
    """Read a file of labels.

    Raises:
        DataError: It cannot be read, or a line is no label; the message quotes no text.
    """
    found = []
    for number, line in enumerate(json_lines_of(Path(path)), start=1):
        try:
            found.append(_Line.model_validate(line).label())
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
                for item in error.errors(include_input=False)
            )
            raise DataError(f"{path}, record {number}: {wrong}") from None
    if not found:
        raise DataError(f"{path} holds no labels")
    return found


def write_labels(labels: Iterable[Label]) -> Iterable[bytes]:
    """Yield labels as JSON lines that `read_labels` reads; no texts in them."""
    for label in labels:
        line = {
            "id": label.id,
            "answer_sha256": label.answer_sha256,
            "harmfulness": label.harmfulness,
            "violates": list(label.violates),
            "judge": label.judge,
            "input_tokens": label.input_tokens,
            "output_tokens": label.output_tokens,
        }
        yield json.dumps(line).encode("ascii") + b"\n"


class RecordedJudge:
    """Gives the labels of a file to the very answers that were judged, and none to others."""

    def __init__(self, path: str | Path) -> None:
        """Read the labels.

        Raises:
            DataError: The file cannot be read, a label does not say which answer it is about, or two labels
                of one answer differ.
        """
        file = Path(path)
        self._labels: dict[tuple[str, str], Label] = {}
        labels = read_labels(file)
        for number, label in enumerate(labels, start=1):
            if label.answer_sha256 is None:
                raise DataError(
                    f"{file}, record {number}: expected the judged answer in response, answer or "
                    "answer_sha256, found none"
                )
            # A suffix is tried second, so that an id that only looks as if it had one keeps its own label.
            key = (label.id, label.answer_sha256)
            known = self._labels.setdefault(key, label)
            if known.harmfulness != label.harmfulness:
                raise DataError(f"{file}, record {number}: another level for an answer that has one already")
        for label in labels:
            if _SUFFIX.search(label.id) and label.answer_sha256 is not None:
                self._labels.setdefault((label.id[:-2], label.answer_sha256), label)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self._name = f"recorded:{file.name}@{digest[:12]}"

    @property
    def name(self) -> str:
        """File and digest of its content."""
        return self._name

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        """Look each answer up; one without a label gets a judgement without a level, which is no failure."""
        found = []
        for item, answer in zip(items, answers, strict=True):
            label = self._labels.get((item.id, answer_digest(answer)))
            if label is None:
                found.append(Judgement(harmfulness=None))
                continue
            found.append(
                Judgement(
                    harmfulness=label.harmfulness,
                    violates=label.violates if policy is SuitePolicy.AMA else (),
                    input_tokens=label.input_tokens,
                    output_tokens=label.output_tokens,
                )
            )
        return found
