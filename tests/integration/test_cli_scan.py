from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCAN = [sys.executable, "-W", "error", "-m", "medguard", "scan"]
KEYS = ["id", "allowed", "action", "stage", "prompt_score", "principles"]


def scan(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*SCAN, *map(str, arguments)], input=stdin, capture_output=True, check=False)


def rows(data: bytes) -> list[dict[str, Any]]:
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [
        {"id": f"r{number}", "prompt": "Is this normal? " * (1 + number * 7 % 11)} for number in range(600)
    ]
    lines[5]["response"] = "Yes, it usually is."
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_one_row_per_line_in_order(source: Path) -> None:
    done = scan(source)
    found = rows(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row["id"] for row in found] == [f"r{number}" for number in range(600)]
    assert list(found[0]) == KEYS
    assert list(found[5]) == [*KEYS, "response_score", "response_allowed"]
    assert found[5]["stage"] == "response" or not found[5]["allowed"]
    assert 1.0 <= found[5]["response_score"] <= 5.0
    assert list(found[0]["principles"]) == [str(number) for number in range(1, 10)]
    assert all(0.0 <= row["prompt_score"] <= 1.0 for row in found)


def test_a_file_is_written_beside_and_renamed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    done = scan(source, "--output", out)
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(rows(out.read_bytes())) == 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_standard_input_and_output_give_what_files_give(source: Path, tmp_path: Path) -> None:
    scan(source, "--output", tmp_path / "out.jsonl")
    assert (
        scan("-", "--output", "-", stdin=source.read_bytes()).stdout == (tmp_path / "out.jsonl").read_bytes()
    )


def test_csv_gives_what_jsonl_gives(tmp_path: Path) -> None:
    records = [{"id": "1", "prompt": 'two\nlines, "quoted"', "response": "Yes."}, {"id": "2", "prompt": "b"}]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", "prompt", "response"])
    writer.writeheader()
    writer.writerows(records)
    (tmp_path / "in.CSV").write_bytes(text.getvalue().encode("utf-8-sig"))
    from_jsonl = scan("-", stdin="\n".join(map(json.dumps, records)).encode()).stdout
    assert rows(scan(tmp_path / "in.CSV").stdout) == rows(from_jsonl)
    assert rows(scan("-", "--format", "csv", stdin=text.getvalue().encode()).stdout) == rows(from_jsonl)


