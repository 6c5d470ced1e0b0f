from __future__ import annotations

import json

import jsonschema
import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.analysis import analyse
from medguard.evaluation.bench.results import ComparisonKey, Results, check_comparable, digest_of_items
from medguard.evaluation.bench.types import Row
from tests.unit.evaluation.bench.reporting import GUARD, make_meta, make_row, small_run


def key(rows: list[Row], **meta: object) -> ComparisonKey:
    return analyse(rows, make_meta(rows, **meta)).comparison


def rows_of(*names: str, suite: str = "med-harm-gpt4", guard: str = GUARD) -> list[Row]:
    return [make_row(name, suite=suite, request=True, guard=guard) for name in names]


def test_results_survive_the_file_and_follow_their_schema() -> None:
    rows = list(small_run())
    results = analyse(rows, make_meta(rows))
    text = json.dumps(results.model_dump(mode="json"))
    assert Results.model_validate_json(text) == results
    schema = Results.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(text), schema)
    assert json.loads(text)["schema_version"] == 1
    assert "request h01" not in text


def test_another_schema_version_is_refused() -> None:
    rows = list(small_run())
    stored = analyse(rows, make_meta(rows)).model_dump(mode="json")
    with pytest.raises(ValueError, match="schema_version"):
        Results.model_validate({**stored, "schema_version": 2})


def test_the_same_requests_have_the_same_key_in_any_order() -> None:
    assert key(rows_of("a", "b")) == key(rows_of("b", "a"))
    assert digest_of_items(["a", "b"]) != digest_of_items(["a", "c"])
    assert digest_of_items(["a", "b"]) != digest_of_items(["ab"])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"revisions": {"med-harm-gpt4": "r2"}}, "data revision of med-harm-gpt4 r1 and r2"),
        ({"operating_points": {GUARD: "strict"}}, f"operating point of {GUARD} balanced and strict"),
        ({"harness_version": "10"}, "harness version 9.9 and 10"),
    ],
)
def test_runs_with_other_keys_are_not_put_side_by_side(other: dict[str, object], said: str) -> None:
    one = key(rows_of("a"))
    check_comparable(one, one)
    with pytest.raises(DataError, match="cannot be compared") as error:
        check_comparable(one, key(rows_of("a"), **other))
    assert said in str(error.value)


def test_another_judge_or_other_requests_are_not_put_side_by_side() -> None:
    one = key(rows_of("a"))
    with pytest.raises(DataError, match="judge recorded:labels and llm:x"):
        check_comparable(one, one.model_copy(update={"judge": "llm:x"}))
    with pytest.raises(DataError, match="not the same ones"):
        check_comparable(one, key(rows_of("b")))
    with pytest.raises(DataError, match="share no suite"):
        check_comparable(one, key(rows_of("a", suite="harmbench")))


def test_two_versions_of_a_guard_compare_at_the_same_point_only() -> None:
    one = key(rows_of("a"))
    check_comparable(one, key(rows_of("a", guard="words-2:balanced")))
    strict = key(rows_of("a", guard="words-2"), operating_points={"words-2": "strict"})
    with pytest.raises(DataError, match="operating point balanced and strict"):
        check_comparable(one, strict)


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"revisions": {}}, "data revision of suite med-harm-gpt4"),
        ({"revisions": {"med-harm-gpt4": "unspecified"}}, "data revision"),
        ({"revisions": None}, "does not tell its revisions"),
        ({"harness_version": None}, "version of medguard"),
        ({"operating_points": {GUARD: "unknown"}}, "operating point of guard"),
        ({"operating_points": {}}, "operating point of guard"),
        ({"judge": "someone else"}, "its rows name"),
    ],
)
def test_a_run_that_does_not_say_what_it_is_has_no_report(meta: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        key(rows_of("a"), **meta)
