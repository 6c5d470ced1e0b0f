"""`Checker`: a classifier and a policy. Texts in, verdicts out; knows no model and no framework."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from medguard.classifier import Classifier, Scorer
from medguard.deadline import Deadline, is_over
from medguard.decision import (
    decide,
    failure,
    require_checkable,
    require_language,
    resolve_operating_point,
    skipped,
)
from medguard.errors import InvalidInputError, MedGuardError, ProviderError
from medguard.language import detect_language, require_detector
from medguard.observe import Observer, notify, observation_of
from medguard.policy import OnError, Policy
from medguard.verdict import Stage, Verdict

__all__ = ["Checker", "readable_context"]

logger = logging.getLogger(__name__)


class Checker:
    """Judges requests and answers under a policy. Safe to share between threads.

    It judges what it is asked to: the policy's `stages` say what a guard around a model asks.

    Under the policy's `timeout_s` the classifier runs in threads of its own: when time is over the text
    counts as one that the guard failed to judge, and the classifier ends early. Requests checked in one call
    (`check_prompts`, or a guard's batch) have as much time as one by one; the texts of one request share it.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        classifier: Scorer | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Join `policy` and `classifier`.

        Args:
            policy: What to block and how; the default blocks at the ``balanced`` operating point.
            classifier: The classifier; None loads the bundled one.
            observers: Told of every judgement, failed and skipped ones too; see `medguard.observe`.

        Raises:
            PolicyError: The policy names an operating point that the classifier lacks.
            BundleError: The classifier cannot be loaded.
            ProviderError: No inference runtime is installed, or no language detector where the policy lists
                languages.
        """
        self.policy = Policy() if policy is None else policy
        self.classifier: Scorer = Classifier.load() if classifier is None else classifier
        self.observers = tuple(observers)
        self._deadline = None if self.policy.timeout_s is None else Deadline(self.policy.timeout_s)
        self._point = resolve_operating_point(self.policy, self.classifier.operating_points)
        if self.policy.languages is not None:
            require_detector()

    def check_prompt(self, prompt: str) -> Verdict:
        """Judge a request alone.

        Raises:
            InvalidInputError: `prompt` is not a str. (Text that cannot be judged gives a failed verdict,
                or raises under ``on_error: raise``.)
        """
        return self.check_prompts([_require_str(prompt)])[0]

    def check_response(self, response: str, *, prompt: str = "") -> Verdict:
        """Judge an answer, in the light of the request where it is known.

        Raises:
            InvalidInputError: An argument is not a str.
        """
        return self.check_responses([_require_str(prompt)], [_require_str(response)])[0]

    def check_prompts(self, prompts: Sequence[str]) -> list[Verdict]:
        """Judge many requests in one classifier call; one that cannot be judged gives a failed verdict."""
        return self.judge(Stage.PROMPT, prompts, requests=len(prompts))

    def check_responses(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Judge many answers, each in the light of its request (an empty str where that is unknown).

        Raises:
            InvalidInputError: There is not one prompt per response.
        """
        return self.judge(Stage.RESPONSE, prompts, responses, requests=len(prompts))

    def judge(
        self,
        stage: Stage,
        prompts: Sequence[object],
        responses: Sequence[object] | None = None,
        *,
        requests: int = 1,
    ) -> list[Verdict]:
        """Give one verdict per text.

        Args:
            stage: What is judged: the prompts, or the responses.
            prompts: Requests. Whatever stands where a text should be (an exception says why there is none)
                gives a failed verdict.
            responses: Answers, at the response stage only.
            requests: How many requests the texts belong to; each has the policy's time.

        Raises:
            InvalidInputError: A str instead of a sequence, or not one prompt per response.
            MedGuardError: Something could not be judged and the policy says ``on_error: raise``.
        """
        verdicts: list[Verdict] = []
        for judgement in self.judge_each(stage, prompts, responses, requests=requests):
            if isinstance(judgement, MedGuardError):
                raise judgement
            verdicts.append(judgement)
        return verdicts

    def judge_each(
        self,
        stage: Stage,
        prompts: Sequence[object],
        responses: Sequence[object] | None = None,
        *,
        requests: int = 1,
    ) -> list[Verdict | MedGuardError]:
        """Judge like `judge`, with errors in place of verdicts; the only place that makes verdicts.

        Raises:
            InvalidInputError: A str instead of a sequence, or not one prompt per response.
        """
        _require_pairs(stage, prompts, responses)
        started, started_unix_ns = time.perf_counter(), time.time_ns()
        judged = prompts if responses is None else responses
        languages = [self._language(text) for text in judged]
        judgements = [
            self._settled_unscored(text, language, stage)
            for text, language in zip(judged, languages, strict=True)
        ]
        sound = [index for index, judgement in enumerate(judgements) if judgement is None]
        scored = self._score_in_time(
            stage,
            [readable_context(prompts[index], self.policy.max_chars) for index in sound],
            None if responses is None else [cast("str", responses[index]) for index in sound],
            requests=requests,
        )
        for index, judgement in zip(sound, scored, strict=True):
            judgements[index] = judgement
        elapsed_ms = (time.perf_counter() - started) * 1000.0 / max(len(judged), 1)
        settled = [
            replace(item, latency_ms=elapsed_ms, language=language) if isinstance(item, Verdict) else item
            for item, language in zip(judgements, languages, strict=True)
            if item is not None
        ]
        self._tell(stage, judged, settled, started_unix_ns, elapsed_ms)
        return settled

    def _score_in_time(
        self, stage: Stage, prompts: list[str], responses: list[str] | None, *, requests: int
    ) -> list[Verdict | MedGuardError]:
        """Score texts; all fail where the policy's time is over before the last one is scored."""
        if self._deadline is None or not prompts:
            return self._score(stage, prompts, responses)
        try:
            parts = min(requests, len(prompts))
            return self._deadline.run(lambda: self._score(stage, prompts, responses), parts=parts)
        except Exception as error:  # noqa: BLE001 - fail closed on anything, such as no thread to be had
            return [self._failed(error, stage) for _ in prompts]

    def _score(
        self, stage: Stage, prompts: list[str], responses: list[str] | None
    ) -> list[Verdict | MedGuardError]:
        """Score texts; one that breaks the classifier does not fail the others, each then scored alone."""
        if not prompts:
            return []
        try:
            scores = self.classifier.score_many(prompts, responses)
            if len(scores) != len(prompts):
                raise ProviderError(f"the classifier gave {len(scores)} scores for {len(prompts)} texts")  # noqa: TRY301
            return [decide(item, stage, self.policy, self._point, self.classifier.id) for item in scores]
        except Exception as error:
            if is_over():  # stopped: all have failed by now
                raise
            if len(prompts) == 1:
                return [self._failed(error, stage)]
        return [
            self._score(stage, [prompt], None if responses is None else [responses[index]])[0]
            for index, prompt in enumerate(prompts)
        ]

    def _language(self, text: object) -> str | None:
        if self.policy.languages is None or not isinstance(text, str):
            return None
        return detect_language(text[: self.policy.max_chars])

    def _settled_unscored(
        self, text: object, language: str | None, stage: Stage
    ) -> Verdict | MedGuardError | None:
        """Judgement of what the classifier cannot judge or, by the policy's patterns, need not; else None."""
        if isinstance(text, Exception):
            return self._failed(text, stage)
        try:
            readable = require_checkable(text, self.policy.max_chars)
            if self.policy.is_allowlisted(readable):
                return skipped(stage)
            require_language(language, self.policy)
        except Exception as error:  # noqa: BLE001 - fail closed on anything
            return self._failed(error, stage)
        return None

    def _tell(
        self,
        stage: Stage,
        texts: Sequence[object],
        judgements: Sequence[Verdict | MedGuardError],
        started_unix_ns: int,
        latency_ms: float,
    ) -> None:
        """Tell the observers; an error that stands in place of a verdict is shown as a failed one."""
        if not self.observers:
            return
        ended_unix_ns = time.time_ns()
        for text, judgement in zip(texts, judgements, strict=True):
            verdict = judgement
            if isinstance(verdict, MedGuardError):
                failed = failure(verdict, stage, self.policy, self.classifier.id)
                verdict = replace(failed, latency_ms=latency_ms)
            observation = observation_of(
                text,
                verdict,
                record_text=self.policy.record_text,
                started_unix_ns=started_unix_ns,
                ended_unix_ns=ended_unix_ns,
            )
            notify(self.observers, observation)

    def _failed(self, error: Exception, stage: Stage) -> Verdict | MedGuardError:
        logger.warning(
            "guard failed at stage %s, on_error %s: %s",
            stage.value,
            self.policy.on_error.value,
            type(error).__name__,
        )
        if self.policy.on_error is not OnError.RAISE:
            return failure(error, stage, self.policy, self.classifier.id)
        if isinstance(error, MedGuardError):
            return error
        # Without its cause, whose message may quote the text.
        return ProviderError(f"the classifier failed with {type(error).__name__}")


def readable_context(prompt: object, max_chars: int) -> str:
    """A request that could not be read gives an answer no context; the answer is still judged."""
    if not isinstance(prompt, str):
        return ""
    return prompt[:max_chars].encode("utf-8", "replace").decode("utf-8")  # without lone surrogates


def _require_pairs(stage: Stage, prompts: Sequence[object], responses: Sequence[object] | None) -> None:
    if isinstance(prompts, str | bytes) or isinstance(responses, str | bytes):
        raise InvalidInputError("the guard checks a sequence of texts here: found a single one")
    if (responses is None) != (stage is Stage.PROMPT):
        raise InvalidInputError("responses are judged at the response stage and only there")
    if responses is not None and len(prompts) != len(responses):
        raise InvalidInputError(
            f"expected one prompt per response, found {len(prompts)} for {len(responses)}"
        )


def _require_str(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInputError(f"the guard checks text: expected str, found {type(text).__name__}")
    return text
