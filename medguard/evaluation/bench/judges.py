"""Judges: an LLM over any chat model, recorded labels, and the distilled classifier.

The texts of requests and answers are given to the judge's model and nowhere else; no error quotes them.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from medguard.deadline import Deadline
from medguard.errors import DataError, GuardTimeoutError
from medguard.evaluation.bench.classifier_judge import ClassifierJudge
from medguard.evaluation.bench.judge_labels import RecordedJudge
from medguard.evaluation.bench.judge_models import (
    Asker,
    EndpointAsker,
    JudgeCallError,
    LangChainAsker,
    RawReply,
    chat_model,
    split_url_spec,
)
from medguard.evaluation.bench.rubric import REMINDER, Wording, load_wording, parse_reply
from medguard.evaluation.bench.types import Guard, Judge, Judgement, SuiteItem, SuitePolicy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "LlmJudge",
    "LlmSettings",
    "NoJudge",
    "Usage",
    "cost_of",
    "load_judge",
    "refuse_own_pupil",
]

_SPECS: Final = "recorded:FILE, classifier[:BUNDLE], llm:PROVIDER:MODEL, llm:URL#MODEL or none"
_PRICE_UNIT: Final = 1_000_000


class LlmSettings(BaseModel):
    """How an LLM judge is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Calls at once."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """Calls for one answer, malformed replies and passing failures included, before it counts as failed."""
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest wait for one call, in seconds."""
    backoff_s: Annotated[float, Field(ge=0, le=600)] = 1.0
    """Wait before the second attempt, in seconds; doubles with each further one."""
    backoff_max_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Longest such wait, a server's Retry-After included, in seconds."""
    max_output_tokens: Annotated[int, Field(ge=16, le=32_768)] = 256
    """Longest reply of a model at a URL or in a batch file, in tokens."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """None leaves it out, for models that refuse it."""
    wording: Path | None = None
    """Folder with wording files in place of the project's own; see `rubric.load_wording`."""
    input_price: Annotated[float, Field(ge=0)] | None = None
    """Price of a million input tokens, in any currency."""
    output_price: Annotated[float, Field(ge=0)] | None = None
    """Price of a million output tokens, in the same currency."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a judge has used so far."""

    calls: int = 0
    retries: int = 0
    """Calls beyond the first for an answer."""
    failures: int = 0
    """Answers without a judgement after all attempts."""
    input_tokens: int = 0
    output_tokens: int = 0


def cost_of(input_tokens: int, output_tokens: int, settings: LlmSettings) -> float | None:
    """Price tokens; None where `settings` lacks a price."""
    if settings.input_price is None or settings.output_price is None:
        return None
    return (input_tokens * settings.input_price + output_tokens * settings.output_price) / _PRICE_UNIT


@dataclass(slots=True)
class _Run:
    """State that the threads of one call of `judge_each` share."""

    stop: threading.Event
    hopeless: str | None = None


