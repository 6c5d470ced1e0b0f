from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.config import JudgeConfig, RunConfig, SuiteConfig


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "output: runs/first\n"
        "suites: [contrast, {name: med-harm-llama3, sample: 2000}]\n"
        "subjects: [smollm2]\n"
        "judge: recorded:labels.jsonl\n"
        "guards: [medguard]\n"
        "seed: 3\n"
    )
    config = RunConfig.from_yaml(tmp_path / "run.yaml")
    assert config.suites == (SuiteConfig(name="contrast"), SuiteConfig(name="med-harm-llama3", sample=2000))
    assert config.judge == JudgeConfig(spec="recorded:labels.jsonl")
    assert (config.output, config.seed, config.engine) == (Path("runs/first"), 3, "local")


def test_what_it_was_given_comes_out_of_its_json() -> None:
    config = RunConfig.from_mapping({"suites": ["a"], "guards": ["g"], "ray": {"workers": 3}})
    assert RunConfig.from_mapping(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"suite": ["a"]}, "suite: Extra"),
        ({"suites": []}, "suites"),
        ({"suites": "contrast"}, "suites"),
        ({"suites": [{"name": "a", "limit": 1, "sample": 2}]}, "exclude each other"),
        ({"limit": 1, "sample": 2}, "exclude each other"),
        ({"limit": 0}, "limit"),
        ({"limit": "3"}, "limit"),
        ({"seed": -1}, "seed"),
        ({"guards": []}, "subjects, guards or both"),
        ({"judge": "recorded:x"}, "a judge needs subjects"),
        ({"engine": "spark"}, "engine"),
        ({"ray": {"workers": 0}}, "ray.workers"),
        ({"subjects": [""]}, "subjects.0"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError) as caught:
        RunConfig.from_mapping({"suites": ["a"], "guards": ["g"], **change})
    assert word in str(caught.value)


def test_a_judge_named_none_needs_no_subjects() -> None:
    assert RunConfig.from_mapping({"suites": ["a"], "guards": ["g"], "judge": "none"}).judge is not None


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "cannot read"), (b"\xff", "UTF-8"), (b"a: [\n", "not YAML, line"), (b"- a\n", "by name")],
)
def test_files_that_hold_no_settings(tmp_path: Path, content: bytes | None, word: str) -> None:
    if content is not None:
        (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(DataError, match=word):
        RunConfig.from_yaml(tmp_path / "run.yaml")
