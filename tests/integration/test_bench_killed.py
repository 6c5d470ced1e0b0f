"""A run that is killed twenty times loses nothing that it stored, and goes on where it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from medguard.evaluation.bench.store import Store

ROOT = Path(__file__).parents[2]
REQUESTS = 400
KILLS = 20

# Answers and levels differ from life to life, so that a stored one that is made anew would show.
LIFE = """
import os, sys
from pathlib import Path
from medguard.evaluation.bench.pipeline import SilentProgress, run_bench
from medguard.evaluation.bench.types import Answer, GuardScore, Judgement
from tests.unit.evaluation.bench.running import LengthJudge, Parrot, WordGuard, make_suite

folder, life, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
diary = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(kind):
    os.write(diary, kind)

class Subject(Parrot):
    def answer(self, prompts):
        note(b"a" * len(prompts))
        return [Answer(f"life {life}: {prompt}") for prompt in prompts]

class Judge(LengthJudge):
    def judge(self, items, answers, policy):
        note(b"j" * len(items))
        return [Judgement(1 + life % 5, (life,)) for _ in items]

class Guard(WordGuard):
    def _say(self, text):
        return GuardScore(False, life / 100)

class Diary(SilentProgress):
    def advance(self, done, failed):
        note(b"." * done)

run_bench(
    folder, suites=[make_suite(count)], subjects=[Subject()], judge=Judge(), guards=[Guard()],
    batches=(1, 2, 3), progress=Diary(),
)
"""


def stored(folder: Path) -> dict[tuple[str, str], object]:
    """All that a run holds, piece by piece."""
    found: dict[tuple[str, str], object] = {}
    with Store.open(folder) as store:
        for row in store.rows():
            pieces = {
                "answer": row.answer,
                "judgement": row.judgement,
                "request score": row.prompt_scores or None,
                "answer score": row.answer_scores or None,
            }
            found |= {(row.item.id, name): piece for name, piece in pieces.items() if piece is not None}
    return found


def test_kill_9_twenty_times_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    folder, diary = tmp_path / "run", tmp_path / "diary"
    diary.touch()
    before: dict[tuple[str, str], object] = {}
    arguments = [str(REQUESTS), str(diary)]
    for life in range(KILLS):
        begun = diary.stat().st_size
        until = chance.randint(1, 40)
        with subprocess.Popen(
            [sys.executable, "-c", LIFE, str(folder), str(life), *arguments], cwd=ROOT
        ) as process:
            while diary.stat().st_size < begun + until:
                assert process.poll() is None, "it ended before it was killed: make the run longer"
                time.sleep(0.001)
            time.sleep(chance.uniform(0.0, 0.01))
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        now = stored(folder)
        assert len(now) >= diary.read_bytes().count(b"."), "something that was stored is gone"
        assert {key: now.get(key) for key in before} == before
        before = now
    subprocess.run([sys.executable, "-c", LIFE, str(folder), "99", *arguments], cwd=ROOT, check=True)
    end = stored(folder)
    assert len(end) == 4 * REQUESTS
    assert {key: end[key] for key in before} == before
    # Each life makes the calls again that it was killed in: one batch at most.
    calls = diary.read_bytes()
    assert calls.count(b"a") <= REQUESTS + KILLS
    assert calls.count(b"j") <= REQUESTS + 2 * KILLS
