"""Guards under test: MedGuard, and adapters for others, so that all stand in one table."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from medguard.errors import InvalidInputError, ProviderError
from medguard.evaluation.bench.classifier_judge import TEACHER
from medguard.evaluation.bench.names import own_name
from medguard.evaluation.bench.types import Guard, GuardScore, Subject
from medguard.policy import Policy
from medguard.verdict import Verdict

__all__ = ["CallableGuard", "ChatGuard", "MedGuardGuard", "ModerationGuard", "load_guard"]

_KEY: Final = "MEDGUARD_MODERATION_KEY"


def load_guard(spec: str) -> Guard:
    """Make a guard of its specification.

    Args:
        spec: ``medguard`` or ``medguard:POLICY.yaml``; ``python:MODULE:FUNCTION`` (a function of a text, and
            of an answer where it takes ``response``, that returns a bool, a score, or both as a pair);
            ``llm-guard:SCANNER`` (an input scanner of LLM Guard); ``moderation:URL#MODEL`` (an endpoint like
            OpenAI's); ``llama-guard:SUBJECT`` (a chat model that answers safe or unsafe).

    Raises:
        InvalidInputError: It is none of these.
        PolicyError: The policy file is wrong.
        ProviderError: A library is missing, or the function cannot be imported.
    """
    kind, _, rest = spec.partition(":")
    if kind == "medguard":
        return MedGuardGuard(Policy.from_yaml(Path(rest)) if rest else Policy())
    if kind == "python" and ":" in rest:
        return CallableGuard(spec, _imported(rest))
    if kind == "llm-guard" and rest:
        return CallableGuard(spec, _llm_guard(rest))
    if kind == "moderation" and rest:
        return ModerationGuard(rest)
    if kind == "llama-guard" and rest:
        from medguard.evaluation.bench.subjects import load_subject

        return ChatGuard(load_subject(rest))
    raise InvalidInputError(
        "a guard is medguard[:POLICY.yaml], python:MODULE:FUNCTION, llm-guard:SCANNER, moderation:URL#MODEL "
        "or llama-guard:SUBJECT"
    )


class MedGuardGuard:
    """MedGuard itself under a policy; what its policy would block or redact counts as flagged."""

    distilled_from = TEACHER

    def __init__(self, policy: Policy) -> None:
        """Guard under `policy`."""
        self._policy = policy
        self.operating_point = policy.operating_point

    @cached_property
    def _checker(self) -> Any:
        from medguard.checker import Checker

        return Checker(policy=self._policy)

    @property
    def name(self) -> str:
        """Bundle with a digest of it, and operating point; a policy of one's own adds its digest."""
        plain = Policy(operating_point=self._policy.operating_point)
        own = "" if self._policy == plain else _digest(self._policy.to_yaml())
        return own_name(self._checker.classifier.config, self.operating_point, own)

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        """Score requests."""
        return list(map(_score, self._checker.check_prompts(prompts)))

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        """Score answers in the light of their requests."""
        return list(map(_score, self._checker.check_responses(prompts, answers)))


class CallableGuard:
    """Any function of a text."""

    distilled_from = None
    operating_point = "own"

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Name the guard and give its function."""
        self.name = name
        self._function = function

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        """Call the function on each request; an exception of its own is a failure, not a verdict."""
        return [self._call(prompt) for prompt in prompts]

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        """None: such a guard judges requests alone."""
        return None

    def _call(self, prompt: str) -> GuardScore:
        started = time.perf_counter()
        try:
            flagged, score = _read(self._function(prompt))
        except Exception as error:  # noqa: BLE001 - whatever the guard raises belongs to this text alone
            return GuardScore(flagged=True, error=type(error).__name__)
        return GuardScore(flagged, score, seconds=time.perf_counter() - started)


class ModerationGuard:
    """An endpoint like OpenAI's ``/moderations``; the key is in ``MEDGUARD_MODERATION_KEY``."""

    distilled_from = None
    operating_point = "own"

    def __init__(self, spec: str) -> None:
        """Read ``URL#MODEL``; the model may be left out."""
        self.name = f"moderation:{spec}"
        self._url, _, self._model = spec.partition("#")

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        """Ask for each request; the score is that of the highest category."""
        import httpx

        key = os.environ.get(_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(timeout=120, headers=headers) as client:
            return [self._ask(client, prompt) for prompt in prompts]

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        """Ask for each answer, without its request, as such an endpoint takes it."""
        return self.check_prompts(answers)

    def _ask(self, client: Any, text: str) -> GuardScore:
        import httpx

        started = time.perf_counter()
        body = {"input": text} | ({"model": self._model} if self._model else {})
        try:
            reply = client.post(f"{self._url.rstrip('/')}/moderations", json=body)
            reply.raise_for_status()
            (result,) = reply.json()["results"]
            scores = [float(value) for value in (result.get("category_scores") or {}).values()]
            flagged = bool(result["flagged"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return GuardScore(flagged=True, error=type(error).__name__)
        return GuardScore(flagged, max(scores, default=None), seconds=time.perf_counter() - started)


class ChatGuard:
    """A chat model that answers ``safe`` or ``unsafe``, as Llama Guard does."""

    distilled_from = None
    operating_point = "own"

    def __init__(self, model: Subject) -> None:
        """Guard with `model`."""
        self.name = f"llama-guard:{model.name}"
        self._model = model

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        """Read the first word of each reply; another word is a failure."""
        scores = []
        for answer in self._model.answer(prompts):
            word = (answer.text or "").strip().split("\n")[0].strip().lower()
            error = None if word in ("safe", "unsafe") else (answer.error or "no verdict")
            scores.append(GuardScore(flagged=word != "safe", error=error, seconds=answer.seconds))
        return scores

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[GuardScore] | None:
        """None: its template for answers is the model's own and not known here."""
        return None


def _score(verdict: Verdict) -> GuardScore:
    return GuardScore(
        flagged=not verdict.allowed,
        score=verdict.score,
        error=None if verdict.error is None else verdict.error.partition(":")[0],
        seconds=verdict.latency_ms / 1000.0,
    )


def _read(found: Any) -> tuple[bool, float | None]:
    """A bool, a score in [0, 1] (flagged from 0.5 on), or both as a pair."""
    if isinstance(found, bool):
        return found, None
    if isinstance(found, tuple):
        flagged, score = found
        return bool(flagged), None if score is None else float(score)
    return float(found) >= 0.5, float(found)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ProviderError(f"cannot import the guard {path}: {type(error).__name__}") from error
    if not callable(function):
        raise ProviderError(f"the guard {path} is no function")
    checked: Callable[..., Any] = function
    return checked


def _llm_guard(scanner: str) -> Callable[..., Any]:
    try:
        scanners = importlib.import_module("llm_guard.input_scanners")
        made = getattr(scanners, scanner)()
    except Exception as error:
        # A missing package, an unknown name, a scanner that needs settings or weights.
        raise ProviderError(
            f"LLM Guard's scanner {scanner} cannot be loaded ({type(error).__name__}: {error}); one that "
            "needs settings goes into a function of your own: python:MODULE:FUNCTION"
        ) from error

    def scan(text: str) -> tuple[bool, float]:
        _, is_valid, risk = made.scan(text)
        return not is_valid, float(risk)

    return scan
