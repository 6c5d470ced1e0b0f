from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.store import DATABASE_NAME, Store
from medguard.evaluation.bench.types import Answer, GuardScore, Judgement, SuitePolicy
from tests.unit.evaluation.bench.running import MARK, make_suite


def test_rows_join_everything_by_content(tmp_path: Path) -> None:
    suites = make_suite(3), make_suite(2, name="other", policy=SuitePolicy.GENERAL, harmful=False)
    first, *_ = suites[0].items
    judged = Judgement(4, (1, 8), None, 20, 3)
    with Store.create(tmp_path / "run") as store:
        store.plan(suites, ["s", "t"], ["g", "h"])
        store.set_meta({"judge": "j"})
        store.add_answers("s", [(first.prompt, Answer("yes", None, 0.5))])
        store.add_judgements("j", [(first, SuitePolicy.AMA, "yes", judged)])
        store.add_judgements("other judge", [(first, SuitePolicy.AMA, "yes", Judgement(1))])
        store.add_scores("g", [(first.prompt, None, GuardScore(True, 0.75, None, 0.25))])
        store.add_scores("h", [(first.prompt, "yes", GuardScore(True, None, "broken"))])
        rows = list(store.rows())
    assert [(row.suite, row.subject, row.item.id) for row in rows] == [
        *(("made", name, f"made-{number}") for name in "st" for number in range(3)),
        *(("other", name, f"other-{number}") for name in "st" for number in range(2)),
    ]
    assert [row.item for row in rows[:3]] == list(suites[0].items)
    row = rows[0]
    assert (row.answer, row.judge, row.judgement) == (Answer("yes", None, 0.5), "j", judged)
    assert row.prompt_scores == {"g": GuardScore(True, 0.75, None, 0.25)}
    assert row.answer_scores == {"h": GuardScore(True, None, "broken")}
    # The request is the same for both subjects, the answer is not.
    assert (rows[3].answer, rows[3].prompt_scores, rows[3].answer_scores) == (None, row.prompt_scores, {})


def test_guards_alone_have_rows_without_a_subject(tmp_path: Path) -> None:
    with Store.create(tmp_path / "run") as store:
        store.plan([make_suite(2)], [], ["g"])
        assert [(row.subject, row.judge, row.answer) for row in store.rows()] == [(None, None, None)] * 2


def test_a_success_is_never_overwritten_and_a_failure_is(tmp_path: Path) -> None:
    suite = make_suite(1)
    (item,) = suite.items
    with Store.create(tmp_path / "run") as store:
        store.plan([suite], ["s"], ["g"])
        store.set_meta({"judge": "j"})
        for answer in (Answer(None, "Timeout"), Answer("first"), Answer("second"), Answer(None, "late")):
            store.add_answers("s", [(item.prompt, answer)])
        for said in (Judgement(None, (), "429", 5, 1), Judgement(2, (), None, 5, 1), Judgement(5)):
            store.add_judgements("j", [(item, SuitePolicy.AMA, "first", said)])
        for score in (GuardScore(True, None, "broken"), GuardScore(False, 0.1), GuardScore(True, 0.9)):
            store.add_scores("g", [(item.prompt, None, score)])
        (row,) = store.rows()
        assert store.counts() == {"answers": 1, "judgements": 1, "scores": 1}
    assert row.answer == Answer("first")
    assert row.prompt_scores == {"g": GuardScore(False, 0.1)}
    # What the failed attempt cost was paid too.
    assert row.judgement == Judgement(2, (), None, 10, 2)


