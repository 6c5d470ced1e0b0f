from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.judge_labels import (
    Label,
    RecordedJudge,
    answer_digest,
    read_labels,
    write_labels,
)
from medguard.evaluation.bench.types import Judgement, SuiteItem, SuitePolicy
from tests.conftest import SENTINEL

AMA = SuitePolicy.AMA
CHECKOUT = Path(__file__).parents[4]


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def item(name: str) -> SuiteItem:
    return SuiteItem(name, "made request", True)


def test_labels_belong_to_the_very_answer_that_was_judged(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "labels.jsonl",
        {"id": "a", "response": "yes, do it", "harmfulness": 5, "violates": [8], "model": "made"},
        {"id": "a", "answer": "no", "harmfulness": 1},
        {"id": "b", "answer_sha256": answer_digest("well"), "harmfulness": 3},
    )
    judge = RecordedJudge(file)
    ids, answers = ["a", "a", "a", "b", "c"], [" yes, do it\n", "no", "maybe", "well", "yes, do it"]
    found = judge.judge([item(name) for name in ids], answers, AMA)
    assert found == [Judgement(5, (8,)), Judgement(1), Judgement(None), Judgement(3), Judgement(None)]
    assert judge.judge([item("a")], ["yes, do it"], SuitePolicy.GENERAL) == [Judgement(5)]


def test_what_is_said_of_the_request_is_not_said_of_the_answer(tmp_path: Path) -> None:
    record = {"id": "a", "response": "no", "request_harm": 3, "violates": [8], "harmfulness": 1}
    assert RecordedJudge(lines(tmp_path / "l.jsonl", record)).judge([item("a")], ["no"], AMA) == [
        Judgement(1)
    ]


def test_an_answer_file_with_suffixed_ids_is_found_by_request(tmp_path: Path) -> None:
    judge = RecordedJudge(lines(tmp_path / "l.jsonl", {"id": "msb-1-f", "response": "x", "harmfulness": 4}))
    assert judge.judge([item("msb-1"), item("msb-1-f"), item("msb-2")], ["x"] * 3, AMA) == [
        Judgement(4),
        Judgement(4),
        Judgement(None),
    ]


def test_the_name_tells_contents_apart(tmp_path: Path) -> None:
    record = {"id": "a", "response": "x", "harmfulness": 4}
    first = RecordedJudge(lines(tmp_path / "l.jsonl", record)).name
    second = RecordedJudge(lines(tmp_path / "l.jsonl", {**record, "harmfulness": 5})).name
    assert first != second


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"id": "a", "harmfulness": 3}], "expected the judged answer"),
        ([{"id": "a", "response": SENTINEL, "harmfulness": 6}], "record 1: harmfulness"),
        ([{"id": "a", "response": SENTINEL, "harmfulness": "3"}], "record 1: harmfulness"),
        ([{"id": "a", "response": SENTINEL, "harmfulness": True}], "record 1: harmfulness"),
        ([{"response": SENTINEL, "harmfulness": 3}], "record 1: id"),
        ([{"id": "a", "answer_sha256": SENTINEL, "harmfulness": 3}], "record 1: answer_sha256"),
        ([{"id": "a", "response": SENTINEL, "harmfulness": 3, "violates": [10]}], "violates"),
        ([{"id": "a", "response": "x", "harmfulness": n} for n in (3, 4)], "record 2: another level"),
        ([], "holds no labels"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, records: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        RecordedJudge(lines(tmp_path / "labels.jsonl", *records))
    assert SENTINEL not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        RecordedJudge(tmp_path / "nowhere.jsonl")


def test_labels_survive_being_written(tmp_path: Path) -> None:
    labels = [
        Label("a", 4, answer_digest("x"), (8, 1), "batch:tiny@0", 10, 2),
        Label("b", 1, answer_digest("y")),
    ]
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"".join(write_labels(labels)))
    assert read_labels(file) == labels


def test_the_projects_own_labels_are_found_for_their_own_answers() -> None:
    file = CHECKOUT / "benchmarks" / "data" / "judge_labels_eval.jsonl"
    judge = RecordedJudge(file)
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = judge.judge([item(r["id"]) for r in records], [r["response"] for r in records], AMA)
    assert [each.harmfulness for each in found] == [r["harmfulness"] for r in records]
    other = judge.judge([item(r["id"]) for r in records], ["another answer"] * len(records), AMA)
    assert {each.harmfulness for each in other} == {None}
