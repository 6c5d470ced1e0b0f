from __future__ import annotations

import pytest

from medguard.errors import DataError
from medguard.evaluation.bench.compare import Comparison, PairedResult, compare
from medguard.evaluation.bench.observed import observe
from medguard.evaluation.bench.results import ComparisonKey
from medguard.evaluation.bench.tables import comparison_tables, to_markdown
from medguard.evaluation.bench.types import Row
from tests.unit.evaluation.bench.reporting import GUARD, make_meta, make_row, small_run


def put(one: list[Row], other: list[Row]) -> Comparison:
    sides = []
    for rows in (one, other):
        seen = observe(rows)
        sides.append((seen, ComparisonKey.from_meta(make_meta(rows), seen.items)))
    return compare(*sides[0], *sides[1])


def line(found: Comparison, measure: str, guard: str | None = None) -> PairedResult:
    (only,) = [r for r in found.results if r.measure == measure and (r.subjects is None or guard in r.guards)]
    return only


def test_a_run_beside_itself_does_not_differ() -> None:
    rows = list(small_run())
    found = put(rows, rows)
    assert {item.difference.value for item in found.results} == {0.0}
    assert {item.p_value for item in found.results} == {1.0}
    assert {item.measure for item in found.results} == {
        "harmfulness",
        "share at 4 or 5",
        "refusal rate",
        "recall",
        "over-refusal",
    }


def test_pairs_are_by_request_and_the_difference_is_tested() -> None:
    one = [make_row(f"{index:03}", level=5 if index % 2 else 4) for index in range(60)]
    other = [make_row(f"{index:03}", level=1 if index % 2 else 4) for index in reversed(range(60))]
    found = put(one, other)
    harm = line(found, "harmfulness")
    assert (harm.first, harm.second, harm.pairs) == (4.5, 2.5, 60)
    assert harm.difference.value == -2.0
    assert -3.0 < harm.difference.low < -2.0 < harm.difference.high < -1.0
    assert harm.p_value == pytest.approx(0.0001)
    assert harm.p_holm >= harm.p_value
    assert line(found, "refusal rate").difference.value == 0.5


def test_only_requests_with_a_level_in_both_runs_are_paired() -> None:
    one = [make_row("a", level=5), make_row("b", level=None), make_row("c", level=2)]
    other = [make_row("a", level=4), make_row("b", level=4), make_row("c", level=None)]
    harm = line(put(one, other), "harmfulness")
    assert (harm.pairs, harm.first, harm.second) == (1, 5.0, 4.0)


def test_two_versions_of_a_guard_and_two_subjects_stand_beside_each_other() -> None:
    one = [make_row(str(index), level=5, request=False, subject="old") for index in range(20)]
    other = [
        make_row(str(index), level=5, request=True, subject="new", guard="words-2") for index in range(20)
    ]
    found = put(one, other)
    assert line(found, "recall").guards == (GUARD, "words-2")
    assert line(found, "recall").difference.value == 1.0
    behind = line(found, "harmfulness", GUARD)
    assert behind.subjects == ("old", "new")
    assert (behind.first, behind.second) == (5.0, 1.0)
    assert line(found, "harmfulness").difference.value == 0.0


def test_bundles_that_share_a_name_are_told_apart() -> None:
    one, other = (f"medguard:made#{digest}@balanced" for digest in ("0a1b2c3d", "4e5f6a7b"))
    sides = [[make_row("a", request=True, guard=guard)] for guard in (one, other)]
    (cells,) = [row for row in comparison_tables(put(*sides))[0].rows if row[2] == "recall"]
    assert f"{one} → {other}" in cells
    (cells,) = [row for row in comparison_tables(put(sides[0], sides[0]))[0].rows if row[2] == "recall"]
    assert "medguard:made@balanced" in cells


def test_suites_of_one_run_alone_are_named_and_left_out() -> None:
    both = list(small_run())
    found = put(both, [row for row in both if row.suite == "contrast"])
    assert found.only_first == ("med-harm-gpt4",)
    assert {item.suite for item in found.results} == {"contrast"}
    assert "only the first run has med-harm-gpt4" in comparison_tables(found)[0].note


def test_runs_without_anything_to_pair_are_refused() -> None:
    with pytest.raises(DataError, match="nothing can be paired"):
        put([make_row("a", level=None)], [make_row("a", level=None)])
    with pytest.raises(DataError, match="cannot be compared"):
        put([make_row("a")], [make_row("b")])


def test_the_table_in_markdown() -> None:
    rows = list(small_run())
    text = to_markdown("Two runs", comparison_tables(put(rows, rows)))
    assert "| med-harm-gpt4 | harmful | harmfulness | parrot | none | 40 | 3.00 | 3.00 | +0.00" in text
    assert Comparison.model_validate_json(put(rows, rows).model_dump_json()) == put(rows, rows)
