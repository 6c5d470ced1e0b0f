from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from medguard.policy import Policy, preset_names


def medguard_policy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "medguard", "policy", *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"},
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("medguard: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_the_schema_checks_policy_files() -> None:
    done = medguard_policy("schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema == Policy.json_schema()
    jsonschema.validate({"extends": "research", "action": "shadow"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"acton": "shadow"}, schema)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_shown_with_its_comments_and_is_itself_a_policy(tmp_path: Path, name: str) -> None:
    shown = medguard_policy("show", name)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("# For ")
    file = tmp_path / "policy.yaml"
    file.write_text(shown.stdout, encoding="utf-8")
    assert Policy.from_yaml(file) == Policy.preset(name).model_copy(update={"extends": None})
    assert medguard_policy("validate", str(file)).returncode == 0


def test_a_valid_file_is_said_to_be_valid(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("extends: patient-facing\ncrisis_line: 144\n", encoding="utf-8")
    assert_one_line_error(medguard_policy("validate", str(file)), "crisis_line", "valid string")
    file.write_text("extends: patient-facing\ncrisis_line: '144'\n", encoding="utf-8")
    done = medguard_policy("validate", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: valid policy\n", "")
    full = medguard_policy("validate", str(file), "--full")
    assert Policy.from_mapping(yaml.safe_load(full.stdout)) == Policy.from_yaml(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("acton: block", ["acton", "Extra inputs"]),
        ("action: explode\nmax_chars: 0", ["action", "max_chars"]),
        ("operating_point: lenient", ["'lenient'", "balanced"]),
        ("allow_patterns: ['.*']", ["allow_patterns", "at large"]),
        ("{", ["not YAML"]),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(tmp_path: Path, content: str, words: list[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content, encoding="utf-8")
    assert_one_line_error(medguard_policy("validate", str(file)), *words)


def test_misuse() -> None:
    assert_one_line_error(medguard_policy("validate", "/nowhere/policy.yaml"), "cannot read policy file")
    assert_one_line_error(medguard_policy("show", "clinic"), "unknown preset", "patient-facing")
    assert_one_line_error(medguard_policy("explode"))
    assert_one_line_error(medguard_policy("validate"))
    assert medguard_policy().returncode == 2
    assert "validate" in medguard_policy("--help").stdout
