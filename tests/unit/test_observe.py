from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from medguard import MedGuardError, OnError, Outcome, Stage, Verdict
from medguard.observe import error_type, request_id
from medguard.testing import FailingScorer, KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.observing import Broken, Witness, checker_with, sha256


def test_every_judgement_is_observed_in_order() -> None:
    witness = Witness()
    checker = checker_with(witness, allow_patterns=("thank you",))
    texts = ["water", "arsenic", "", "Thank  You"]
    verdicts = checker.check_prompts(texts)
    assert [seen.verdict for seen in witness.seen] == verdicts
    assert [seen.verdict.outcome for seen in witness.seen] == [
        Outcome.PASSED,
        Outcome.TRIPPED,
        Outcome.FAILED,
        Outcome.SKIPPED,
    ]
    assert [seen.text_sha256 for seen in witness.seen] == [sha256(text) for text in texts]
    assert [seen.text_chars for seen in witness.seen] == [5, 7, 0, 10]


def test_the_answer_is_described_and_not_its_request() -> None:
    witness = Witness()
    verdict = checker_with(witness).check_response("take water", prompt="what helps?")
    (seen,) = witness.seen
    assert (seen.verdict, seen.text_sha256) == (verdict, sha256("take water"))
    assert seen.verdict.stage is Stage.RESPONSE


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["list"], ValueError(SENTINEL)], ids=ascii)
def test_what_is_no_text_has_no_hash(text: object) -> None:
    witness = Witness()
    checker_with(witness, record_text=True).judge(Stage.PROMPT, [text])
    (seen,) = witness.seen
    assert (seen.text_sha256, seen.text_chars, seen.text) == ("", 0, None)
    assert seen.verdict.failed
    assert SENTINEL not in repr(seen)


def test_text_that_is_no_unicode_is_told_apart() -> None:
    witness = Witness()
    checker_with(witness).check_prompts(["a\ud800", "a\ud801"])
    assert len({seen.text_sha256 for seen in witness.seen}) == 2


def test_text_is_recorded_only_where_the_policy_says_so() -> None:
    closed, opened = Witness(), Witness()
    checker_with(closed).check_prompt(SENTINEL)
    checker_with(opened, record_text=True).check_prompt(SENTINEL)
    assert closed.seen[0].text is None
    assert SENTINEL not in repr(closed.seen[0])
    assert opened.seen[0].text == SENTINEL


@pytest.mark.parametrize("scorer", [FailingScorer(RuntimeError(SENTINEL)), KeywordScorer([])])
def test_what_raises_is_observed_as_failed_and_blocked(scorer: KeywordScorer) -> None:
    witness = Witness()
    checker = checker_with(witness, scorer=scorer, on_error=OnError.RAISE, max_chars=30)
    with pytest.raises(MedGuardError):
        checker.check_prompt("water" if isinstance(scorer, FailingScorer) else "x" * 31)
    (seen,) = witness.seen
    assert (seen.verdict.failed, seen.verdict.allowed) == (True, False)
    assert seen.verdict.latency_ms > 0.0
    assert SENTINEL not in repr(seen)


def test_nothing_judged_is_nothing_observed() -> None:
    witness = Witness()
    assert checker_with(witness).check_prompts([]) == []
    assert witness.seen == []


def test_times_enclose_the_check() -> None:
    witness = Witness()
    checker_with(witness).check_prompts(["water", "wine"])
    first, second = witness.seen
    assert 0 < first.started_unix_ns <= first.ended_unix_ns
    assert (first.started_unix_ns, first.ended_unix_ns) == (second.started_unix_ns, second.ended_unix_ns)


def test_an_observer_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before, after = Witness(), Witness()
    checker = checker_with(before, Broken(RuntimeError(SENTINEL)), after)
    with caplog.at_level(logging.DEBUG):
        verdicts = checker.check_prompts([f"water {SENTINEL}", "arsenic"])
    plain = checker_with().check_prompts([f"water {SENTINEL}", "arsenic"])
    assert [replace(verdict, latency_ms=0.0) for verdict in verdicts] == [
        replace(verdict, latency_ms=0.0) for verdict in plain
    ]
    assert [seen.verdict for seen in before.seen] == [seen.verdict for seen in after.seen] == verdicts
    assert [record.getMessage() for record in caplog.records] == [
        "observer Broken failed with RuntimeError"
    ] * 2
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert SENTINEL not in caplog.text


def test_request_id_follows_the_task() -> None:
    witness = Witness()
    checker = checker_with(witness)

    async def request(name: str) -> None:
        request_id.set(name)
        await asyncio.to_thread(checker.check_prompt, name)

    async def main() -> None:
        await asyncio.gather(*(request(f"r{number}") for number in range(8)))

    asyncio.run(main())
    checker.check_prompt("outside")
    assert {seen.request_id for seen in witness.seen} == {*(f"r{number}" for number in range(8)), None}
    named = [seen for seen in witness.seen if seen.request_id is not None]
    assert all(seen.text_sha256 == sha256(seen.request_id or "") for seen in named)


def _verdict(text: str, scorer: KeywordScorer | None = None) -> Verdict:
    return checker_with(scorer=scorer).check_prompt(text)


def test_errors_are_named_by_their_type() -> None:
    assert error_type(_verdict("")) == "InvalidInputError"
    assert error_type(_verdict("water", FailingScorer())) == "RuntimeError"
    assert error_type(_verdict("water")) is None
