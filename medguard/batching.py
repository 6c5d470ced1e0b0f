"""`BatchingScorer`: calls from several threads, scored together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from medguard.bundle import OperatingPoint
from medguard.classifier import Scorer
from medguard.deadline import Work, stopped_in_time, working
from medguard.errors import GuardTimeoutError, ProviderError
from medguard.scores import Scores

__all__ = ["BatchingScorer"]

_MAX_BATCH: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    prompts: list[str]
    responses: list[str] | None
    done: Future[list[Scores]] = field(default_factory=Future)

    def settle(self, outcome: list[Scores] | BaseException) -> None:
        """Give the caller scores or an error, unless an outcome is there already."""
        with suppress(InvalidStateError):
            if isinstance(outcome, BaseException):
                self.done.set_exception(outcome)
            else:
                self.done.set_result(outcome)


class BatchingScorer:
    """A classifier that merges what several threads ask of it at the same time.

    One thread of its own scores; what arrives meanwhile waits and is scored together next. Nobody waits for
    company unless `max_wait_ms` says so. A batch that fails is scored again call by call, so that one bad
    text fails its own call alone.

    A call whose deadline passes (`medguard.deadline`) is over at once: it leaves the queue, and what is being
    scored is stopped when all calls in it are over. While somebody waits for one of them it goes on.
    """

    def __init__(self, classifier: Scorer, max_batch: int = _MAX_BATCH, max_wait_ms: float = 0.0) -> None:
        """Put `classifier` behind a queue.

        Args:
            classifier: What scores; called from one thread only.
            max_batch: Most texts that are merged into one call. A single call for more is not split.
            max_wait_ms: Longest time that the first call of a batch waits for others, in milliseconds.

        Raises:
            ValueError: `max_batch` is below 1 or `max_wait_ms` is negative.
        """
        if max_batch < 1 or not max_wait_ms >= 0.0:
            raise ValueError(f"need max_batch >= 1 and max_wait_ms >= 0, found {max_batch=}, {max_wait_ms=}")
        self.classifier = classifier
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000.0
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._scored: list[_Job] = []
        """What is scored now, or was last; `_run` is the work on it."""
        self._run = Work()
        self._changed = threading.Condition()
        self._closed = False
        self._worker: threading.Thread | None = None

    @property
    def id(self) -> str:
        """Identifier of the classifier."""
        return self.classifier.id

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Named thresholds of the classifier."""
        return self.classifier.operating_points

    @property
    def waiting(self) -> int:
        """How many texts wait to be scored; those being scored are not counted."""
        return self._waiting

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Score requests, or answers to them, together with what other threads ask; blocks until done.

        Raises:
            ProviderError: The scorer is closed, or the classifier gave too few scores.
            GuardTimeoutError: The caller's deadline has passed, or the process ends.
            RuntimeError: No thread is to be had.
            Exception: Whatever the classifier raised for these texts.
        """
        if not prompts:
            return []
        job = _Job(list(prompts), None if responses is None else list(responses))
        with stopped_in_time(lambda: self._drop(job)):
            self._add(job)
            return job.done.result()

    def _add(self, job: _Job) -> None:
        """Put a call into the queue, and start the thread with the first."""
        with self._changed:
            if self._closed:
                raise ProviderError("the classifier's queue is closed")
            if self._worker is None:
                worker = threading.Thread(target=self._work, name="medguard-batching", daemon=True)
                worker.start()
                # Only now: a start can fail, and the next call has to try again.
                self._worker = worker
            self._jobs.append(job)
            self._waiting += len(job.prompts)
            self._changed.notify_all()

    def _drop(self, job: _Job) -> None:
        """End a call that nobody waits for, and what is being scored where nobody waits for any of it."""
        job.settle(GuardTimeoutError("nobody waits for this check any longer"))
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting -= len(job.prompts)
            elif all(other.done.done() for other in self._scored):
                self._run.abandon()

    def close(self) -> None:
        """Score what waits, then end; later calls raise. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._score(batch)

    def _next_batch(self) -> list[_Job]:
        """Wait for calls and take as many of one kind as fit; empty once closed and done."""
        with self._changed:
            self._wait_for_calls()
            batch: list[_Job] = []
            texts = 0
            while self._jobs and (not batch or self._fits(batch[0], texts)):
                batch.append(self._jobs.popleft())
                texts += len(batch[-1].prompts)
            self._waiting -= texts
            return batch

    def _wait_for_calls(self) -> None:
        """Wait for calls and for their company, or until closed; calls may be dropped while they wait."""
        while not self._closed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._max_wait_s:
                self._changed.wait_for(
                    lambda: self._waiting >= self._max_batch or self._closed, timeout=self._max_wait_s
                )
            if self._jobs:
                return

    def _fits(self, first: _Job, texts: int) -> bool:
        """Whether the next call goes with `first`: requests with requests, answers with answers."""
        head = self._jobs[0]
        return (head.responses is None) == (first.responses is None) and (
            texts + len(head.prompts) <= self._max_batch
        )

    def _score(self, batch: list[_Job]) -> None:
        """Score the calls that somebody waits for: together or, where that fails, one by one."""
        work = Work()
        with self._changed:
            batch = [job for job in batch if not job.done.done()]
            self._scored, self._run = batch, work
        if not batch:
            return
        try:
            with working(work):
                scores = self._scores(batch)
        except BaseException as error:  # noqa: BLE001 - the callers', whatever it is; the thread goes on
            if len(batch) == 1:
                batch[0].settle(error)
                return
            for job in batch:
                self._score([job])
            return
        start = 0
        for job in batch:
            job.settle(scores[start : start + len(job.prompts)])
            start += len(job.prompts)

    def _scores(self, batch: list[_Job]) -> list[Scores]:
        """Have the classifier score calls of one kind together."""
        prompts = [text for job in batch for text in job.prompts]
        responses = None
        if batch[0].responses is not None:
            responses = [text for job in batch for text in job.responses or ()]
        scores = self.classifier.score_many(prompts, responses)
        if len(scores) != len(prompts):
            raise ProviderError(f"the classifier gave {len(scores)} scores for {len(prompts)} texts")
        return scores
