from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures import wait as real_wait
from contextvars import ContextVar
from typing import Any

import pytest

from medguard.deadline import Deadline, Work, is_over, stopped_in_time, working
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


def test_work_is_stopped_once_nobody_waits_for_it() -> None:
    stopped, ended = threading.Event(), threading.Event()
    seen: list[object] = []

    def work() -> None:
        seen.append(is_over())
        with stopped_in_time(stopped.set):
            seen.append(stopped.wait(LONG_S))
        seen.append(is_over())
        try:
            with stopped_in_time(lambda: seen.append("stopped")):
                seen.append("begun")
        except GuardTimeoutError:
            seen.append("refused")
        ended.set()

    with pytest.raises(GuardTimeoutError):
        Deadline(SHORT_S).run(work)
    assert ended.wait(LONG_S)
    assert seen == [False, True, True, "refused"]


def test_only_the_step_under_way_is_stopped() -> None:
    release, ended = threading.Event(), threading.Event()
    stopped: list[str] = []

    def work() -> None:
        with stopped_in_time(lambda: stopped.append("first")):
            pass
        with stopped_in_time(lambda: (stopped.append("second"), release.set())[0]):
            release.wait(LONG_S)
        ended.set()

    with pytest.raises(GuardTimeoutError):
        Deadline(SHORT_S).run(work)
    assert ended.wait(LONG_S)
    assert stopped == ["second"]


def test_work_in_time_and_work_without_a_deadline_is_not_stopped() -> None:
    stopped: list[bool] = []

    def work() -> bool:
        with stopped_in_time(lambda: stopped.append(True)):
            return is_over()

    assert Deadline(LONG_S).run(work) is False
    assert work() is False
    assert stopped == []


def test_work_is_stopped_when_its_caller_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        with stopped_in_time(stopped.set):
            stopped.wait(LONG_S)

    with monkeypatch.context() as patch:
        patch.setattr("medguard.deadline.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Deadline(LONG_S).run(work)
    assert stopped.wait(LONG_S)


def test_each_of_several_parts_has_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def wait_not(futures: list[Future[None]], timeout: float) -> Any:
        waited.append(timeout)
        return real_wait([], timeout=0)

    monkeypatch.setattr("medguard.deadline.wait", wait_not)
    with pytest.raises(GuardTimeoutError, match="timeout_s of 1000 seconds for each of 3 texts"):
        Deadline(1000.0).run(lambda: None, parts=3)
    assert 2000.0 < waited[0] <= 3000.0


def test_threads_that_hang_are_bounded_and_given_back() -> None:
    release = threading.Event()
    begun: list[int] = []

    def hang() -> None:
        begun.append(1)
        release.wait(LONG_S)

    # Long enough for a thread to begin on a busy machine.
    deadline = Deadline(0.25, max_running=2)
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


def test_work_without_a_deadline_can_be_abandoned_too() -> None:
    stopped, work = threading.Event(), Work()
    seen: list[bool] = []

    def wait_for_the_end() -> None:
        with working(work), stopped_in_time(stopped.set):
            seen.append(is_over())
            stopped.wait(LONG_S)
            seen.append(is_over())
        seen.append(is_over())

    thread = threading.Thread(target=wait_for_the_end)
    with working(Work()):  # another's
        thread.start()
        while not seen:
            thread.join(0.001)
        assert not work.ended.is_set()
        work.abandon()
        assert work.ended.wait(LONG_S)
        assert not is_over()
    thread.join(LONG_S)
    assert seen == [False, True, False]


def test_the_process_stops_work_at_its_end_and_lets_none_begin() -> None:
    code = """
import atexit, threading
seen, entered, stopped, ended = [], threading.Event(), threading.Event(), threading.Event()
atexit.register(lambda: print(ended.wait(30), *seen))  # runs last
from medguard.deadline import Work, stopped_in_time, working
from medguard.errors import GuardTimeoutError
def work():
    with working(Work()), stopped_in_time(stopped.set):
        entered.set()
        seen.append(stopped.wait(30))
    try:
        with working(Work()):
            seen.append("begun")
    except GuardTimeoutError:
        seen.append("refused")
    ended.set()
threading.Thread(target=work, daemon=True).start()
entered.wait(30)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True True refused\n"), done.stderr


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
