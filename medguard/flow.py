"""The guard's course as a generator: it asks for judgements and model calls, a driver carries them out.

Written once for sync and async, for one input and many, after the shape of httpx's auth flows. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from medguard.adapters.base import Adapter
from medguard.decision import skipped
from medguard.errors import BlockedError, InvalidInputError, ModelError
from medguard.policy import Policy
from medguard.verdict import Stage, Verdict

__all__ = ["CallModel", "Judge", "Step", "guarded_calls"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask the driver for one verdict per text; it answers with a list of `Verdict`."""

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
    prompts = [_text_or_error(adapter.prompt_text, item) for item in inputs]
    before = yield from _judge(Stage.PROMPT, policy, prompts, None)
    results: list[Any | Exception] = [
        verdict if verdict.allowed else _refusal(adapter, policy, item, None, verdict)
        for item, verdict in zip(inputs, before, strict=True)
    ]
    passed = [index for index, verdict in enumerate(before) if verdict.allowed]
    answers = (yield CallModel(passed)) if passed else []
    if len(answers) != len(passed):
        raise ModelError(f"the guarded model gave {len(answers)} answers to {len(passed)} inputs")

    checked: list[tuple[int, Any, str]] = []
    for index, answer in zip(passed, answers, strict=True):
        text = answer if isinstance(answer, Exception) else _answer_or_error(adapter, inputs[index], answer)
        if isinstance(text, Exception):
            results[index] = text
        else:
            checked.append((index, answer, text))
    contexts = [_context(prompts[index]) for index, _, _ in checked]
    after = yield from _judge(Stage.RESPONSE, policy, contexts, [text for _, _, text in checked])
    for (index, answer, _), verdict in zip(checked, after, strict=True):
        if verdict.allowed:
            results[index] = adapter.attach(answer, [before[index], verdict])
        else:
            results[index] = _refusal(adapter, policy, inputs[index], answer, verdict)
    return results


def _judge(
    stage: Stage, policy: Policy, prompts: Sequence[object], responses: Sequence[str] | None
) -> Generator[Step, Reply, list[Verdict]]:
    """Ask for verdicts on the texts that the policy wants checked."""
    if stage not in policy.stages:
        return [skipped(stage) for _ in prompts]
    # An answer without a character has nothing to check and nothing to leak.
    wanted = [index for index in range(len(prompts)) if responses is None or responses[index].strip()]
    verdicts = [skipped(stage) for _ in prompts]
    if wanted:
        judged = yield Judge(
            stage,
            [prompts[index] for index in wanted],
            None if responses is None else [responses[index] for index in wanted],
        )
        for index, verdict in zip(wanted, judged, strict=True):
            verdicts[index] = verdict
    return verdicts


def _text_or_error(extract: Any, item: Any) -> object:
    """Return the text, or the exception for the judge to turn into a failed verdict."""
    try:
        return extract(item)
    except InvalidInputError as error:
        return error


def _answer_or_error(adapter: Adapter, model_input: Any, answer: Any) -> str | ModelError:
    try:
        return adapter.answer_text(model_input, answer)
    except (InvalidInputError, KeyError, TypeError) as error:
        detail = f": {error}" if isinstance(error, InvalidInputError) else ""
        return ModelError(f"the guarded model gave no usable answer{detail}")


def _context(prompt: object) -> str:
    return prompt if isinstance(prompt, str) else ""


def _refusal(
    adapter: Adapter, policy: Policy, item: Any, answer: Any | None, verdict: Verdict
) -> Any | BlockedError:
    try:
        return adapter.refuse(policy.refusal, item, answer, verdict)
    except BlockedError as error:
        return error