class LlmJudge:
    """Scores answers with a chat model, by the five-level rubric.

    A blank answer is harmfulness 1 without a call. Safe to share between threads.

    Example:
        >>> judge = LlmJudge(chat_model("openai:gpt-4.1"), name="gpt-4.1")
    """

    def __init__(
        self,
        model: BaseChatModel | Asker,
        *,
        name: str,
        settings: LlmSettings | None = None,
        wording: Wording | None = None,
        seed: int | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: A LangChain chat model, or anything with the one method of `Asker`.
            name: The model's name; the judge's own adds what else changes judgements.
            settings: Limits and prices.
            wording: Given wording; else the one that `settings` names.
            seed: Of the random part of waits; changes no judgement.

        Raises:
            DataError: The wording cannot be read.
        """
        self.settings = LlmSettings() if settings is None else settings
        self.wording = load_wording(self.settings.wording) if wording is None else wording
        self._asker: Asker = model if hasattr(model, "ask") else LangChainAsker(model)
        heat = "" if self.settings.temperature == 0.0 else f",t={self.settings.temperature}"
        self._name = f"llm:{name}@{self.wording.digest}{heat}"
        # Threads of calls that were given up live on until the provider's own time-out.
        self._deadline = Deadline(self.settings.timeout_s, max_running=4 * self.settings.concurrency)
        self._lock = threading.Lock()
        self._usage = Usage()
        self._resume_at = 0.0
        self._random = random.Random(seed)

    @property
    def name(self) -> str:
        """Model, digest of the wording, and temperature where it is not 0."""
        return self._name

    @property
    def usage(self) -> Usage:
        """Calls and tokens so far."""
        with self._lock:
            return self._usage

    @property
    def cost(self) -> float | None:
        """Price of the tokens so far; None where the settings lack a price."""
        used = self.usage
        return cost_of(used.input_tokens, used.output_tokens, self.settings)

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        """Judge one answer per item; a failure takes the judgement's place.

        Raises:
            DataError: Numbers of items and answers differ.
        """
        found = dict(self.judge_each(items, answers, policy))
        return [found[index] for index in range(len(items))]

    def judge_each(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> Iterator[tuple[int, Judgement]]:
        """Yield (index, judgement) as they arrive, in any order, so that each can be stored at once.

        After a failure that no call can escape (a refused key, an unknown model) the rest fails uncalled.

        Raises:
            DataError: Numbers of items and answers differ.
        """
        if len(items) != len(answers):
            raise DataError(f"expected one answer per item, found {len(answers)} for {len(items)}")
        run = _Run(threading.Event())
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="medguard-judge")
        try:
            futures = {
                pool.submit(self._judge_one, item.prompt, answer, policy, run): index
                for index, (item, answer) in enumerate(zip(items, answers, strict=True))
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            run.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _judge_one(self, prompt: str, answer: str, policy: SuitePolicy, run: _Run) -> Judgement:
        if not answer.strip():
            return Judgement(harmfulness=1)
        system, user = self.wording.system(policy), self.wording.user(prompt, answer)
        spent = Judgement(harmfulness=None)
        problem, reminder, tried = "", "", 0
        while tried < self.settings.attempts:
            self._await_turn(run)
            if run.hopeless is not None or run.stop.is_set():
                problem = run.hopeless or problem
                break
            tried += 1
            try:
                raw = self._call(partial(self._asker.ask, system, user + reminder, policy), tried)
            except GuardTimeoutError:
                problem = f"the judge gave no reply within {self.settings.timeout_s:g} seconds"
                self._back_off(tried, None, run)
                continue
            except JudgeCallError as error:
                problem = str(error)
                if error.is_hopeless:
                    run.hopeless = problem
                if not error.is_passing:
                    break
                self._back_off(tried, error.retry_after_s, run, for_all=error.status == 429)
                continue
            spent = replace(
                spent,
                input_tokens=spent.input_tokens + raw.input_tokens,
                output_tokens=spent.output_tokens + raw.output_tokens,
            )
            try:
                reply = parse_reply(raw.content, policy)
            except DataError as error:
                problem, reminder = str(error), f"\n\n{REMINDER}"
            else:
                return replace(spent, harmfulness=reply.harmfulness, violates=reply.violates)
        self._count(failures=1)
        return replace(
            spent, error=f"{problem or 'stopped'} (after {tried} {'call' if tried == 1 else 'calls'})"
        )

    def _call(self, ask: Callable[[], RawReply], tried: int) -> RawReply:
        self._count(calls=1, retries=int(tried > 1))
        raw = self._deadline.run(ask)
        self._count(input_tokens=raw.input_tokens, output_tokens=raw.output_tokens)
        return raw

    def _count(self, **more: int) -> None:
        with self._lock:
            self._usage = replace(
                self._usage, **{name: getattr(self._usage, name) + number for name, number in more.items()}
            )

    def _await_turn(self, run: _Run) -> None:
        """Wait as long as the server asked everybody to."""
        while not run.stop.is_set():
            with self._lock:
                rest = self._resume_at - time.monotonic()
            if rest <= 0:
                return
            run.stop.wait(rest)

    def _back_off(self, tried: int, retry_after_s: float | None, run: _Run, *, for_all: bool = False) -> None:
        """Wait exponentially longer, by a random part less so that threads do not call in step."""
        if tried >= self.settings.attempts:
            return
        longest = self.settings.backoff_max_s
        with self._lock:
            share = self._random.uniform(0.5, 1.0)
            wait = share * min(longest, self.settings.backoff_s * 2.0 ** (tried - 1))
            wait = max(wait, min(longest, retry_after_s or 0.0))
            if for_all:
                self._resume_at = max(self._resume_at, time.monotonic() + wait)
        if not for_all:
            run.stop.wait(wait)


class NoJudge:
    """Judges nothing: for runs of guards alone."""

    @property
    def name(self) -> str:
        """``none``."""
        return "none"

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        """Return judgements without a level."""
        return [Judgement(harmfulness=None) for _ in items]


def load_judge(spec: str, *, settings: LlmSettings | None = None) -> Judge:
    """Make the judge that `spec` names.

    Args:
        spec: ``recorded:FILE`` (labels as JSON lines), ``classifier`` or ``classifier:BUNDLE``,
            ``llm:PROVIDER:MODEL`` (as ``init_chat_model`` takes it), ``llm:URL#MODEL`` (OpenAI-compatible;
            the key comes from MEDGUARD_JUDGE_KEY), or ``none``.
        settings: Of LLM judges.

    Raises:
        DataError: No such judge, or its file or wording cannot be read.
        ProviderError: A package that it needs is missing.
        BundleError: The classifier's bundle is missing or altered.
    """
    kind, _, rest = spec.partition(":")
    if spec == "none":
        return NoJudge()
    if kind == "classifier":
        return ClassifierJudge.load(Path(rest) if rest else None)
    if kind == "recorded" and rest:
        return RecordedJudge(Path(rest))
    if kind == "llm" and rest:
        return _llm_judge(rest, LlmSettings() if settings is None else settings)
    raise DataError(f"no judge {kind!r}: expected {_SPECS}")


def _llm_judge(spec: str, settings: LlmSettings) -> LlmJudge:
    at_url = split_url_spec(spec)
    if at_url is None:
        # Made before the wording is read: a missing package is the likelier mistake.
        return LlmJudge(chat_model(spec, temperature=settings.temperature), name=spec, settings=settings)
    url, model, shown = at_url
    asker = EndpointAsker(
        url,
        model,
        timeout_s=settings.timeout_s,
        max_output_tokens=settings.max_output_tokens,
        temperature=settings.temperature,
    )
    return LlmJudge(asker, name=f"{shown}#{model}", settings=settings)


def refuse_own_pupil(judge: Judge, guard: Guard) -> None:
    """Make sure that a guard is not scored by the judge that it was distilled from, or by its own like.

    A guard that learnt a judge's labels agrees with that judge's mistakes, which no score would show.

    Raises:
        DataError: `guard` learnt from `judge`, or both run the same classifier.
    """
    kin: frozenset[str] = getattr(judge, "kin", frozenset({judge.name}))
    bundles: tuple[str, ...] = getattr(judge, "bundles", ())
    inside = (re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", guard.name) for name in bundles)
    if guard.distilled_from in kin or any(inside):
        raise DataError(
            f"judge {judge.name} cannot score guard {guard.name}, which was distilled from the same labels: "
            "choose an LLM judge or recorded labels"
        )
