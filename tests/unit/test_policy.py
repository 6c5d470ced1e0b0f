from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medguard import Action, OnError, Policy, PolicyError, Stage
from medguard.principles import category_names

THRESHOLDS = st.none() | st.floats(0.0, 1.0)
# Any text but surrogates; NUL and the like included.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
POLICIES = st.builds(
    Policy,
    operating_point=TEXTS,
    prompt_threshold=THRESHOLDS,
    response_threshold=THRESHOLDS,
    stages=st.frozensets(st.sampled_from(Stage), min_size=1),
    action=st.sampled_from(Action),
    category_actions=st.dictionaries(st.sampled_from(category_names()), st.sampled_from(Action)),
    on_error=st.sampled_from(OnError),
    refusal=TEXTS,
    max_chars=st.integers(1, 10**9),
)


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policy") / "policy.yaml"


@given(POLICIES)
def test_policy_survives_yaml(policy_file: Path, policy: Policy) -> None:
    policy_file.write_text(policy.to_yaml(), encoding="utf-8", newline="")
    assert Policy.from_yaml(policy_file) == policy


@given(st.text(min_size=1).filter(lambda key: key not in Policy.model_fields))
def test_unknown_fields_are_refused(key: str) -> None:
    with pytest.raises(PolicyError, match="Extra inputs"):
        Policy.from_mapping({key: 1})


@pytest.mark.parametrize(
    "data",
    [
        {"prompt_threshold": 1.5},
        {"prompt_threshold": float("nan")},
        {"response_threshold": -0.1},
        {"stages": []},
        {"stages": ["both"]},
        {"action": "explode"},
        {"category_actions": {"principle_10": "block"}},
        {"category_actions": {"general_harm": "explode"}},
        {"on_error": "ignore"},
        {"refusal": ""},
        {"refusal": None},
        {"max_chars": 0},
        ["action"],
        "block",
        None,
    ],
    ids=str,
)
def test_wrong_policies_are_refused(data: Any) -> None:
    with pytest.raises(PolicyError, match="not a valid policy"):
        Policy.from_mapping(data)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "a: [",
        "a: 2024-13-45",
        "a: !!int x",
        "a: !!python/object:os.system x",
        "[" * 5000,
        "a: b: c",
        "\x00",
    ],
    ids=lambda text: text[:16],
)
def test_bad_yaml_is_a_policy_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match="not YAML"):
        Policy.from_yaml(file)


def test_unreadable_files_are_a_policy_error(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(PolicyError, match="cannot read policy file"):
            Policy.from_yaml(path)


def test_yaml_stays_readable() -> None:
    assert "refusal: Das geht nicht, für Sie da: 112" in Policy(
        refusal="Das geht nicht, für Sie da: 112"
    ).to_yaml().replace("'", "")


def test_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("# nothing set\n", encoding="utf-8")
    assert Policy.from_yaml(file) == Policy()


def test_default_policy_fails_closed_and_checks_both_stages() -> None:
    policy = Policy()
    assert policy.on_error is OnError.BLOCK
    assert policy.action is Action.BLOCK
    assert policy.stages == {Stage.PROMPT, Stage.RESPONSE}
    assert policy.operating_point == "balanced"


def test_policy_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Policy().action = Action.ALLOW  # type: ignore[misc]


def test_category_action_overrides_the_action() -> None:
    policy = Policy(category_actions={"principle_4": Action.ANNOTATE})
    assert policy.action_for("principle_4") is Action.ANNOTATE
    assert policy.action_for("principle_5") is Action.BLOCK
    assert policy.action_for(None) is Action.BLOCK
