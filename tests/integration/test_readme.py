"""The README is true: its examples run, and its figures are the recorded ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from benchmarks.readme import README, recorded, with_figures
from medguard import Policy
from medguard.bundle import Bundle, default_bundle_path

TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(blocks("yaml")[0])
    names: dict[str, object] = {"model": FakeListChatModel(responses=["Measles, first of all."])}
    for code in blocks("python"):
        exec(code, names)  # noqa: S102 - the README's own examples
    printed = capsys.readouterr().out
    assert "Keep the wound clean" in printed
    assert "Measles" in printed
    assert "False" in printed, "the harmful request of the first example is to be blocked"


def test_the_policy_example_is_valid() -> None:
    (example,) = blocks("yaml")
    assert Policy.from_mapping(yaml.safe_load(example)).operating_point == "balanced"


def test_the_figures_are_the_recorded_ones() -> None:
    assert with_figures(TEXT, recorded(Bundle(default_bundle_path()))) == TEXT
