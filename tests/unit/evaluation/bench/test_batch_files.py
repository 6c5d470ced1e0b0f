from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.batch_files import Question, read_questions, read_results, write_requests
from medguard.evaluation.bench.judge_labels import RecordedJudge, answer_digest, write_labels
from medguard.evaluation.bench.judges import LlmSettings
from medguard.evaluation.bench.rubric import load_wording
from medguard.evaluation.bench.types import SuiteItem, SuitePolicy
from tests.conftest import SENTINEL
from tests.unit.evaluation.bench.judging import completion, rating

AMA, GENERAL = SuitePolicy.AMA, SuitePolicy.GENERAL


def questions(count: int) -> list[Question]:
    return [Question(f"q{number}", f"ask {number}", f"answer {number}", AMA) for number in range(count)]


def sent(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def result(custom_id: str, content: str | None, **more: Any) -> dict[str, Any]:
    body = json.loads(completion(content)[2])
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None, **more}


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_requests_are_batch_lines_of_the_chat_endpoint(tmp_path: Path) -> None:
    asked = [*questions(2), Question("g", "ask", "answer", GENERAL)]
    done = write_requests(asked, tmp_path / "in.jsonl", model="gpt-made")
    assert (done.files, done.requests, done.repeated, done.blank) == ((tmp_path / "in.jsonl",), 3, 0, 0)
    lines = sent(tmp_path / "in.jsonl")
    wording = load_wording()
    assert len({line["custom_id"] for line in lines}) == 3
    for line, question in zip(lines, asked, strict=True):
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert len(line["custom_id"]) <= 64
        body = line["body"]
        assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("gpt-made", 0.0, 256)
        assert body["messages"] == [
            {"role": "system", "content": wording.system(question.policy)},
            {"role": "user", "content": wording.user(question.prompt, question.answer)},
        ]
        assert body["response_format"]["json_schema"]["strict"] is True


def test_the_same_content_is_asked_once_and_blank_answers_never(tmp_path: Path) -> None:
    asked = [*questions(2), *questions(2), Question("e", "ask", " \n", AMA)]
    done = write_requests(asked, tmp_path / "in.jsonl", model="m", settings=LlmSettings(temperature=None))
    assert (done.requests, done.repeated, done.blank) == (2, 2, 1)
    assert "temperature" not in sent(tmp_path / "in.jsonl")[0]["body"]


def test_large_sets_are_split_at_both_limits(tmp_path: Path) -> None:
    by_count = write_requests(questions(5), tmp_path / "c.jsonl", model="m", max_requests=2)
    assert [file.name for file in by_count.files] == ["c.jsonl", "c-2.jsonl", "c-3.jsonl"]
    assert [len(sent(file)) for file in by_count.files] == [2, 2, 1]
    size = len((tmp_path / "c-3.jsonl").read_bytes())
    by_size = write_requests(questions(5), tmp_path / "s.jsonl", model="m", max_bytes=2 * size + 1)
    assert [len(sent(file)) for file in by_size.files] == [2, 2, 1]
    assert all(file.stat().st_size <= 2 * size + 1 for file in by_size.files)
    with pytest.raises(DataError, match="larger than"):
        write_requests(questions(1), tmp_path / "t.jsonl", model="m", max_bytes=100)
    assert not (tmp_path / "t.jsonl").exists()


def test_nothing_to_ask_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no answer to judge"):
        write_requests([Question("e", "ask", "", AMA)], tmp_path / "in.jsonl", model="m")


def test_results_are_read_in_any_order_from_any_files(tmp_path: Path) -> None:
    asked = [*questions(20), Question("blank", "ask", "", AMA)]
    write_requests(asked, tmp_path / "in.jsonl", model="m")
    lines = [
        result(line["custom_id"], rating(n % 5 + 1, [8]))
        for n, line in enumerate(sent(tmp_path / "in.jsonl"))
    ]
    random.Random(4).shuffle(lines)
    files = [written(tmp_path / "1.jsonl", *lines[:9]), written(tmp_path / "2.jsonl", *lines[9:])]
    found = read_results(asked, files)
    assert [label.id for label in found.labels] == [question.id for question in asked]
    assert [label.harmfulness for label in found.labels] == [*(n % 5 + 1 for n in range(20)), 1]
    assert found.labels[0].answer_sha256 == answer_digest("answer 0")
    assert found.labels[0].judge == f"batch:tiny@{load_wording().digest}"
    assert (found.labels[0].input_tokens, found.labels[0].output_tokens) == (11, 4)
    assert (found.problems, found.missing) == ((), ())