def test_an_empty_file_is_a_complete_scan(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").touch()
    done = scan(tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert (done.returncode, done.stderr, (tmp_path / "out.jsonl").read_bytes()) == (0, b"", b"")


def test_options_reach_the_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("prompt_threshold: 0.0\naction: annotate\n")
    line = b'{"prompt": "hello"}'
    assert rows(scan("-", "--policy", tmp_path / "policy.yaml", stdin=line).stdout)[0]["action"] == "annotate"
    for arguments in (["--operating-point", "lenient"], ["--bundle", str(tmp_path)]):
        assert scan("-", *arguments, stdin=line).returncode == 2


class TestBadLines:
    DATA = b'{"id": 1, "prompt": "a"}\nsecret\n{"id": 3, "prompt": ""}\n{"id": 4, "prompt": "b"}\n\n'

    def test_are_rows_and_messages_and_status_1(self) -> None:
        done = scan("-", stdin=self.DATA)
        found = rows(done.stdout)
        assert done.returncode == 1
        assert [row["id"] for row in found] == [1, None, 3, 4]
        assert found[1] == {
            "id": None,
            "line": 2,
            "allowed": False,
            "action": "block",
            "stage": None,
            "error": "not valid JSON (column 1)",
        }
        assert (found[2]["allowed"], found[2]["line"], found[2]["prompt_score"]) == (False, 3, None)
        assert b"medguard: line 2: not valid JSON" in done.stderr
        assert b"medguard: line 3: InvalidInputError" in done.stderr
        assert b"4 lines" in done.stderr
        assert b"secret" not in done.stderr + done.stdout

    def test_strict_ends_at_the_first_with_whole_lines_before_it(self, tmp_path: Path) -> None:
        out = tmp_path / "out.jsonl"
        done = scan("-", "--strict", "-o", out, stdin=self.DATA)
        assert (done.returncode, done.stderr) == (2, b"medguard: line 2: not valid JSON (column 1)\n")
        assert not out.exists()
        assert [row["id"] for row in rows((tmp_path / "out.jsonl.part").read_bytes())] == [1]

    def test_a_policy_that_raises_is_strict(self, tmp_path: Path) -> None:
        (tmp_path / "policy.yaml").write_text("on_error: raise\n")
        data = b'{"id": 1, "prompt": "a"}\n{"prompt": ""}\n'
        done = scan("-", "--policy", tmp_path / "policy.yaml", stdin=data)
        assert done.returncode == 2
        assert b"line 2" in done.stderr
        assert [row["id"] for row in rows(done.stdout)] == [1]

    def test_a_line_of_enormous_size(self) -> None:
        line = b'{"prompt": "' + b"a" * (17 * 2**20) + b'"}\n{"id": 2, "prompt": "b"}'
        done = scan("-", stdin=line)
        assert done.returncode == 1
        assert [(row["id"], row.get("error")) for row in rows(done.stdout)] == [
            (None, "longer than 16 MiB"),
            (2, None),
        ]

    def test_broken_csv_is_fatal_after_the_rows_before_it(self) -> None:
        done = scan("-", "--format", "csv", stdin=b'id,prompt\n1,a\n2,"secret\n')
        assert done.returncode == 2
        assert [row["id"] for row in rows(done.stdout)] == ["1"]
        assert b"broken CSV quoting" in done.stderr
        assert b"secret" not in done.stderr


class TestFiles:
    @pytest.mark.parametrize("name", ["in.jsonl", "link.jsonl", "./sub/../in.jsonl", "in.jsonl.part"])
    def test_the_input_is_never_overwritten(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "sub").mkdir()
        source = tmp_path / ("in.jsonl.part" if name.endswith(".part") else "in.jsonl")
        source.write_bytes(b'{"prompt": "a"}\n')
        (tmp_path / "link.jsonl").symlink_to(source)
        out = tmp_path / name.removesuffix(".part")
        done = scan(source, "--format", "jsonl", "-o", out)
        assert done.returncode == 2
        assert b"overwrite the input" in done.stderr
        assert source.read_bytes() == b'{"prompt": "a"}\n'

    def test_a_link_is_written_through(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "out.jsonl").symlink_to(tmp_path / "real" / "out.jsonl")
        assert scan(source, "-o", tmp_path / "out.jsonl").returncode == 0
        assert (tmp_path / "out.jsonl").is_symlink()
        assert len(rows((tmp_path / "real" / "out.jsonl").read_bytes())) == 600

    def test_a_device_is_written_and_not_replaced(self, source: Path) -> None:
        assert scan(source, "-o", os.devnull).returncode == 0
        assert Path(os.devnull).is_char_device()

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["absent.jsonl"], "absent.jsonl"),
            (["."], "--format"),
            ([".", "--format", "csv"], "directory"),
            (["in.txt"], "--format"),
            (["-", "-o", "absent/out.jsonl"], "absent/out.jsonl.part"),
            (["-", "-o", "."], "directory"),
            (["-", "--format", "xml"], "--format"),
            ([], "Missing argument"),
        ],
    )
    def test_misuse(self, arguments: list[str], word: str) -> None:
        done = scan(*arguments, stdin=b'{"prompt": "secret"}')
        assert done.returncode == 2
        assert done.stdout == b""
        assert done.stderr.count(b"\n") == 1
        assert word in done.stderr.decode()
        assert b"secret" not in done.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    @pytest.mark.parametrize("to_stdout", [True, False])
    def test_a_full_disk(self, source: Path, to_stdout: bool) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*SCAN, source] if to_stdout else [*SCAN, source, "-o", "/dev/full"],
                stdout=full if to_stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 2
        assert b"No space left" in done.stderr
        assert done.stderr.count(b"\n") == 1


class TestStreams:
    def test_a_reader_that_goes_away_ends_the_scan_quietly(self) -> None:
        with subprocess.Popen(
            [*SCAN, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(b'{"prompt": "hello"}\n' * 512)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["allowed"] in (True, False)
            process.stdout.close()
            process.stdin.write(b'{"prompt": "hello"}\n' * 512)
            process.stdin.close()
            assert process.stderr.read() == b""
            assert process.wait() == 141

    def test_rows_come_before_the_input_ends(self) -> None:
        with subprocess.Popen([*SCAN, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b'{"prompt": "hello"}\n' * 512)
            process.stdin.flush()
            for _ in range(512):
                assert process.stdout.readline().endswith(b"\n")
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait() == 0

    def test_an_interrupt_leaves_whole_lines_and_no_finished_file(self, tmp_path: Path) -> None:
        out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
        # A shell starts background jobs with the signal ignored; a test run may be one.
        program = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from medguard.cli.app import main; main()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, "scan", "-", "-o", str(out)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            # More than a chunk and the pipe hold: once all is taken in, the first chunk is written.
            process.stdin.write(b'{"prompt": "hello"}\n' * 8192)
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            assert process.stderr.read() == b"medguard: interrupted\n"
            assert process.wait() == 130
        assert not out.exists()
        assert len(rows(part.read_bytes())) >= 512

    @pytest.mark.parametrize("on_terminal", [True, False])
    def test_a_progress_bar_is_shown_on_a_terminal_only(self, source: Path, on_terminal: bool) -> None:
        ours, theirs = pty.openpty() if on_terminal else os.pipe()
        with subprocess.Popen(
            [*SCAN, source],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"},
        ) as process:
            os.close(theirs)
            shown = b"".join(iter(lambda: read_until_closed(ours), b""))
            assert process.wait() == 0
        os.close(ours)
        assert (b"600 lines" in shown) == on_terminal


def read_until_closed(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how a terminal says on Linux that the other end was closed
        return b""
