"""`BatchingScorer`: calls from several threads, scored together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from medguard.bundle import OperatingPoint
from medguard.classifier import Scorer
from medguard.errors import ProviderError
from medguard.scores import Scores

__all__ = ["BatchingScorer"]

_MAX_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class _Job:
    prompts: list[str]
    responses: list[str] | None
    done: Future[list[Scores]] = field(default_factory=Future)


class BatchingScorer:
    """A classifier that merges what several threads ask of it at the same time.

    One thread of its own scores; what arrives meanwhile waits and is scored together next. Nobody waits for
    company unless `max_wait_ms` says so. A batch that fails is scored again call by call, so that one bad
    text fails its own call alone.
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
            RuntimeError: No thread is to be had.
            Exception: Whatever the classifier raised for these texts.
        """
        if not prompts:
            return []
        job = _Job(list(prompts), None if responses is None else list(responses))
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
        return job.done.result()

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
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._max_wait_s and not self._closed:
                self._changed.wait_for(
                    lambda: self._waiting >= self._max_batch or self._closed, timeout=self._max_wait_s
                )
            batch: list[_Job] = []
            texts = 0
            while self._jobs and (not batch or self._fits(batch[0], texts)):
                batch.append(self._jobs.popleft())
                texts += len(batch[-1].prompts)
            self._waiting -= texts
            return batch

    def _fits(self, first: _Job, texts: int) -> bool:
        """Whether the next call goes with `first`: requests with requests, answers with answers."""
        head = self._jobs[0]
        return (head.responses is None) == (first.responses is None) and (
            texts + len(head.prompts) <= self._max_batch
        )

    def _score(self, batch: list[_Job]) -> None:
        prompts = [text for job in batch for text in job.prompts]
        responses = None
        if batch[0].responses is not None:
            responses = [text for job in batch for text in job.responses or ()]
        try:
            scores = self.classifier.score_many(prompts, responses)
            if len(scores) != len(prompts):
                raise ProviderError(f"the classifier gave {len(scores)} scores for {len(prompts)} texts")  # noqa: TRY301
        except BaseException as error:  # noqa: BLE001 - the callers', whatever it is; the thread goes on
            if len(batch) == 1:
                batch[0].done.set_exception(error)
                return
            for job in batch:
                self._score([job])
            return
        start = 0
        for job in batch:
            job.done.set_result(scores[start : start + len(job.prompts)])
            start += len(job.prompts)