def test_what_is_missing_damaged_failed_or_foreign_is_listed(tmp_path: Path) -> None:
    asked = questions(9)
    write_requests(asked, tmp_path / "in.jsonl", model="m")
    ids = [line["custom_id"] for line in sent(tmp_path / "in.jsonl")]
    good = json.dumps(result(ids[0], rating(2)))
    expired = {"code": "batch_expired", "message": SENTINEL}
    refused = {"status_code": 400, "body": {"error": {"code": "content_filter", "message": SENTINEL}}}
    output = written(
        tmp_path / "out.jsonl",
        good,
        "",
        json.dumps(result(ids[1], rating(3)))[:-40],
        result(ids[2], f"I will not: {SENTINEL}"),
        result(ids[3], None),
        result(ids[4], rating(4), response=None, error=expired),
        result(ids[5], rating(4), response=refused),
        result(ids[6], rating(4), response={"status_code": 500, "body": SENTINEL}),
        result("mg1-0123456789ab-" + "0" * 40, rating(4)),
        result(SENTINEL, rating(4)),
        result(ids[0], rating(5)),
        good,
        "[1]",
        "\x00\xff",
        result(ids[7], rating(4), response={"status_code": 200, "body": {"choices": []}}),
    )
    found = read_results(asked, [output])
    assert [(label.id, label.harmfulness) for label in found.labels] == [("q0", 2)]
    assert found.missing == tuple(f"q{number}" for number in range(1, 9))
    assert [(item.line, item.id, item.reason) for item in found.problems] == [
        (3, None, "no JSON: cut off or damaged"),
        (4, "q2", "the judge's reply holds no JSON object with a harmfulness"),
        (5, "q3", "the judge's reply holds no JSON object with a harmfulness"),
        (6, "q4", "failed: batch_expired"),
        (7, "q5", "failed: content_filter"),
        (8, "q6", "failed: HTTP 500"),
        (9, None, "an answer that is not among those given"),
        (10, None, "no custom_id of ours"),
        (11, "q0", "another level than an earlier result of the same answer"),
        (13, None, "no custom_id of ours"),
        (14, None, "no JSON: cut off or damaged"),
        (15, "q7", "the judge's endpoint sent no chat completion"),
    ]
    assert SENTINEL not in repr(found)


def test_a_failure_that_a_later_file_mends_is_no_gap(tmp_path: Path) -> None:
    asked = questions(1)
    write_requests(asked, tmp_path / "in.jsonl", model="m")
    [line] = sent(tmp_path / "in.jsonl")
    failed = written(tmp_path / "1.jsonl", result(line["custom_id"], "nonsense"))
    mended = written(tmp_path / "2.jsonl", result(line["custom_id"], rating(4)))
    found = read_results(asked, [failed, mended])
    assert (len(found.labels), len(found.problems), found.missing) == (1, 1, ())


def test_labels_from_a_batch_are_a_recorded_judge(tmp_path: Path) -> None:
    asked = questions(3)
    write_requests(asked, tmp_path / "in.jsonl", model="m")
    lines = [result(line["custom_id"], rating(4, [2])) for line in sent(tmp_path / "in.jsonl")]
    found = read_results(asked, [written(tmp_path / "out.jsonl", *lines)])
    labels = tmp_path / "labels.jsonl"
    labels.write_bytes(b"".join(write_labels(found.labels)))
    assert b"answer 1" not in labels.read_bytes()
    judge = RecordedJudge(labels)
    [judged] = judge.judge([SuiteItem("q1", "ask 1", True)], ["answer 1"], AMA)
    assert (judged.harmfulness, judged.violates, judged.input_tokens) == (4, (2,), 11)


def test_a_missing_result_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_results(questions(1), [tmp_path / "nowhere.jsonl"])


def test_answers_are_read_with_their_requests(tmp_path: Path) -> None:
    file = written(
        tmp_path / "answers.jsonl",
        {"id": "a", "prompt": "p", "response": "r"},
        {"id": "b", "answer": "s", "policy": "general"},
    )
    items = {"b": SuiteItem("b", "from the suite", True)}
    assert list(read_questions(file, items=items)) == [
        Question("a", "p", "r", AMA),
        Question("b", "from the suite", "s", GENERAL),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt": SENTINEL, "response": "r"}, "id of text"),
        ({"id": 7, "prompt": SENTINEL, "response": "r"}, "id of text"),
        ({"id": "a", "prompt": SENTINEL}, "answer as text"),
        ({"id": "a", "prompt": SENTINEL, "response": None}, "answer as text"),
        ({"id": "a", "response": SENTINEL}, "request as text"),
        ({"id": "a", "prompt": SENTINEL, "response": "r", "policy": SENTINEL}, "ama or general"),
    ],
)
def test_lines_that_cannot_be_judged_are_refused(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_questions(written(tmp_path / "answers.jsonl", line)))
    assert SENTINEL not in str(caught.value)


def test_keys_tell_where_one_text_ends_and_the_next_begins() -> None:
    assert Question("a", "b\0c", "d", AMA).key != Question("a", "b", "c\0d", AMA).key
