"""Medical datasets: MedSafetyBench, MedQuAD, MedicationQA, PubMedQA."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal
from xml.etree import ElementTree

from medguard.errors import DataError
from medguard.evaluation.archives import open_source
from medguard.evaluation.parsing import csv_rows, text_of
from medguard.evaluation.records import HarmfulRequest, PubMedQuestion, QuestionAnswer
from medguard.evaluation.sources import source

__all__ = ["med_harm_llama3", "med_safety_bench", "medication_qa", "medquad", "pubmed_qa"]

Files = Mapping[str, bytes]

_MSB_FILE: Final = re.compile(
    r"datasets/(train|test)/(gpt4|llama2)/med_safety_demonstrations_category_([1-9])\.csv"
)
_LLAMA3_FILE: Final = re.compile(r"datasets/med_harm_llama3/category_([1-9])\.txt")
# Share of MedQuAD's documents, by hash, that is kept for evaluation.
_MEDQUAD_EVALUATION_SHARE: Final = 0.2


def med_safety_bench(
    split: Literal["train", "test"], *, files: Files | None = None
) -> Iterator[HarmfulRequest]:
    """Yield the 900 requests of a split of MedSafetyBench with their safe answers.

    The test split is for evaluation only.

    Raises:
        DataError: The source is not to be had, or a file of it is not as expected.
    """
    files = open_source(source("med-safety-bench")) if files is None else files
    for path in sorted(files):
        match = _MSB_FILE.fullmatch(path)
        if match is None or match[1] != split:
            continue
        columns = ("harmful_medical_request", "safe_response")
        for row, cells in enumerate(csv_rows(files, path, columns)):
            yield HarmfulRequest(
                id=f"msb-{split}-{match[2]}-c{match[3]}-{row:03d}",
                author=match[2],
                principle=int(match[3]),
                prompt=cells["harmful_medical_request"].strip(),
                safe_response=cells["safe_response"].strip() or None,
            )


def med_harm_llama3(*, files: Files | None = None) -> Iterator[HarmfulRequest]:
    """Yield the 74,374 requests that Llama-3 wrote (no answers).

    Raises:
        DataError: The source is not to be had.
    """
    files = open_source(source("med-safety-bench")) if files is None else files
    for path in sorted(files):
        if match := _LLAMA3_FILE.fullmatch(path):
            for number, line in enumerate(text_of(files, path).splitlines()):
                if line.strip():
                    yield HarmfulRequest(
                        id=f"msb-llama3-c{match[1]}-{number:05d}",
                        author="llama3",
                        principle=int(match[1]),
                        prompt=line.strip(),
                    )


def medquad(split: Literal["train", "evaluation"], *, files: Files | None = None) -> Iterator[QuestionAnswer]:
    """Yield MedQuAD's questions and answers; whole documents are kept for evaluation by a hash of their id.

    Raises:
        DataError: The source is not to be had, or a file of it is no XML.
    """
    files = open_source(source("medquad")) if files is None else files
    for path in sorted(files):
        try:
            document = ElementTree.fromstring(files[path])  # noqa: S314 - pinned by digest
        except ElementTree.ParseError as error:
            raise DataError(f"{path} is no XML: {error}") from None
        collection, _, name = path.partition("/")
        document_id = f"medquad-{collection.split('_', 1)[0]}-{name.removesuffix('.xml')}"
        if _kept_for_evaluation(document_id) != (split == "evaluation"):
            continue
        for number, pair in enumerate(document.iter("QAPair"), start=1):
            if question := _squeeze(pair.findtext("Question")):
                yield QuestionAnswer(
                    id=f"{document_id}-{number}",
                    document_id=document_id,
                    question=question,
                    answer=_squeeze(pair.findtext("Answer")) or None,
                    focus=_squeeze(document.findtext("Focus")) or None,
                )


def medication_qa(*, files: Files | None = None) -> Iterator[QuestionAnswer]:
    """Yield consumers' questions about medication with answers. For evaluation only.

    Raises:
        DataError: The source is not to be had, or is no workbook as expected, or openpyxl is missing.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise DataError("MedicationQA is a workbook: pip install 'medguard[bench]'") from error
    files = open_source(source("medication-qa")) if files is None else files
    path = "MedInfo2019-QA-Medications.xlsx"
    if path not in files:
        raise DataError(f"the source has no file {path}")
    try:
        sheet = load_workbook(io.BytesIO(files[path]), read_only=True).worksheets[0]
        rows = sheet.iter_rows(values_only=True)
        heading = list(next(rows))
        question, answer = heading.index("Question"), heading.index("Answer")
    except Exception as error:
        raise DataError(f"{path} is not the expected workbook ({type(error).__name__})") from error
    seen: set[str] = set()
    for number, row in enumerate(rows):
        text = _squeeze(str(row[question] or ""))
        # A question with several answers stands in several rows.
        if text and text.casefold() not in seen:
            seen.add(text.casefold())
            item_id = f"medicationqa-{number:03d}"
            yield QuestionAnswer(item_id, item_id, text, _squeeze(str(row[answer] or "")) or None)


def pubmed_qa(*, files: Files | None = None) -> Iterator[PubMedQuestion]:
    """Yield the 1,000 expert-labelled questions of PubMedQA. For evaluation only.

    Raises:
        DataError: The source is not to be had, or a file of it is not as expected.
    """
    files = open_source(source("pubmedqa")) if files is None else files
    try:
        labelled = json.loads(text_of(files, "data/ori_pqal.json"))
        test = set(json.loads(text_of(files, "data/test_ground_truth.json")))
        for number, item in labelled.items():
            yield PubMedQuestion(
                id=f"pubmedqa-{number}",
                question=item["QUESTION"],
                contexts=tuple(item["CONTEXTS"]),
                long_answer=item["LONG_ANSWER"],
                decision=item["final_decision"],
                is_test=number in test,
            )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"PubMedQA's files are not as expected ({type(error).__name__})") from error


def _kept_for_evaluation(document_id: str) -> bool:
    number = int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "big")
    return number < _MEDQUAD_EVALUATION_SHARE * 2**64


def _squeeze(text: str | None) -> str:
    return " ".join((text or "").split())
