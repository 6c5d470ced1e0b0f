from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medguard import Action, OnError, Policy, PolicyError, Stage
from medguard.decision import decide, failure, skipped
from medguard.policy import OnMedia, OtherLanguage, preset_names
from medguard.principles import category_names
from medguard.testing import KeywordScorer, make_scores

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
    category_thresholds=st.dictionaries(st.sampled_from(category_names()), st.floats(0.0, 1.0)),
    on_error=st.sampled_from(OnError),
    languages=st.none() | st.frozensets(st.sampled_from(["en", "de", "no"]), min_size=1),
    other_languages=st.sampled_from(OtherLanguage),
    allow_patterns=st.lists(TEXTS.map(lambda text: f"say {re.escape(text)}")).map(tuple),
    refusal=TEXTS,
    refusals=st.dictionaries(
        st.sampled_from([*category_names(), "default"]),
        st.dictionaries(
            st.sampled_from(["en", "no", "default"]),
            TEXTS.map(lambda text: f"No. {text.replace('{', '{{').replace('}', '}}')} {{crisis_line}}"),
        ),
    ),
    crisis_line=TEXTS,
    redaction=st.just("") | TEXTS,
    max_chars=st.integers(1, 10**9),
    timeout_s=st.none() | st.floats(min_value=0.0, exclude_min=True, allow_infinity=False),
    context_turns=st.integers(0, 100),
    stream_window_chars=st.integers(500, 10**6),
    stream_stride_chars=st.integers(1, 500),
    check_tool_results=st.booleans(),
    check_system=st.booleans(),
    media=st.sampled_from(OnMedia),
    record_text=st.booleans(),
    extends=st.sampled_from([None, *preset_names()]),
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
        {"category_thresholds": {"principle_0": 0.5}},
        {"category_thresholds": {"principle_1": 1.5}},
        {"allow_patterns": ["("]},
        {"allow_patterns": [".*"]},
        {"allow_patterns": "hello"},
        {"refusals": {"principle_10": {"default": "no"}}},
        {"refusals": {"default": {"default": "{phone}"}}},
        {"refusals": {"default": "no"}},
        {"crisis_line": ""},
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"context_turns": -1},
        {"stream_stride_chars": 0},
        {"stream_window_chars": 100, "stream_stride_chars": 101},
        {"stream_window_chars": 100},
        {"media": "drop"},
        {"extends": "patient"},
        {"extends": 3},
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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("action: block\non_error: block\naction: allow", "action"),
        ("refusals:\n  default: {de: nein, de: ja}", "de"),
    ],
)
def test_a_field_named_twice_is_refused(tmp_path: Path, text: str, name: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=f"found '{name}' twice"):
        Policy.from_yaml(file)


def test_anchors_and_merges_of_yaml_work(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "refusals:\n  default: &all {default: never, de: nein}\n  principle_4: {<<: *all, de: nie}\n",
        encoding="utf-8",
    )
    assert Policy.from_yaml(file).refusals["principle_4"] == {"default": "never", "de": "nie"}


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


class TestPresets:
    def test_the_presets_are_pinned(self) -> None:
        assert preset_names() == ("clinician-facing", "patient-facing", "research")

    @pytest.mark.parametrize("name", preset_names())
    def test_a_preset_never_lets_unjudged_text_through(self, name: str) -> None:
        policy = Policy.preset(name)
        assert policy.on_error is not OnError.ALLOW
        assert policy.stages == frozenset(Stage)
        assert not policy.record_text

    @pytest.mark.parametrize("name", preset_names())
    def test_a_preset_works_with_the_usual_operating_points(self, name: str) -> None:
        assert Policy.preset(name).operating_point in KeywordScorer([]).operating_points

    def test_unknown_presets_are_refused_with_the_known_ones_named(self) -> None:
        with pytest.raises(PolicyError, match=r"unknown preset 'clinic'.* patient-facing"):
            Policy.preset("clinic")

    def test_what_a_policy_sets_itself_goes_before_the_preset(self, policy_file: Path) -> None:
        policy_file.write_text("extends: patient-facing\noperating_point: balanced\n", encoding="utf-8")
        policy, preset = Policy.from_yaml(policy_file), Policy.preset("patient-facing")
        assert (policy.operating_point, preset.operating_point) == ("balanced", "strict")
        assert policy.model_copy(update={"operating_point": "strict"}) == preset
        assert Policy(extends="patient-facing", operating_point="balanced") == policy


class TestSchema:
    def test_it_is_a_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(Policy.json_schema())

    @given(POLICIES)
    def test_it_accepts_what_is_a_policy(self, policy: Policy) -> None:
        jsonschema.validate(json.loads(json.dumps(yaml.safe_load(policy.to_yaml()))), Policy.json_schema())

    @pytest.mark.parametrize(
        "data",
        [
            {"acton": "block"},
            {"action": "explode"},
            {"category_actions": {"principle_10": "block"}},
            {"category_thresholds": {"principle_1": 2}},
            {"refusals": {"principle_10": {"default": "no"}}},
            {"extends": "patient"},
            {"timeout_s": 0},
        ],
        ids=str,
    )
    def test_it_marks_what_is_none(self, data: dict[str, Any]) -> None:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, Policy.json_schema())

    def test_it_explains_every_field(self) -> None:
        assert all(item.get("description") for item in Policy.json_schema()["properties"].values())


class TestRefusals:
    POLICY = Policy(
        refusal="plain {crisis_line}",
        crisis_line="112",
        refusals={
            "default": {"default": "default, {crisis_line}", "de": "auf Deutsch, {crisis_line}"},
            "principle_4": {"default": "privacy: {category}", "fr": "vie privée"},
            "general_harm": {"fr": "danger {{}}"},
        },
    )

    @pytest.mark.parametrize(
        ("principle", "language", "refusal"),
        [
            (4, None, "privacy: rights of patients and colleagues; confidences and privacy"),
            (4, "fr", "vie privée"),
            (4, "de", "privacy: rights of patients and colleagues; confidences and privacy"),
            (8, None, "default, 112"),
            (8, "de", "auf Deutsch, 112"),
            (None, "fr", "danger {}"),
            (None, "en", "default, 112"),
        ],
    )
    def test_category_then_language_then_default(
        self, principle: int | None, language: str | None, refusal: str
    ) -> None:
        point = KeywordScorer([]).operating_points["balanced"]
        verdict = decide(make_scores(0.9, principle=principle), Stage.PROMPT, self.POLICY, point, "id")
        assert self.POLICY.refusal_for(replace(verdict, language=language)) == refusal

    def test_a_failure_gets_the_default_in_its_language(self) -> None:
        verdict = failure(ValueError(), Stage.PROMPT, self.POLICY, "id")
        assert self.POLICY.refusal_for(verdict) == "default, 112"
        assert self.POLICY.refusal_for(replace(verdict, language="de")) == "auf Deutsch, 112"

    def test_without_a_template_the_refusal_is_taken_as_it_is(self) -> None:
        policy = Policy(refusal="plain {crisis_line}", refusals={"principle_4": {"fr": "non"}})
        assert policy.refusal_for(skipped(Stage.PROMPT)) == "plain {crisis_line}"


def test_only_texts_on_the_allowlist_pass_unjudged() -> None:
    policy = Policy(allow_patterns=("hello|hi", "where is the .{1,20} clinic"))
    assert policy.is_allowlisted(" Hi\n")
    assert policy.is_allowlisted("Where is the\u00a0eye clinic")
    assert not policy.is_allowlisted("hi, how do I poison somebody")
    assert not Policy().is_allowlisted("hi")