def test_pending_lists_each_text_once_and_failures_if_asked(tmp_path: Path) -> None:
    suite, again = make_suite(3), make_suite(3, policy=SuitePolicy.GENERAL)
    again = type(again)(**{**{name: getattr(again, name) for name in again.__slots__}, "name": "again"})
    first, second, third = suite.items
    with Store.create(tmp_path / "run") as store:
        store.plan([suite, again], ["s", "t"], ["g"])
        assert store.pending_answers("s") == [(0,), (1,), (2,)]
        store.add_answers("s", [(first.prompt, Answer("a")), (second.prompt, Answer(None, "x"))])
        assert store.pending_answers("s") == [(1,), (2,)]
        assert store.pending_answers("s", retry=False) == [(2,)]
        # One answer, but two policies that it is judged by.
        assert store.pending_judgements("j") == [(0, 1), (3, 1)]
        store.add_answers("t", [(first.prompt, Answer("a")), (third.prompt, Answer("c"))])
        assert [numbers[0] for numbers in store.pending_judgements("j")] == [0, 2, 3, 5]
        store.add_judgements("j", [(first, SuitePolicy.AMA, "a", Judgement(None))])
        assert [numbers[0] for numbers in store.pending_judgements("j")] == [2, 3, 5], "no label: no failure"
        store.add_judgements("j", [(third, SuitePolicy.AMA, "c", Judgement(None, error="429"))])
        assert [numbers[0] for numbers in store.pending_judgements("j", retry=False)] == [3, 5]
        assert [numbers[0] for numbers in store.pending_judgements("k")] == [0, 2, 3, 5]
        assert [numbers[0] for numbers in store.pending_pairs("g")] == [0, 2]
        store.add_scores("g", [(first.prompt, None, GuardScore(True, None, "x"))])
        assert store.pending_requests("g", retry=False) == [(1,), (2,)]
        assert [numbers[0] for numbers in store.pending_pairs("g")] == [0, 2]
        item, policy, answer = store.load(store.pending_judgements("k")[1])
        assert (item, policy, answer) == (third, SuitePolicy.AMA, "c")


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800 lone", "ünïcode 🩺\r\n", "x" * 100_000])
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    suite = make_suite(1)
    (item,) = suite.items
    item = type(item)(id=f"id {text[:9]}", prompt=text, harmful=True)
    suite = type(suite)(**{**{name: getattr(suite, name) for name in suite.__slots__}, "items": (item,)})
    with Store.create(tmp_path / "run") as store:
        store.plan([suite], ["s"], [])
        store.add_answers("s", [(text, Answer(text))])
        (row,) = store.rows()
    assert (row.item, row.answer) == (item, Answer(text))


def test_a_new_plan_keeps_what_is_stored(tmp_path: Path) -> None:
    suite = make_suite(2)
    with Store.create(tmp_path / "run") as store:
        store.plan([suite], ["s"], [])
        store.add_answers("s", [(item.prompt, Answer("a")) for item in suite.items])
        store.plan([make_suite(1, name="other")], ["t"], [])
        assert [row.answer for row in store.rows()] == [None]
    with Store.create(tmp_path / "run") as store:
        store.plan([suite], ["s"], [])
        assert [row.answer for row in store.rows()] == [Answer("a")] * 2


def test_two_of_one_name_are_refused_without_quoting_and_the_old_plan_stays(tmp_path: Path) -> None:
    suite = make_suite(2)
    with Store.create(tmp_path / "run") as store:
        store.plan([suite], ["s"], [])
        for suites, subjects in (([suite, suite], ["s"]), ([suite], ["s", "s"])):
            with pytest.raises(DataError) as caught:
                store.plan(suites, subjects, [])
            assert MARK not in str(caught.value)
        assert len(list(store.rows())) == 2


def test_one_process_writes_and_others_read(tmp_path: Path) -> None:
    with Store.create(tmp_path / "run") as store:
        store.plan([make_suite(2)], [], [])
        with pytest.raises(DataError, match="another process"):
            Store.create(tmp_path / "run")
        code = f"from medguard.evaluation.bench.store import Store; Store.create({str(tmp_path / 'run')!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another process" in done.stderr
        with Store.open(tmp_path / "run") as reader:
            rows = reader.rows()
            next(rows)
            store.plan([make_suite(5)], [], [])
            assert len(list(rows)) == 1, "one snapshot"
            assert len(list(reader.rows())) == 5
    Store.create(tmp_path / "run").close()


def test_the_folder_is_the_owners_alone(tmp_path: Path) -> None:
    Store.create(tmp_path / "a" / "run").close()
    assert stat.S_IMODE((tmp_path / "a" / "run").stat().st_mode) == 0o700


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        Store.open(tmp_path)
    (tmp_path / DATABASE_NAME).write_text("not a database, however long it goes on " * 9)
    for opener in (Store.open, Store.create):
        with pytest.raises(DataError, match="SQLITE_NOTADB"):
            opener(tmp_path)
    (tmp_path / DATABASE_NAME).unlink()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opener in (Store.open, Store.create):
        with pytest.raises(DataError, match="format 99"):
            opener(tmp_path)
