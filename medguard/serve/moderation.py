"""What MedGuard answers itself: OpenAI's moderations, and the gateway's own check. Runs in threads."""

from __future__ import annotations

import uuid
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from medguard.batching import BatchingScorer
from medguard.checker import Checker, readable_context
from medguard.classifier import Classifier
from medguard.errors import MedGuardError
from medguard.principles import category_names
from medguard.serve.faults import bad_request, guard_failed
from medguard.serve.wire import text_of
from medguard.verdict import Outcome, Stage, Verdict

__all__ = ["CheckRequest", "check", "moderate"]

_MAX_INPUTS: Final = 256


class CheckRequest(BaseModel):
    """A request, and an answer to it, to be judged."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(description="What a user asks.")
    response: str | None = Field(default=None, description="What a model answers; null: judge the request.")


def moderate(checker: Checker, body: dict[str, Any]) -> dict[str, Any]:
    """Judge texts as requests, and answer as OpenAI's moderations do.

    Categories are MedGuard's own (``principle_1`` to ``principle_9``, ``general_harm``); OpenAI's are not
    judged, so they are not in the answer. What cannot be judged is flagged.

    Raises:
        GatewayError: The input is of no known shape, or the guard failed and the policy says ``on_error:
            raise``.
    """
    texts = _moderated(body.get("input"))
    try:
        verdicts = checker.judge(Stage.PROMPT, texts)
    except MedGuardError as error:
        raise guard_failed(error) from None
    return {
        "id": f"modr-{uuid.uuid4().hex}",
        "model": checker.classifier.id,
        "results": [_result(verdict) for verdict in verdicts],
    }


def check(checker: Checker, asked: CheckRequest) -> dict[str, Any]:
    """Judge a request and an answer, whatever stages the policy checks, and find the window that tripped.

    Returns:
        ``allowed``; ``prompt`` and ``response``, verdicts or None; ``window``, None unless something tripped:
        ``stage``, ``form`` (see `medguard.normalize`), ``text``, ``start`` and ``end``, in characters of that
        form.

    Raises:
        GatewayError: The guard failed and the policy says ``on_error: raise``.
    """
    try:
        prompt = checker.check_prompt(asked.prompt)
        response = None
        if asked.response is not None:
            response = checker.check_response(asked.response, prompt=asked.prompt)
    except MedGuardError as error:
        raise guard_failed(error) from None
    verdicts = [verdict for verdict in (prompt, response) if verdict is not None]
    return {
        "allowed": all(verdict.allowed for verdict in verdicts),
        "prompt": prompt.to_dict(),
        "response": None if response is None else response.to_dict(),
        "window": _window(checker, asked, verdicts),
    }


def _window(checker: Checker, asked: CheckRequest, verdicts: list[Verdict]) -> dict[str, Any] | None:
    """Find the window that decided about the last text that tripped."""
    tripped = [verdict for verdict in verdicts if verdict.tripped]
    scorer = checker.classifier
    classifier = scorer.classifier if isinstance(scorer, BatchingScorer) else scorer
    if not tripped or not isinstance(classifier, Classifier):
        return None
    stage = tripped[-1].stage
    prompt = readable_context(asked.prompt, checker.policy.max_chars)
    window = classifier.deciding_window(prompt, asked.response if stage is Stage.RESPONSE else None)
    return {
        "stage": stage.value,
        "form": window.form.value,
        "text": window.text[window.start : window.end],
        "start": window.start,
        "end": window.end,
    }


def _moderated(given: Any) -> list[str]:
    """Return the texts to judge: one, several, or the one that parts of text and media make."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and 1 <= len(given) <= _MAX_INPUTS:
        if all(isinstance(item, str) for item in given):
            return given
        if all(isinstance(item, dict) and item.get("type") in ("text", "image_url") for item in given):
            return [text_of([item for item in given if item["type"] == "text"])]
    raise bad_request(
        f"input is a text, a list of 1 to {_MAX_INPUTS} texts, or a list of parts", param="input"
    )


def _result(verdict: Verdict) -> dict[str, Any]:
    names = category_names()
    scores = dict.fromkeys(names, 0.0)
    if verdict.general_harm is not None:
        scores = dict(zip(names, (*verdict.principles, verdict.general_harm), strict=True))
    return {
        "flagged": verdict.tripped or verdict.outcome is Outcome.FAILED,
        "categories": {name: name == verdict.category for name in names},
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in names},
        "medguard": verdict.to_dict(),
    }
