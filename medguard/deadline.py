"""A time limit on work, which ends at its next step once nobody waits for it."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import Final, TypeVar

from medguard.errors import GuardTimeoutError

__all__ = ["Deadline", "Work", "is_over", "stopped_in_time", "working"]

T = TypeVar("T")

# Above what the thread pools of asyncio (32) and Starlette (40) bring at once.
_MAX_RUNNING: Final = 64
# Longest time that the process waits, at its end, for work to leave native code: it would abort it.
_LEAVING_S: Final = 1.0


class Work:
    """Work of a thread, which can be told that nobody waits for it any longer."""

    def __init__(self) -> None:
        """Begin with somebody who waits."""
        self.is_over = False
        """Whether nobody waits for it any longer."""
        self.ended = threading.Event()
        """Set once its thread has left it."""
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None

    def abandon(self) -> None:
        """Stop the step that is under way; no other begins."""
        with self._lock:
            self.is_over = True
            if self._stop is not None:
                self._stop()

    @contextmanager
    def step(self, stop: Callable[[], None]) -> Iterator[None]:
        """Mark a step that `stop` ends early."""
        with self._lock:
            if self.is_over:
                raise GuardTimeoutError("nobody waits for this check any longer")
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None


_running: Final[dict[threading.Thread, Work]] = {}
"""What the threads of all deadlines and queues do now."""
_is_leaving: Final = threading.Event()
"""Set once the process ends."""


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Mark what the caller's thread does in the block as `work`; the process stops it at its end.

    Raises:
        GuardTimeoutError: The process ends already.
    """
    thread = threading.current_thread()
    _running[thread] = work
    try:
        # Only now: either this thread sees that the process ends, or `_leave` sees this work.
        if _is_leaving.is_set():
            raise GuardTimeoutError("the process ends: nobody waits for this check any longer")
        yield
    finally:
        del _running[thread]
        work.ended.set()


def is_over() -> bool:
    """Whether the caller's thread does work that is over: nobody waits for its result."""
    work = _running.get(threading.current_thread())
    return work is not None and work.is_over


@contextmanager
def stopped_in_time(stop: Callable[[], None]) -> Iterator[None]:
    """Have `stop` called, from another thread, where nobody waits for this one's work any longer.

    That is so when its deadline passes, and at the end of the process.

    Raises:
        GuardTimeoutError: Nobody waits for it already.
    """
    work = _running.get(threading.current_thread())
    if work is None:
        yield
        return
    with work.step(stop):
        yield


class Deadline:
    """Runs work in threads of its own and stops waiting when its time is over.

    Work that says how it can be stopped (`stopped_in_time`) is; other work goes on to its end. Either way the
    result is dropped. At most `max_running` threads are alive at once, so that a classifier that hangs cannot
    gather more; while they all hang, new work waits for one of them and fails in its turn. They do not keep
    the process from ending.
    """

    def __init__(self, limit_s: float, *, max_running: int = _MAX_RUNNING) -> None:
        """Set the limits.

        Args:
            limit_s: Longest time a caller waits, in seconds.
            max_running: How many threads may be alive at once, forgotten ones among them.
        """
        self._limit_s = limit_s
        self._slots = threading.BoundedSemaphore(max_running)

    def run(self, work: Callable[[], T], *, parts: int = 1) -> T:
        """Return what `work` returns, or raise what it raises.

        `work` sees the caller's context variables.

        Args:
            work: What to do.
            parts: How many texts it is about; each has the limit's time.

        Raises:
            GuardTimeoutError: It took longer than the limit, the wait for a free thread included.
        """
        limit_s = self._limit_s * parts
        limit = f"the policy's timeout_s of {self._limit_s:g} seconds"
        limit += f" for each of {parts} texts" if parts > 1 else ""
        ends = time.monotonic() + limit_s
        if not self._slots.acquire(timeout=limit_s):
            raise GuardTimeoutError(
                f"the guard did not begin within {limit}: too many earlier checks are still running"
            )
        done: Future[T] = Future()
        running, context = Work(), copy_context()

        def target() -> None:
            try:
                with working(running):
                    done.set_result(context.run(work))
            except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                done.set_exception(error)
            finally:
                self._slots.release()

        try:
            threading.Thread(target=target, name="medguard-check", daemon=True).start()
        except BaseException:
            self._slots.release()
            raise
        is_done = False
        try:
            # Not `done.result(timeout)`: its TimeoutError could not be told from one that `work` raised.
            is_done = bool(wait([done], timeout=max(0.0, ends - time.monotonic())).done)
        finally:
            if not is_done:
                running.abandon()
        if not is_done:
            raise GuardTimeoutError(f"the guard took longer than {limit}")
        return done.result()


@atexit.register
def _leave() -> None:
    """Stop what still runs, and give it a moment to leave native code."""
    _is_leaving.set()
    ends = time.monotonic() + _LEAVING_S
    left = list(_running.values())
    for work in left:
        work.abandon()
    for work in left:
        work.ended.wait(max(0.0, ends - time.monotonic()))
