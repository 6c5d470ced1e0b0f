from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig

from medguard import (
    Action,
    BlockedError,
    InvalidInputError,
    MedGuardError,
    ModelError,
    Outcome,
    Policy,
    Stage,
    Verdict,
)
from medguard.adapters import Adapter
from medguard.adapters.base import Outcomes
from medguard.flow import guarded_calls
from medguard.steps import CallModel, Judge
from tests.conftest import SENTINEL


class Plain(Adapter):
    """Speaks strings; `raises` names the methods that break."""

    def __init__(self, *raises: str, error: type[Exception] = RuntimeError) -> None:
        self.raises = raises
        self.error = error

    def _maybe(self, method: str) -> None:
        if method in self.raises:
            raise self.error(SENTINEL)

    def call(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        raise NotImplementedError

    async def acall(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        raise NotImplementedError

    def refuse(self, text: str, model_input: Any, answer: Any | None, verdict: Verdict) -> Any:
        self._maybe("refuse")
        return f"refused: {model_input}"

    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        self._maybe("attach")
        return (answer, [verdict.outcome for verdict in verdicts])

    def readings(self, model_input: Any, policy: Policy) -> Sequence[str]:
        self._maybe("readings")
        return super().readings(model_input, policy)

    def without_refused(self, model_input: Any, policy: Policy) -> Any:
        self._maybe("readings")
        return super().without_refused(model_input, policy)

    def answer_text(self, model_input: Any, answer: Any) -> str:
        self._maybe("answer_text")
        return super().answer_text(model_input, answer)


def verdict_on(text: object, stage: Stage) -> Verdict:
    if not isinstance(text, str):
        return Verdict(
            allowed=False, action=Action.BLOCK, outcome=Outcome.FAILED, stage=stage, error="unread"
        )
    tripped = "bad" in text
    return Verdict(
        allowed=not tripped,
        action=Action.BLOCK if tripped else Action.ALLOW,
        outcome=Outcome.TRIPPED if tripped else Outcome.PASSED,
        stage=stage,
        score=float(tripped),
        threshold=0.5,
    )


def drive(
    inputs: list[Any], answers: Any, adapter: Adapter | None = None, policy: Policy | None = None
) -> tuple[list[Any], list[Any]]:
    """Run the flow; return what it asked for and what it gave."""
    flow = guarded_calls(inputs, adapter or Plain(), policy or Policy())
    steps: list[Any] = []
    try:
        step = next(flow)
        while True:
            steps.append(step)
            if isinstance(step, Judge):
                texts = step.prompts if step.responses is None else step.responses
                step = flow.send([verdict_on(text, step.stage) for text in texts])
            else:
                step = flow.send(answers)
    except StopIteration as finished:
        return steps, finished.value


PASSED, SKIPPED = Outcome.PASSED, Outcome.SKIPPED


def test_prompts_then_model_then_answers() -> None:
    steps, results = drive(["a", "bad b", "c"], ["x", "bad y"])
    assert steps == [
        Judge(Stage.PROMPT, ["a", "bad b", "c"], None, requests=3),
        CallModel([0, 2], ["a", "c"]),
        Judge(Stage.RESPONSE, ["a", "c"], ["x", "bad y"], requests=2),
    ]
    assert results == [("x", [PASSED, PASSED]), "refused: bad b", "refused: c"]


def test_model_is_not_asked_when_nothing_passes() -> None:
    steps, results = drive(["bad", "so bad"], None)
    assert [type(step) for step in steps] == [Judge]
    assert results == ["refused: bad", "refused: so bad"]


def test_answers_without_a_character_are_not_judged() -> None:
    steps, results = drive(["a", "b"], ["", " \n"])
    assert [type(step) for step in steps] == [Judge, CallModel]
    assert results == [("", [PASSED, SKIPPED]), (" \n", [PASSED, SKIPPED])]


def test_prompt_stage_can_be_left_out() -> None:
    steps, results = drive(["bad a"], ["bad x"], policy=Policy(stages=frozenset({Stage.RESPONSE})))
    assert [type(step) for step in steps] == [CallModel, Judge]
    assert results == ["refused: bad a"]


def test_response_stage_can_be_left_out_whatever_the_answer_is() -> None:
    answer = object()
    steps, results = drive(["a"], [answer], policy=Policy(stages=frozenset({Stage.PROMPT})))
    assert [type(step) for step in steps] == [Judge, CallModel]
    assert results == [(answer, [PASSED, SKIPPED])]


def test_exceptions_of_the_model_stay_with_their_input() -> None:
    known = ModelError("known")
    _, results = drive(["a", "b", "c"], [known, "x", ValueError(SENTINEL)])
    assert results[0] is known
    assert results[1] == ("x", [PASSED, PASSED])
    assert isinstance(results[2], ModelError)
    assert SENTINEL not in str(results[2])


@pytest.mark.parametrize("answers", [None, [], ["x"], ["x", "y", "z"], "xy", {"a": 1, "b": 2}], ids=str)
def test_wrong_number_of_answers_is_an_error_for_all(answers: Any) -> None:
    _, results = drive(["a", "b"], answers)
    assert [type(result) for result in results] == [ModelError, ModelError]


@pytest.mark.parametrize(
    "error", [TypeError, RecursionError, AttributeError, KeyError, StopIteration, InvalidInputError]
)
@pytest.mark.parametrize("method", ["answer_text", "attach", "refuse"])
def test_an_adapter_that_raises_fails_closed(method: str, error: type[Exception]) -> None:
    texts = ["bad"] if method == "refuse" else ["a"]
    _, (result,) = drive(texts, ["x"], Plain(method, error=error))
    assert isinstance(result, BlockedError if method == "refuse" else ModelError)
    if error is not InvalidInputError:
        assert SENTINEL not in str(result)


@pytest.mark.parametrize("error", [TypeError, RecursionError, KeyError, StopIteration])
def test_unreadable_prompt_reaches_the_judge_as_an_error_without_text(error: type[Exception]) -> None:
    steps, results = drive(["a"], ["x"], Plain("readings", error=error))
    (text,) = steps[0].prompts
    assert str(text) == f"the guard cannot read this input ({error.__name__})"
    assert results == ["refused: a"]


def test_the_worst_reading_of_a_conversation_decides_and_refused_turns_stay_away_from_the_model() -> None:
    policy = Policy()
    turns = [("human", "bad"), ("ai", policy.refusal), ("human", "hello"), ("ai", "hi"), ("human", "now")]
    steps, results = drive([turns], ["x"])
    assert steps[0].prompts[0] == "now"
    assert set(steps[0].prompts) == {"now", "hello\n\nnow", "hello\n\nhi\n\nnow", "hello"}
    assert steps[1] == CallModel([0], [turns[2:]])
    assert results == [("x", [PASSED, PASSED])]
    split = [("human", "so b"), ("ai", "yes?"), ("human", "bad")]
    steps, (refused,) = drive([split], None)
    assert [type(step) for step in steps] == [Judge]
    assert str(refused).startswith("refused")


def test_errors_instead_of_verdicts_go_to_the_caller() -> None:
    flow = guarded_calls(["a", "b"], Plain(), Policy())
    assert isinstance(next(flow), Judge)
    error = MedGuardError("no verdict")
    assert flow.send([error, verdict_on("b", Stage.PROMPT)]) == CallModel([1], ["b"])
    assert isinstance(flow.send(["y"]), Judge)
    late = MedGuardError("no verdict either")
    with pytest.raises(StopIteration) as finished:
        flow.send([late])
    assert finished.value.value == [error, late]
