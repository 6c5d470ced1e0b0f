from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medguard import OnError, Verdict
from medguard.audit import AuditLog
from medguard.errors import AuditError
from medguard.observe import request_id
from tests.conftest import SENTINEL
from tests.unit.observing import checker_with, sha256

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full, a device that is always full")


def lines(file: Path) -> list[dict[str, Any]]:
    content = file.read_text(encoding="ascii")
    assert content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def checks(file: Path) -> list[dict[str, Any]]:
    return [line for line in lines(file) if line["event"] == "check"]


def test_a_check_is_one_line_of_hash_and_scores(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    checker = checker_with(AuditLog(file))
    token = request_id.set("r-1")
    try:
        verdict = checker.check_prompt(f"arsenic for {SENTINEL}")
    finally:
        request_id.reset(token)
    start, check = lines(file)
    assert (start["event"], start["pid"]) == ("start", os.getpid())
    assert set(check) == {"time", "event", "request_id", "text_sha256", "text_chars", "verdict"}
    assert (check["event"], check["request_id"]) == ("check", "r-1")
    assert check["text_sha256"] == sha256(f"arsenic for {SENTINEL}")
    assert check["text_chars"] == len(f"arsenic for {SENTINEL}")
    assert Verdict.from_dict(check["verdict"]) == verdict
    assert datetime.fromisoformat(check["time"]).utcoffset() == timedelta(0)
    assert SENTINEL not in file.read_text(encoding="ascii")


def test_text_is_there_where_the_policy_says_so(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    text = "two\nlines\u2028three \U0001f600 caf\u00e9"
    checker_with(AuditLog(file), record_text=True).check_prompt(text)
    assert [check["text"] for check in checks(file)] == [text]


def test_failed_and_odd_texts_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    checker = checker_with(AuditLog(file), record_text=True, on_error=OnError.ALLOW)
    checker.check_prompts(["", "a\ud800"])
    empty, surrogate = checks(file)
    assert empty["verdict"]["outcome"] == surrogate["verdict"]["outcome"] == "failed"
    assert surrogate["text"] == "a\ud800"


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit.jsonl")
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    for _ in range(2):
        checker_with(AuditLog(file, fsync=True)).check_prompt("water")
    assert [line["event"] for line in lines(file)] == ["start", "check"] * 2


def test_full_files_are_moved_and_the_oldest_dropped(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    checker = checker_with(AuditLog(file, max_bytes=2000, backups=2, fsync=True))
    texts = [f"water {number:03}" for number in range(40)]
    checker.check_prompts(texts)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    kept = [check["text_sha256"] for name in reversed(names) for check in checks(tmp_path / name)]
    assert 3 <= len(kept) < 40
    assert kept == [sha256(text) for text in texts[-len(kept) :]]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)


def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    checker_with(AuditLog(file, max_bytes=1, backups=3)).check_prompts(["water", "wine"])
    assert [len(lines(path)) for path in sorted(tmp_path.iterdir())] == [1, 1, 1]


def test_a_file_that_cannot_be_rotated_grows_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "audit.jsonl"
    audit = AuditLog(file, max_bytes=1000, backups=1)
    (tmp_path / "audit.jsonl.1").mkdir()
    checker_with(audit).check_prompts(["water"] * 10)
    assert (len(checks(file)), audit.lost) == (10, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "audit log cannot be rotated and grows on: Is a directory"
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing/audit.jsonl", "No such file or directory"),
        (".", "Is a directory"),
        ("nul\0", "ValueError"),
        pytest.param(str(FULL), "No space left on device", marks=needs_full),
    ],
)
def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(AuditError, match=f"cannot write audit log .*: {reason}"):
        AuditLog(tmp_path / path)


@pytest.mark.parametrize(("max_bytes", "backups"), [(0, 1), (1, 0), (-1, 1)])
def test_numbers_below_one_are_refused(tmp_path: Path, max_bytes: int, backups: int) -> None:
    with pytest.raises(AuditError, match="1 or more"):
        AuditLog(tmp_path / "audit.jsonl", max_bytes, backups)
    assert list(tmp_path.iterdir()) == []


@needs_full
def test_a_disk_that_fills_later_costs_records_and_no_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, moved = tmp_path / "audit.jsonl", tmp_path / "moved.jsonl"
    audit = AuditLog(file)
    checker = checker_with(audit)
    file.rename(moved)
    file.symlink_to(FULL)
    verdicts = checker.check_prompts(["water", "arsenic", SENTINEL])
    assert [verdict.allowed for verdict in verdicts] == [True, False, True]
    assert audit.lost == 3
    file.unlink()
    moved.rename(file)
    checker.check_prompts(["wine", "milk"])
    assert audit.lost == 3
    assert [line["event"] for line in lines(file)] == ["start", "gap", "check", "check"]
    assert lines(file)[1]["lost"] == 3
    assert [record.getMessage() for record in caplog.records] == [
        "audit log cannot be written: No space left on device",
        "audit log is written again; 3 judgements were lost",
    ]
    assert SENTINEL not in caplog.text


def test_a_folder_that_goes_away_costs_records_and_no_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(folder / "audit.jsonl")
    (folder / "audit.jsonl").unlink()
    folder.rmdir()
    with caplog.at_level(logging.DEBUG):
        assert checker_with(audit).check_prompt("water").allowed
    assert audit.lost == 1
    assert "No such file or directory" in caplog.text


def test_a_line_that_does_not_fit_leaves_none_of_itself(tmp_path: Path) -> None:
    code = f"""
import resource
from medguard.audit import AuditLog
from tests.unit.observing import checker_with

audit = AuditLog({str(tmp_path / "audit.jsonl")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
checker_with(audit).check_prompts(["water"] * 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
checker_with(audit).check_prompt("wine")
print(audit.lost)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lost = int(done.stdout)
    assert 0 < lost < 10
    # Every line is whole: a torn one would not be JSON.
    found = lines(tmp_path / "audit.jsonl")
    assert [line["event"] for line in found] == ["start", *["check"] * (10 - lost), "gap", "check"]


def test_threads_share_one_log(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    checker = checker_with(AuditLog(file, max_bytes=20_000, backups=50))
    start = threading.Barrier(8)

    def check(worker: int) -> None:
        start.wait(timeout=30)
        for number in range(25):
            checker.check_prompt(f"water {worker} {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(8)))
    found = [check["text_sha256"] for path in tmp_path.iterdir() for check in checks(path)]
    assert sorted(found) == sorted(sha256(f"water {w} {n}") for w in range(8) for n in range(25))
    assert len(list(tmp_path.iterdir())) > 2
