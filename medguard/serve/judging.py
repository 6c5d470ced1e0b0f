"""What the gateway asks of the checker: about a request, and about a whole answer. Runs in threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medguard.checker import Checker
from medguard.conversation import prompt_readings, without_refused_turns
from medguard.decision import skipped, worst
from medguard.errors import InvalidInputError, MedGuardError
from medguard.policy import OnMedia, Policy
from medguard.redaction import redact
from medguard.serve.faults import bad_request, guard_failed
from medguard.serve.openai_api import Call, Dialect
from medguard.serve.wire import has_encoded_media, replaced, without_key
from medguard.steps import Judge
from medguard.text import as_messages
from medguard.verdict import Action, Stage, Verdict, verdict_note

__all__ = ["Asked", "judge_answer", "judge_request", "judge_responses", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that has been judged. It holds text and must not be logged."""

    verdicts: tuple[Verdict, ...]
    """One for each prompt."""
    texts: tuple[str, ...]
    """What the user says now, of each prompt: the context of its answers."""
    forwarded: dict[str, Any]
    """What the upstream may read."""

    @property
    def verdict(self) -> Verdict:
        """The verdict that decides over the request."""
        return worst(self.verdicts)


def judge_request(checker: Checker, dialect: Dialect, call: Call) -> Asked:
    """Judge every reading of every prompt in one call of the classifier.

    Raises:
        GatewayError: The conversation cannot be read, or the guard failed and the policy says ``on_error:
            raise``.
    """
    policy = checker.policy
    try:
        readings = [_readings(item, policy) for item in call.inputs]
    except RecursionError:
        raise bad_request("the request is nested too deeply") from None
    texts = tuple(first if isinstance(first := items[0], str) else "" for items in readings)
    if Stage.PROMPT not in policy.stages:
        return Asked(
            verdicts=tuple(skipped(Stage.PROMPT) for _ in readings), texts=texts, forwarded=call.body
        )
    judged = iter(_judge(checker, Stage.PROMPT, [text for items in readings for text in items]))
    verdicts = tuple(worst([next(judged) for _ in items]) for items in readings)
    first = call.inputs[0]
    kept = without_refused_turns(first["messages"], policy) if isinstance(first, dict) else ()
    return Asked(verdicts=verdicts, texts=texts, forwarded=dialect.forwarded(call, kept))


def judge_answer(
    checker: Checker, dialect: Dialect, call: Call, asked: Asked, body: dict[str, Any]
) -> tuple[dict[str, Any], list[Verdict]]:
    """Judge every choice of an answer, and replace what may not leave.

    Returns:
        The answer to give, and its verdicts: one for each choice, then one for text beside them if there is
        any.

    Raises:
        ValueError: `body` is no answer of this endpoint.
        GatewayError: The guard failed and the policy says ``on_error: raise``.
    """
    policy = checker.policy
    if Stage.RESPONSE not in policy.stages:
        return body, [skipped(Stage.RESPONSE)]
    texts, beside = dialect.answers(call, body)
    prompts = [asked.texts[call.prompt_of(choice)] for choice in range(len(texts))]
    judged: list[object] = [*texts, *([beside] if beside.strip() else [])]
    if policy.media is OnMedia.BLOCK and has_encoded_media(body):
        judged = [InvalidInputError("the answer holds media, which the policy blocks") for _ in judged]
    verdicts = judge_responses(checker, [*prompts, asked.texts[0]][: len(judged)], judged)
    if len(verdicts) > len(texts) and not verdicts[-1].allowed:
        return dialect.refuse(call, policy.refusal_for(verdicts[-1])), verdicts
    for choice, (prompt, verdict) in enumerate(zip(prompts, verdicts, strict=False)):
        if verdict.allowed:
            continue
        place = dialect.plain_text(body, choice) if verdict.action is Action.REDACT else None
        redacted = None if place is None else _redacted(checker, prompt, texts[choice])
        if place is None or redacted is None:
            body = dialect.refuse_choice(body, choice, policy.refusal_for(verdict))
        else:
            # Log-probabilities would tell what was taken out.
            body = without_key(replaced(body, place, redacted), "logprobs")
    return body, verdicts


def judge_responses(checker: Checker, prompts: Sequence[str], responses: Sequence[object]) -> list[Verdict]:
    """Judge answers, or parts of them; one without a character is skipped.

    Raises:
        GatewayError: The guard failed and the policy says ``on_error: raise``.
    """
    wanted = [index for index, text in enumerate(responses) if not isinstance(text, str) or text.strip()]
    verdicts = [skipped(Stage.RESPONSE) for _ in responses]
    if wanted:
        judged = _judge(
            checker,
            Stage.RESPONSE,
            [prompts[index] for index in wanted],
            [responses[index] for index in wanted],
        )
        for index, verdict in zip(wanted, judged, strict=True):
            verdicts[index] = verdict
    return verdicts


def note(prompt: Verdict, responses: Sequence[Verdict] = ()) -> dict[str, Any]:
    """Return what answers carry under ``medguard``: the verdict that decided, and all under ``verdicts``."""
    deciding = worst(responses) if responses else prompt
    return {**verdict_note([prompt, *responses]), **deciding.to_dict()}


def _readings(item: Any, policy: Policy) -> list[object]:
    """Return the readings of one input; the exception, to be judged as a failure, where there are none."""
    try:
        as_messages(item)
    except InvalidInputError as error:
        raise bad_request(str(error), param="messages") from None
    try:
        return list(prompt_readings(item, policy))
    except InvalidInputError as error:
        return [error]


def _redacted(checker: Checker, prompt: str, text: str) -> str | None:
    """Take out of a text what trips in windows, as in a stream; None where that does not help."""
    course = redact(text, prompt, checker.policy)
    try:
        step = next(course)
        while isinstance(step, Judge):
            step = course.send(checker.judge_each(step.stage, step.prompts, step.responses))
    except StopIteration as ended:
        return ended.value if isinstance(ended.value, str) else None
    return None


def _judge(
    checker: Checker, stage: Stage, prompts: Sequence[object], responses: Sequence[object] | None = None
) -> list[Verdict]:
    try:
        return checker.judge(stage, prompts, responses)
    except MedGuardError as error:
        raise guard_failed(error) from None
