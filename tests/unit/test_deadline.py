from __future__ import annotations

import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from medguard.deadline import Deadline
from medguard.errors import GuardTimeoutError

LONG_S = 30.0
SHORT_S = 0.01


def test_work_in_time_gives_its_result_from_another_thread() -> None:
    assert Deadline(LONG_S).run(threading.current_thread) is not threading.current_thread()


def test_work_sees_the_callers_context() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    variable.set("caller's")
    assert Deadline(LONG_S).run(variable.get) == "caller's"


@pytest.mark.parametrize("error", [ValueError("wrong"), TimeoutError("of the work"), SystemExit(3)])
def test_work_that_raises_raises_for_the_caller(error: BaseException) -> None:
    def work() -> None:
        raise error

    deadline = Deadline(LONG_S, max_running=1)
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            deadline.run(work)
        assert caught.value is error


def test_late_work_fails_and_its_result_is_dropped() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> str:
        release.wait(LONG_S)
        ended.set()
        return "late"

    deadline = Deadline(SHORT_S)
    with pytest.raises(GuardTimeoutError, match=r"longer than the policy's timeout_s of 0.01 seconds"):
        deadline.run(work)
    assert not ended.is_set()
    release.set()
    assert ended.wait(LONG_S)


def test_threads_that_hang_are_bounded_and_given_back() -> None:
    release = threading.Event()
    begun: list[int] = []

    def hang() -> None:
        begun.append(1)
        release.wait(LONG_S)

    deadline = Deadline(SHORT_S, max_running=2)
    before = threading.active_count()
    messages = []
    for _ in range(6):
        with pytest.raises(GuardTimeoutError) as caught:
            deadline.run(hang)
        messages.append(str(caught.value))
    assert len(begun) == 2
    assert threading.active_count() == before + 2
    assert ["did not begin" in message for message in messages] == [False, False, True, True, True, True]
    hanging = [thread for thread in threading.enumerate() if thread.name == "medguard-check"]
    release.set()
    for thread in hanging:
        thread.join(LONG_S)
    assert begun == [1, 1]
    with pytest.raises(ZeroDivisionError):  # work begins again
        deadline.run(lambda: 1 // 0)


def test_a_thread_that_cannot_start_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    deadline = Deadline(LONG_S, max_running=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                deadline.run(lambda: None)
    assert deadline.run(lambda: "well") == "well"


def test_work_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = """
import threading
from medguard.deadline import Deadline
from medguard.errors import GuardTimeoutError
try:
    Deadline(0.01).run(threading.Event().wait)
except GuardTimeoutError:
    print("timed out")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "timed out\n"), done.stderr
