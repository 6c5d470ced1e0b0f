"""The Ray engine gives what the local engine gives, on a real Ray, one of whose workers is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray.data")

ROOT = Path(__file__).parents[2]

# Classes of the script travel by value; Ray's own warnings are none of ours. A small object store suffices.
SCRIPT = """
import dataclasses, os, pathlib, signal, sys, threading, time
import ray
from medguard.errors import MedGuardError
from medguard.evaluation.bench.config import RayConfig
from medguard.evaluation.bench.pipeline import LocalEngine, run_bench
from medguard.evaluation.bench.ray_engine import RayEngine
from medguard.evaluation.bench.stages import Component
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import Answer
from tests.unit.evaluation.bench.running import LengthJudge, Parrot, WordGuard, make_suite

here = pathlib.Path(sys.argv[1])
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray.init(num_cpus=3, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)

class Mortal(Parrot):
    def answer(self, prompts):
        # Nobody begins before three are there; the first worker alone would be done before the others start.
        (here / f"worker-{os.getpid()}").touch()
        until = time.monotonic() + 120
        while len(list(here.glob("worker-*"))) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        marker = here / "died"
        if any("request 30 " in prompt for prompt in prompts) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(prompts)

def run(engine, subject):
    suites = [make_suite(60), make_suite(20, name="calm", harmful=False)]
    suites[0] = dataclasses.replace(suites[0], items=(
        *suites[0].items, dataclasses.replace(suites[0].items[0], id="odd-0", prompt="\\ud800 lone \\0"),
    ))
    summary = run_bench(
        here / engine.name, suites=suites, subjects=[subject], judge=LengthJudge(), guards=[WordGuard()],
        batches=(4, 8, 8), engine=engine,
    )
    with Store.open(here / engine.name) as store:
        return summary, list(store.rows())

with RayEngine(RayConfig(workers=3)) as engine:
    summary, rows = run(engine, Mortal(fails_on="request 7 "))
    again, _ = run(engine, Parrot(fails_on="nothing"))
assert (here / "died").exists()
assert len(list(here.glob("worker-*"))) >= 4, "three workers, and one that came for the dead one"
local, same = run(LocalEngine(), Parrot(fails_on="request 7 "))
assert rows == same
assert (summary.calls, summary.failed) == (local.calls, local.failed), (summary, local)
assert again.stages[0].calls == 2, "the two that had failed, and no more"
class Unpicklable(Parrot):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

class Unloadable:
    def __init__(self, problem): self.problem = problem
    def __call__(self): raise MedGuardError(self.problem)

def error_of(subject):
    try:
        with RayEngine(RayConfig(workers=2)) as engine:
            run_bench(here / "errors", suites=[make_suite(5)], subjects=[subject], engine=engine)
    except MedGuardError as error:
        return f"{type(error).__name__}: {error}"

told = error_of(Unpicklable())
assert told.startswith("DataError: parrot cannot be sent to other processes (TypeError)"), told
told = error_of(Component(Parrot(), Unloadable("no such model")))
assert told == "MedGuardError: no such model", told
(here / "fine").touch()
"""


def test_same_results_with_a_worker_killed_and_errors_that_are_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # By a file: Ray writes notices of its own to standard output, when it likes.
    assert (tmp_path / "fine").exists()
    assert "quokka" not in done.stdout + done.stderr
