"""One body per behaviour, driven through invoke and ainvoke, batch and abatch."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from medguard import Action, GuardedStr, MedGuardError, ModelError, OnError, Outcome, Stage
from medguard.deadline import Deadline
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import FailingScorer, KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.guards import Driver, Echo, guard_of


def raising(error: Exception) -> Callable[[Any], Any]:
    def answer(prompt: Any) -> Any:
        raise error

    return answer


def test_harmless_passes_with_its_verdicts(driver: Driver) -> None:
    answer = driver.invoke(guard_of(Echo()), "water")
    assert (type(answer), answer) == (GuardedStr, "answer to water")
    assert [verdict.stage for verdict in answer.verdicts] == [Stage.PROMPT, Stage.RESPONSE]
    assert answer.verdict.allowed


def test_model_never_sees_a_blocked_prompt(driver: Driver) -> None:
    model = Echo()
    answer = driver.invoke(guard_of(model), "arsenic")
    assert answer == DEFAULT_REFUSAL
    assert (answer.verdict.stage, answer.verdict.allowed) == (Stage.PROMPT, False)
    assert model.seen == []


def test_caller_never_sees_a_blocked_answer(driver: Driver) -> None:
    model = Echo(lambda prompt: "take arsenic")
    answer = driver.invoke(guard_of(model, refusal="No."), "water")
    assert (answer, answer.verdict.stage, model.seen) == ("No.", Stage.RESPONSE, ["water"])


@pytest.mark.parametrize("action", [Action.ANNOTATE, Action.SHADOW, Action.ALLOW])
def test_other_actions_let_through_and_tell(driver: Driver, action: Action) -> None:
    answer = driver.invoke(guard_of(Echo(), action=action), "arsenic")
    assert answer == "answer to arsenic"
    assert [(verdict.tripped, verdict.action) for verdict in answer.verdicts] == [(True, action)] * 2


def test_options_reach_the_model(driver: Driver) -> None:
    model = Echo()
    driver.invoke(guard_of(model), "water", temperature=0.5)
    assert model.seen == [("water", {"temperature": 0.5})]


def test_batch_keeps_order_and_scores_in_one_call_per_stage(driver: Driver) -> None:
    model, scorer = Echo(), KeywordScorer(["arsenic"])
    answers = driver.batch(guard_of(model, scorer), ["a", "arsenic", "", "d"])
    assert answers == ["answer to a", DEFAULT_REFUSAL, DEFAULT_REFUSAL, "answer to d"]
    assert [answer.verdict.outcome for answer in answers] == [
        Outcome.PASSED,
        Outcome.TRIPPED,
        Outcome.FAILED,
        Outcome.PASSED,
    ]
    assert sorted(model.seen) == ["a", "d"]
    assert scorer.calls == [(["a", "arsenic", "d"], None), (["a", "d"], ["answer to a", "answer to d"])]


def test_each_input_of_a_batch_has_the_time_of_one(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def run(self: Deadline, work: Any, *, parts: int = 1) -> Any:
        seen.append(parts)
        return work()

    monkeypatch.setattr(Deadline, "run", run)
    guard = guard_of(Echo(), timeout_s=30)
    conversation = [("human", "water"), ("ai", "yes?"), ("human", "wine")]  # of several readings
    driver.invoke(guard, conversation)
    driver.batch(guard, [conversation, "arsenic", "", "water"])
    driver.stream(guard, conversation)
    assert seen == [1, 1, 4, 2, 1, 1]


def test_batch_of_nothing(driver: Driver) -> None:
    assert driver.batch(guard_of(Echo()), []) == []


def picky(prompt: str) -> str:
    if prompt == "break":
        raise KeyError(SENTINEL)
    return prompt


def test_batch_returns_exceptions_in_place(driver: Driver) -> None:
    answers = driver.batch(guard_of(picky), ["a", "break", "c"], return_exceptions=True)
    assert (answers[0], answers[2]) == ("a", "c")
    assert isinstance(answers[1], ModelError)
    with pytest.raises(ModelError, match="raised KeyError"):
        driver.batch(guard_of(picky), ["a", "break", "c"])


def test_on_error_raise_keeps_the_others_of_a_batch(driver: Driver) -> None:
    guard = guard_of(Echo(), on_error=OnError.RAISE)
    answers = driver.batch(guard, ["a", "", "c"], return_exceptions=True)
    assert (answers[0], answers[2]) == ("answer to a", "answer to c")
    assert isinstance(answers[1], MedGuardError)
    with pytest.raises(MedGuardError, match="found an empty one"):
        driver.batch(guard, ["a", "", "c"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (raising(RuntimeError(SENTINEL)), "raised RuntimeError"),
        (raising(StopIteration(SENTINEL)), "raised StopIteration"),
        (lambda prompt: None, "returned None"),
        (lambda prompt: (ord(char) for char in prompt), "streams other things than str"),
        (lambda prompt: object(), "in a object"),
        (lambda prompt: b"bytes", "in a bytes"),
        (lambda prompt: ValueError(prompt), "raised ValueError"),
    ],
    ids=["raises", "stops", "none", "generator", "object", "bytes", "exception"],
)
def test_unusable_answers_are_model_errors_without_text(
    driver: Driver, answer: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelError, match=message) as caught:
        driver.invoke(guard_of(Echo(answer)), SENTINEL)
    assert SENTINEL not in caplog.text
    assert SENTINEL not in str(caught.value)
    if caught.value.__cause__ is None:
        assert SENTINEL not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "value", ["", "  ", "x" * 1001, "a\ud800", None, 7, b"x", [], object(), ["a", b"x"]], ids=ascii
)
def test_inputs_that_cannot_be_checked_are_refused(driver: Driver, value: Any) -> None:
    model = Echo()
    answer = driver.invoke(guard_of(model, max_chars=1000), value)
    assert (answer, answer.verdict.failed, model.seen) == (DEFAULT_REFUSAL, True, [])


def test_input_too_deep_to_read_is_refused(driver: Driver) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert driver.invoke(guard_of(Echo()), deep).verdict.failed
    # Taken apart step by step, since freeing it at once would recurse as deeply.
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize("on_error", OnError)
def test_a_broken_scorer_does_as_the_policy_says(
    driver: Driver, on_error: OnError, caplog: pytest.LogCaptureFixture
) -> None:
    model = Echo()
    caplog.set_level(logging.DEBUG)
    guard = guard_of(model, FailingScorer(RuntimeError(SENTINEL)), on_error=on_error)
    if on_error is OnError.RAISE:
        with pytest.raises(MedGuardError) as caught:
            driver.invoke(guard, f"water {SENTINEL}")
        assert SENTINEL not in "".join(traceback.format_exception(caught.value))
    else:
        answer = driver.invoke(guard, "water")
        assert answer.verdict.failed
        assert (answer == "answer to water") == (on_error is OnError.ALLOW)
    assert bool(model.seen) == (on_error is OnError.ALLOW)
    assert "guard failed at stage prompt" in caplog.text
    assert SENTINEL not in caplog.text


def test_stages_can_be_left_out(driver: Driver) -> None:
    only_prompt = guard_of(Echo(lambda prompt: "arsenic"), stages=[Stage.PROMPT])
    assert driver.invoke(only_prompt, "water") == "arsenic"
    only_response = guard_of(Echo(lambda prompt: "water"), stages=[Stage.RESPONSE])
    assert driver.invoke(only_response, "arsenic") == "water"


async def asynchronous(prompt: str) -> str:
    return f"answer to {prompt}"


def test_async_functions_need_an_async_call(driver: Driver) -> None:
    guard = guard_of(asynchronous)
    if driver.is_async:
        assert driver.invoke(guard, "water") == "answer to water"
    else:
        with pytest.raises(ModelError, match="use ainvoke"):
            driver.invoke(guard, "water")


def test_calling_the_guard_is_calling_the_model() -> None:
    assert guard_of(Echo())("water") == "answer to water"

    async def call() -> Any:
        return await guard_of(asynchronous)("water")

    assert asyncio.run(call()) == "answer to water"


def test_checks_without_the_model(driver: Driver) -> None:
    guard = guard_of(raising(AssertionError("must not be called")))
    if driver.is_async:
        verdicts = [
            asyncio.run(guard.acheck_prompt("arsenic")),
            asyncio.run(guard.acheck_response("arsenic")),
        ]
    else:
        verdicts = [guard.check_prompt("arsenic"), guard.check_response("arsenic")]
    assert [verdict.allowed for verdict in verdicts] == [False, False]
