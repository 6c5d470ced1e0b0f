from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medguard import Checker, Classifier, Policy
from medguard.calibration import fewest_benign
from tests.conftest import SENTINEL

TOPICS = [
    "fever",
    "asthma",
    "insulin",
    "warfarin",
    "sleep",
    "gout",
    "eczema",
    "anaemia",
    "migraine",
    "statins",
]
FRAMES = [
    "What helps with {} at home?",
    "When should I call a doctor about {}?",
    "How do nurses explain {} to a child?",
    "Which questions about {} belong into my next visit?",
    "My mother worries about {}; what may she read?",
    "How long does {} take to settle, as a rule?",
]
PROMPTS = [frame.format(topic) for frame in FRAMES for topic in TOPICS]
ANSWER = "It depends on age and other conditions; a pharmacist can tell you more about {}."
LOOSE = ["--target-fpr", "0.1", "--confidence", "0.9"]  # 22 lines are enough


def calibrate(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "medguard", "calibrate", *map(str, arguments)]
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=environment)


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def benign(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": number, "prompt": PROMPTS[number], **fields} for number in range(count)]


def assert_one_line_error(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (2, b"", 1)
    assert SENTINEL not in text
    for word in words:
        assert word in text


class TestPolicy:
    def test_a_file_becomes_a_policy_that_keeps_the_count(
        self, tmp_path: Path, classifier: Classifier
    ) -> None:
        source, base, out = tmp_path / "in.jsonl", tmp_path / "base.yaml", tmp_path / "policy.yaml"
        records = [*benign(60), {"prompt": "Tell me how to poison a patient.", "harmful": True}]
        source.write_bytes(lines(records))
        base.write_text("action: annotate\non_error: raise\nresponse_threshold: 0.25\n")
        done = calibrate(source, *LOOSE, "--policy", base, "-o", out)
        report = done.stdout.decode()
        assert (done.returncode, done.stderr) == (0, b"")
        assert "with probability 0.9 over the draw of the 60 distinct benign lines, at most 10% of" in report
        assert "Clopper-Pearson" in report
        assert "of 1 harmful lines trip" in report
        assert "Not covered:" in report
        assert "single prompts" in report
        assert "0 benign lines left out" in report
        policy = Policy.from_yaml(out)
        assert policy.prompt_threshold is not None
        expected = {"prompt_threshold": policy.prompt_threshold}
        assert policy == Policy.from_yaml(base).model_copy(update=expected)
        head = [line for line in out.read_text().splitlines() if line.startswith("#")]
        assert "mpnet9" in head[0]
        assert "single prompts at most 0.1," in head[1]
        assert "60 distinct benign lines (0 repeats left out)" in head[1]
        assert "exchangeable" in head[2]
        verdicts = Checker(policy=policy, classifier=classifier).check_prompts(PROMPTS[:60])
        tripped = sum(verdict.tripped for verdict in verdicts)
        assert f"these lines  {tripped} of 60 trip" in report

    def test_the_policy_goes_to_standard_output_and_the_report_beside_it(self, tmp_path: Path) -> None:
        done = calibrate("-", *LOOSE, stdin=lines(benign(30)))
        (tmp_path / "policy.yaml").write_bytes(done.stdout)
        policy = Policy.from_yaml(tmp_path / "policy.yaml")
        assert done.returncode == 0
        assert policy.prompt_threshold is not None
        assert policy.response_threshold is None
        assert b"guarantee" in done.stderr

    def test_a_policy_can_be_amended_in_place(self, tmp_path: Path) -> None:
        file = tmp_path / "policy.yaml"
        file.write_text("refusal: No.\n")
        done = calibrate("-", *LOOSE, "--policy", file, "-o", file, stdin=lines(benign(30)))
        policy = Policy.from_yaml(file)
        assert done.returncode == 0
        assert policy.refusal == "No."
        assert policy.prompt_threshold is not None
        assert [path.name for path in tmp_path.iterdir()] == ["policy.yaml"]


class TestReport:
    def test_thresholds_of_categories_have_no_place_in_the_bound(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy.yaml"
        policy.write_text("category_thresholds: {principle_4: 0.9}\n")
        done = calibrate("-", *LOOSE, "--policy", policy, stdin=lines(benign(30)))
        assert_one_line_error(done, "category_thresholds", "calibrate without them")

    def test_texts_on_the_allowlist_count_like_others(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy.yaml"
        policy.write_text(f"allow_patterns: ['{PROMPTS[0].rstrip('?')}[?]']\n")
        stdin = lines(benign(30))
        with_list = json.loads(calibrate("-", *LOOSE, "--json", "--policy", policy, stdin=stdin).stdout)
        without = json.loads(calibrate("-", *LOOSE, "--json", stdin=stdin).stdout)
        assert with_list["stages"] == without["stages"]
        assert with_list["policy"]["allow_patterns"]

    def test_both_stages_with_harmful_and_repeated_lines(self) -> None:
        records = benign(40)
        for record in records[:30]:
            record["response"] = ANSWER.format(record["prompt"])
        records += [{"prompt": PROMPTS[0].upper(), "response": " "}, {"prompt": "x", "harmful": True}]
        done = calibrate("-", *LOOSE, "--json", stdin=lines(records))
        report = json.loads(done.stdout)
        prompt, response = report["stages"]["prompt"], report["stages"]["response"]
        assert (done.returncode, done.stderr) == (0, b"")
        assert (prompt["benign"], prompt["repeated_benign"], prompt["recall"]["harmful"]) == (40, 1, 1)
        assert (response["benign"], response["repeated_benign"], response["recall"]) == (30, 0, None)
        for stage in (prompt, response):
            assert stage["flagged"] <= stage["allowed"]
            assert stage["fpr_upper_bound"] <= stage["target_fpr"] == 0.1
            assert stage["expected_fpr_bound"] == (stage["allowed"] + 1) / (stage["benign"] + 1)
        assert report["joint_confidence"] == pytest.approx(0.8)
        assert report["not_covered"]
        policy = Policy.from_mapping(report["policy"])
        assert (policy.prompt_threshold, policy.response_threshold) == (
            prompt["threshold"],
            response["threshold"],
        )

    def test_a_stage_can_be_chosen(self) -> None:
        records = benign(30, response="Ask your pharmacist.")
        done = calibrate("-", *LOOSE, "--json", "--stage", "response", stdin=lines(records))
        assert list(json.loads(done.stdout)["stages"]) == ["response"]

    def test_csv_with_labels_gives_what_jsonl_gives(self) -> None:
        rows = [f'{number},"{PROMPTS[number]}",{"TRUE" if number == 3 else ""}' for number in range(30)]
        text = "\n".join(["id,prompt,harmful", *rows])
        records = benign(30)
        records[3]["harmful"] = True
        from_csv = calibrate("-", *LOOSE, "--json", "--format", "csv", stdin=text.encode())
        assert from_csv.stdout == calibrate("-", *LOOSE, "--json", stdin=lines(records)).stdout != b""


class TestRepeats:
    def test_they_count_once_and_everything_says_so(self, tmp_path: Path) -> None:
        out = tmp_path / "policy.yaml"
        copies = [{"prompt": PROMPTS[0].upper() + "." * dots} for dots in range(40)]
        copies += [{"prompt": "How to poison a patient" + "!" * signs, "harmful": True} for signs in range(9)]
        done = calibrate("-", *LOOSE, "-o", out, stdin=lines([*benign(30), *copies]))
        report = done.stdout.decode()
        assert done.returncode == 0
        assert "over the draw of the 30 distinct benign lines" in report
        assert "40 benign lines left out" in report
        assert " of 70 trip" in report
        assert "of 1 harmful lines trip" in report
        assert "8 repeats left out" in report
        assert "Assumed: future distinct benign texts are exchangeable" in report
        assert "30 distinct benign lines (40 repeats left out)" in out.read_text()

        done = calibrate("-", *LOOSE, "--json", stdin=lines([*benign(30), *copies]))
        found = json.loads(done.stdout)
        prompt = found["stages"]["prompt"]
        assert (prompt["benign"], prompt["repeated_benign"], prompt["repeated_harmful"]) == (30, 40, 8)
        assert prompt["flagged"] <= prompt["flagged_with_repeats"] <= prompt["flagged"] + 40
        assert "exchangeable" in found["assumed"]

        done = calibrate("-", *LOOSE, "--json", stdin=lines(benign(30)))
        without = json.loads(done.stdout)["stages"]["prompt"]
        bound = ("threshold", "benign", "allowed", "flagged", "fpr_upper_bound", "expected_fpr_bound")
        assert [prompt[name] for name in bound] == [without[name] for name in bound]

    def test_copies_of_one_line_are_not_enough(self, tmp_path: Path) -> None:
        out = tmp_path / "policy.yaml"
        copies = [{"prompt": PROMPTS[0] + "." * dots} for dots in range(70)]
        done = calibrate("-", *LOOSE, "-o", out, stdin=lines(copies))
        assert_one_line_error(done, "found 1", "69 repeated ones left out")
        assert not out.exists()


class TestKinds:
    def test_streamed_answers_to_conversations(self, tmp_path: Path) -> None:
        out = tmp_path / "policy.yaml"
        turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello to you."}]
        records = [
            {
                "messages": [*turns, {"role": "user", "content": prompt}],
                "response": f"{ANSWER.format(prompt)} " * 8,
            }
            for prompt in PROMPTS[:24]
        ]
        done = calibrate("-", *LOOSE, "--streamed", "-o", out, "--json", stdin=lines(records))
        stages = json.loads(done.stdout)["stages"]
        assert {stage: fit["scored"] for stage, fit in stages.items()} == {
            "prompt": "conversations",
            "response": "streamed responses",
        }
        head = out.read_text().splitlines()[1:3]
        assert "of distinct conversations at most" in head[0]
        assert "of distinct streamed responses at most" in head[1]

        whole = json.loads(calibrate("-", *LOOSE, "--json", stdin=lines(records)).stdout)["stages"]
        assert whole["prompt"] == stages["prompt"]
        assert whole["response"]["scored"] == "whole responses"
        assert whole["response"]["threshold"] != stages["response"]["threshold"]

    def test_prompts_and_conversations_together(self) -> None:
        talk = {"messages": [{"role": "user", "content": "May I ask you something about gout?"}]}
        done = calibrate("-", *LOOSE, "--json", stdin=lines([*benign(30), talk]))
        prompt = json.loads(done.stdout)["stages"]["prompt"]
        assert (prompt["scored"], prompt["benign"]) == ("single prompts and conversations", 31)

    def test_the_help_says_what_is_not_covered(self) -> None:
        text = " ".join(calibrate("--help").stdout.decode().replace("\u2502", " ").split())
        assert "--streamed" in text
        assert "the worst of several readings" in text
        assert "named operating point" in text


class TestErrors:
    def test_too_few_lines_say_how_many_are_needed(self) -> None:
        done = calibrate("-", stdin=lines(benign(5)))
        assert_one_line_error(
            done, "prompt stage", f"at least {fewest_benign(0.02, 0.95)} benign lines, found 5"
        )

    def test_harmful_lines_do_not_count(self) -> None:
        done = calibrate("-", *LOOSE, stdin=lines(benign(30, harmful=True)))
        assert_one_line_error(done, "found 0")

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b"zebrafish-sentinel-4711\n", "line 3: not valid JSON"),
            (b'{"prompt": "zebrafish-sentinel-4711", "harmful": "maybe"}\n', "line 3: field 'harmful'"),
            (b'{"prompt": "zebrafish-sentinel-4711", "response": 5}\n', "line 3: field 'response'"),
            (b'{"prompt": " "}\n', "line 3: InvalidInputError"),
            (b"\n", "line 3: the line is blank"),
        ],
    )
    def test_a_bad_line_is_fatal_and_named(self, tmp_path: Path, bad: bytes, reason: str) -> None:
        out = tmp_path / "policy.yaml"
        done = calibrate("-", *LOOSE, "-o", out, stdin=lines(benign(2)) + bad + lines(benign(30)))
        assert_one_line_error(done, reason)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["--target-fpr", "0"], "between 0 and 1"),
            (["--confidence", "1"], "between 0 and 1"),
            (["--stage", "both"], "needs lines with a response"),
            (["--stage", "middle"], "--stage"),
            (["--streamed"], "needs lines with a response"),
            (["--streamed", "--stage", "prompt"], "--streamed scores responses"),
            (["--policy", "absent.yaml"], "absent.yaml"),
            (["-o", "absent/policy.yaml"], "absent/policy.yaml.part"),
        ],
    )
    def test_misuse(self, arguments: list[str], word: str) -> None:
        assert_one_line_error(calibrate("-", *LOOSE, *arguments, stdin=lines(benign(30))), word)

    def test_the_input_is_never_overwritten(self, tmp_path: Path) -> None:
        source = tmp_path / "in.jsonl"
        source.write_bytes(lines(benign(30)))
        assert_one_line_error(calibrate(source, *LOOSE, "-o", source), "overwrite the input")
        assert source.read_bytes() == lines(benign(30))
