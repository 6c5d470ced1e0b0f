"""The guard's course as a generator: it asks for judgements and model calls, a driver carries them out.

Written once for sync and async, for one input and many, after the shape of httpx's auth flows. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from medguard.decision import skipped, worst
from medguard.errors import BlockedError, InvalidInputError, MedGuardError, ModelError
from medguard.policy import Policy
from medguard.redaction import redact
from medguard.steps import CallModel, Judgement, Judging, Step, judge_texts
from medguard.verdict import Action, Stage, Verdict

if TYPE_CHECKING:
    from medguard.adapters.base import Adapter

__all__ = [
    "Asked",
    "attached",
    "check_answers",
    "guarded_calls",
    "judge_prompts",
    "prepared",
    "read_or_error",
    "refuse",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """One input whose prompt has passed."""

    item: Any
    """What the caller gave."""
    model_input: Any
    """What of it the model was given."""
    prompt: object
    """Its text, as context of the answer; an exception where it could not be read."""
    verdict: Judgement
    """The verdict on the prompt."""


def guarded_calls(
    inputs: Sequence[Any], adapter: Adapter, policy: Policy
) -> Generator[Step, Any, list[Any | Exception]]:
    """Check the prompts, call the model on what passed, check the answers.

    The model never sees a blocked prompt and the caller never sees an unchecked answer.

    Args:
        inputs: What the model takes.
        adapter: Speaks the model's types.
        policy: Says which stages are checked.

    Yields:
        Steps for the driver; each is answered through ``send``.

    Returns:
        One answer, refusal or exception per input.
    """
    model_inputs = prepared(adapter, policy, inputs)
    readings, before = yield from judge_prompts(adapter, policy, model_inputs)
    results: list[Any | Exception] = [
        refuse(adapter, policy, item, None, [judgement])
        for item, judgement in zip(inputs, before, strict=True)
    ]
    passed = [index for index, judgement in enumerate(before) if _allowed(judgement)]
    answers = (yield CallModel(passed, [model_inputs[index] for index in passed])) if passed else []
    if not isinstance(answers, list) or len(answers) != len(passed):
        answers = [ModelError("the guarded model did not give one answer per input")] * len(passed)

    checked = yield from check_answers(
        adapter,
        policy,
        [Asked(inputs[index], model_inputs[index], readings[index][0], before[index]) for index in passed],
        answers,
    )
    for index, result in zip(passed, checked, strict=True):
        results[index] = result
    return results


def check_answers(
    adapter: Adapter, policy: Policy, asked: Sequence[Asked], answers: Sequence[Any | Exception]
) -> Generator[Step, Any, list[Any | Exception]]:
    """Check whole answers in one call.

    Returns:
        One answer, redacted answer, refusal or exception per answer.
    """
    results: list[Any | Exception] = []
    texts: list[str] = []
    for item, answer in zip(asked, answers, strict=True):
        text = _answer_or_error(adapter, policy, item.model_input, answer)
        results.append(text if isinstance(text, MedGuardError) else answer)
        texts.append("" if isinstance(text, MedGuardError) else text)
    wanted = [index for index, result in enumerate(results) if not isinstance(result, MedGuardError)]
    after = yield from _judge(
        Stage.RESPONSE,
        policy,
        [asked[index].prompt for index in wanted],
        [texts[index] for index in wanted],
        len(wanted),
    )
    for index, judgement in zip(wanted, after, strict=True):
        item, answer, verdicts = asked[index], answers[index], [asked[index].verdict, judgement]
        if _allowed(judgement):
            results[index] = attached(adapter, answer, verdicts)
            continue
        shown = None
        if _is_redaction(judgement) and adapter.redacted(answer, "") is not None:
            shown = yield from redact(texts[index], item.prompt, policy)
        if shown is None:
            results[index] = refuse(adapter, policy, item.item, answer, verdicts)
        else:
            results[index] = attached(adapter, adapter.redacted(answer, shown), verdicts)
    return results


def prepared(adapter: Adapter, policy: Policy, inputs: Sequence[Any]) -> list[Any]:
    """Return what the model may read of each input: not the turns of a conversation that were refused."""
    return [_without_refused(adapter, policy, item) for item in inputs]


def judge_prompts(
    adapter: Adapter, policy: Policy, inputs: Sequence[Any]
) -> Generator[Step, Any, tuple[list[Sequence[str | Exception]], list[Judgement]]]:
    """Judge every reading of every input in one call; the worst reading decides.

    Returns:
        The readings of each input, and its judgement.
    """
    readings = [read_or_error(partial(adapter.readings, item, policy)) for item in inputs]
    flat = [text for texts in readings for text in texts]
    found = iter((yield from _judge(Stage.PROMPT, policy, flat, None, len(inputs))))
    return readings, [_worst([next(found) for _ in texts]) for texts in readings]


def _judge(
    stage: Stage,
    policy: Policy,
    prompts: Sequence[object],
    responses: Sequence[str] | None,
    requests: int,
) -> Judging:
    """Ask for judgements of the texts, unless the policy leaves this stage out."""
    if stage not in policy.stages:
        return [skipped(stage) for _ in prompts]
    return (yield from judge_texts(stage, prompts, responses, requests=requests))


def _allowed(judgement: Judgement) -> bool:
    return isinstance(judgement, Verdict) and judgement.allowed


def _is_redaction(judgement: Judgement) -> bool:
    return isinstance(judgement, Verdict) and judgement.action is Action.REDACT


def _worst(judgements: Sequence[Judgement]) -> Judgement:
    verdicts = [item for item in judgements if isinstance(item, Verdict)]
    if len(verdicts) == len(judgements):
        return worst(verdicts)
    return next(item for item in judgements if isinstance(item, MedGuardError))


# What adapters do with odd inputs and answers is beyond foreseeing. Whatever they raise becomes an error of
# this input alone, named by its type only, since its message may quote the text.


def _without_refused(adapter: Adapter, policy: Policy, item: Any) -> Any:
    """Leave an input that cannot be read as it is: reading it fails again, and then it is blocked."""
    if Stage.PROMPT not in policy.stages:
        return item
    try:
        return adapter.without_refused(item, policy)
    except Exception:  # noqa: BLE001 - see above
        return item


def read_or_error(read: Callable[[], Sequence[str]]) -> Sequence[str | Exception]:
    """Return the texts of an input, or the exception for the judge to turn into a failed verdict."""
    try:
        return read()
    except InvalidInputError as error:
        return [error]
    except Exception as error:  # noqa: BLE001 - see above
        return [InvalidInputError(f"the guard cannot read this input ({type(error).__name__})")]


def _answer_or_error(adapter: Adapter, policy: Policy, model_input: Any, answer: Any) -> str | MedGuardError:
    """Return the text to check, none where the policy checks no answers."""
    if isinstance(answer, Exception):
        return answer if isinstance(answer, MedGuardError) else ModelError.caused_by(answer)
    if Stage.RESPONSE not in policy.stages:
        return ""
    try:
        return adapter.answer_text(model_input, answer)
    except InvalidInputError as error:
        return ModelError(f"the guarded model gave no usable answer: {error}")
    except Exception as error:  # noqa: BLE001 - see above
        return ModelError(f"the guarded model gave no usable answer ({type(error).__name__})")


def attached(adapter: Adapter, answer: Any, verdicts: list[Any]) -> Any | ModelError:
    """Return `answer` with its verdicts, or the error that stands in its place."""
    try:
        return adapter.attach(answer, verdicts)
    except Exception as error:  # noqa: BLE001 - see above
        return ModelError(f"the verdict cannot be attached to the answer ({type(error).__name__})")


def refuse(
    adapter: Adapter, policy: Policy, item: Any, answer: Any | None, judgements: list[Any]
) -> Any | MedGuardError:
    """Return what the caller gets instead of an answer: a refusal or an error, by the last judgement."""
    decided = judgements[-1]
    if isinstance(decided, MedGuardError):
        return decided
    try:
        return adapter.refuse(policy.refusal_for(decided), item, answer, judgements)
    except BlockedError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        return BlockedError(f"blocked, and no refusal could be made ({type(error).__name__})", decided)
