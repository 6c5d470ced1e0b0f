"""A time limit on work that cannot be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Final, TypeVar

from medguard.errors import GuardTimeoutError

__all__ = ["Deadline"]

T = TypeVar("T")

# Above what the thread pools of asyncio (32) and Starlette (40) bring at once.
_MAX_RUNNING: Final = 64


class Deadline:
    """Runs work in threads of its own and stops waiting when its time is over.

    A running inference cannot be interrupted: its thread goes on to the end and the result is dropped. At
    most `max_running` threads are alive at once, so that a classifier that hangs cannot gather more; while
    they all hang, new work waits for one of them and fails in its turn. They do not keep the process from
    ending.
    """

    def __init__(self, limit_s: float, *, max_running: int = _MAX_RUNNING) -> None:
        """Set the limits.

        Args:
            limit_s: Longest time a caller waits, in seconds.
            max_running: How many threads may be alive at once, forgotten ones among them.
        """
        self._limit_s = limit_s
        self._slots = threading.BoundedSemaphore(max_running)

    def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises.

        `work` sees the caller's context variables.

        Raises:
            GuardTimeoutError: It took longer than the limit, the wait for a free thread included.
        """
        ends = time.monotonic() + self._limit_s
        if not self._slots.acquire(timeout=self._limit_s):
            raise GuardTimeoutError(
                f"the guard did not begin within the policy's timeout_s of {self._limit_s:g} seconds: "
                "too many earlier checks are still running"
            )
        done: Future[T] = Future()
        context = copy_context()

        def target() -> None:
            try:
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
        # Not `done.result(timeout)`: its TimeoutError could not be told from one that `work` raised.
        if not wait([done], timeout=max(0.0, ends - time.monotonic())).done:
            raise GuardTimeoutError(
                f"the guard took longer than the policy's timeout_s of {self._limit_s:g} seconds"
            )
        return done.result()
