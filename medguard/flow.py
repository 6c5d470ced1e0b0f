"""The guard's course as a generator: it asks for judgements and model calls, a driver carries them out.

Written once for sync and async, for one input and many, after the shape of httpx's auth flows. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from medguard.decision import skipped
from medguard.errors import BlockedError, InvalidInputError, MedGuardError, ModelError
from medguard.policy import Policy
from medguard.verdict import Stage, Verdict

if TYPE_CHECKING:
    from medguard.adapters.base import Adapter

__all__ = ["CallModel", "Judge", "Judgement", "Step", "guarded_calls"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask the driver for one `Judgement` per text."""

    stage: Stage
    prompts: Sequence[object]
    responses: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the driver to call the model; it answers with one answer or exception per index."""

    indices: Sequence[int]
    """Which of the inputs the model may see."""


Step: TypeAlias = Judge | CallModel
Reply: TypeAlias = "list[Any]"
Judgement: TypeAlias = Verdict | MedGuardError
"""A verdict, or the error to raise instead of one (``on_error: raise``)."""


def guarded_calls(
    inputs: Sequence[Any], adapter: Adapter, policy: Policy
) -> Generator[Step, Reply, list[Any | Exception]]:
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
    prompts = [_prompt_or_error(adapter, item) for item in inputs]
    before = yield from _judge(Stage.PROMPT, policy, prompts, None)
    results: list[Any | Exception] = [
        _instead(adapter, policy, item, None, [judgement])
        for item, judgement in zip(inputs, before, strict=True)
    ]
    passed = [index for index, judgement in enumerate(before) if _allowed(judgement)]
    answers = (yield CallModel(passed)) if passed else []
    if not isinstance(answers, list) or len(answers) != len(passed):
        answers = [ModelError("the guarded model did not give one answer per input")] * len(passed)

    checked: list[tuple[int, Any, str]] = []
    for index, answer in zip(passed, answers, strict=True):
        text = _answer_or_error(adapter, policy, inputs[index], answer)
        if isinstance(text, MedGuardError):
            results[index] = text
        else:
            checked.append((index, answer, text))
    after = yield from _judge(
        Stage.RESPONSE, policy, [prompts[index] for index, _, _ in checked], [text for _, _, text in checked]
    )
    for (index, answer, _), judgement in zip(checked, after, strict=True):
        if _allowed(judgement):
            results[index] = _attached(adapter, answer, [before[index], judgement])
        else:
            results[index] = _instead(adapter, policy, inputs[index], answer, [before[index], judgement])
    return results


def _judge(
    stage: Stage, policy: Policy, prompts: Sequence[object], responses: Sequence[str] | None
) -> Generator[Step, Reply, list[Judgement]]:
    """Ask for judgements of the texts that the policy wants checked."""
    if stage not in policy.stages:
        return [skipped(stage) for _ in prompts]
    # An answer without a character has nothing to check and nothing to leak.
    wanted = [index for index in range(len(prompts)) if responses is None or responses[index].strip()]
    judgements: list[Judgement] = [skipped(stage) for _ in prompts]
    if wanted:
        judged = yield Judge(
            stage,
            [prompts[index] for index in wanted],
            None if responses is None else [responses[index] for index in wanted],
        )
        for index, judgement in zip(wanted, judged, strict=True):
            judgements[index] = judgement
    return judgements


def _allowed(judgement: Judgement) -> bool:
    return isinstance(judgement, Verdict) and judgement.allowed


# What adapters do with odd inputs and answers is beyond foreseeing. Whatever they raise becomes an error of
# this input alone, named by its type only, since its message may quote the text.


def _prompt_or_error(adapter: Adapter, item: Any) -> object:
    """Return the text, or the exception for the judge to turn into a failed verdict."""
    try:
        return adapter.prompt_text(item)
    except InvalidInputError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        return InvalidInputError(f"the guard cannot read this input ({type(error).__name__})")


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


def _attached(adapter: Adapter, answer: Any, verdicts: list[Any]) -> Any | ModelError:
    try:
        return adapter.attach(answer, verdicts)
    except Exception as error:  # noqa: BLE001 - see above
        return ModelError(f"the verdict cannot be attached to the answer ({type(error).__name__})")


def _instead(
    adapter: Adapter, policy: Policy, item: Any, answer: Any | None, judgements: list[Any]
) -> Any | MedGuardError:
    """What the caller gets instead of an answer: a refusal or an error, by the last judgement."""
    decided = judgements[-1]
    if isinstance(decided, MedGuardError):
        return decided
    try:
        return adapter.refuse(policy.refusal, item, answer, judgements)
    except BlockedError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        return BlockedError(f"blocked, and no refusal could be made ({type(error).__name__})", decided)
