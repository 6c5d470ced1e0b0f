from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.errors import DataError
from medguard.evaluation.bench.agreement import agreement, match_labels
from medguard.evaluation.bench.judge_labels import Label
from medguard.evaluation.metrics import bootstrap, quadratic_weighted_kappa

LEVELS = [1, 2, 3, 4, 5]
pairs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=40)


def made(count: int, seed: int = 3) -> tuple[list[int], list[int]]:
    draw = np.random.default_rng(seed)
    one = draw.integers(1, 6, count)
    other = np.clip(one + draw.integers(-1, 2, count), 1, 5)
    return one.tolist(), other.tolist()


@given(pairs)
def test_figures_are_those_of_scikit_learn_and_scipy(levels: list[tuple[int, int]]) -> None:
    from scipy import stats
    from sklearn import metrics

    one, other = (np.array(side) for side in zip(*levels, strict=True))
    found = agreement(one.tolist(), other.tolist(), resamples=3)
    if found.quadratic_weighted_kappa is None:
        assert len(set(one) | set(other)) == 1
    else:
        expected = quadratic_weighted_kappa(one, other, LEVELS)
        assert found.quadratic_weighted_kappa["value"] == pytest.approx(expected, abs=1e-12)
    if found.spearman is None:
        assert 1 in (len(set(one)), len(set(other)))
    else:
        assert found.spearman["value"] == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)
    if found.harmful_kappa is not None:
        expected = metrics.cohen_kappa_score(one >= 4, other >= 4, labels=[False, True])
        assert found.harmful_kappa["value"] == pytest.approx(expected, abs=1e-12)
    assert found.exact["value"] == pytest.approx((one == other).mean())
    assert found.within_one["value"] == pytest.approx((abs(one - other) <= 1).mean())
    assert found.mean_difference["value"] == pytest.approx((other - one).mean(), abs=1e-12)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(one, other, labels=LEVELS))


def test_perfect_and_reversed_judges() -> None:
    one = LEVELS * 10
    same = agreement(one, one)
    assert same.quadratic_weighted_kappa == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert same.spearman is not None
    assert same.spearman["value"] == pytest.approx(1.0)
    back = agreement(one, [6 - level for level in one])
    assert back.quadratic_weighted_kappa is not None
    assert back.quadratic_weighted_kappa["value"] == pytest.approx(-1.0)


def test_intervals_are_seeded_and_are_those_of_resampled_answers() -> None:
    one, other = made(300)
    found = agreement(one, other, resamples=4000)
    assert found == agreement(one, other, resamples=4000)
    assert found != agreement(one, other, resamples=4000, seed=1)
    rows = np.array([one, other]).T
    plain = bootstrap(lambda part: quadratic_weighted_kappa(part[:, 0], part[:, 1], LEVELS), rows)
    assert found.quadratic_weighted_kappa is not None
    for side in ("value", "low", "high"):
        assert found.quadratic_weighted_kappa[side] == pytest.approx(plain[side], abs=0.005)  # type: ignore[literal-required]


def test_answers_to_one_request_are_resampled_together() -> None:
    one, other = made(60)
    alone = agreement(one, other, requests=[str(number) for number in range(60)], resamples=4000)
    free = agreement(one, other, resamples=4000)
    copies = agreement(one * 9, other * 9, requests=[str(number) for number in range(60)] * 9, resamples=4000)
    as_if_free = agreement(one * 9, other * 9, resamples=4000)

    def width(found: object) -> float:
        return found.exact["high"] - found.exact["low"]  # type: ignore[attr-defined, no-any-return]

    # Nine copies of an answer tell no more than one, unless they pass for independent.
    assert width(alone) == pytest.approx(width(free), rel=0.15)
    assert width(copies) == pytest.approx(width(alone), rel=0.15)
    assert width(as_if_free) < 0.5 * width(copies)


@pytest.mark.parametrize(
    ("one", "other", "requests", "message"),
    [
        ([], [], None, "no answers"),
        ([1], [1, 2], None, "as many levels"),
        ([1], [1], ["a", "b"], "as many levels"),
        ([0], [1], None, "from 1 to 5"),
        ([1], [6], None, "from 1 to 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    one: list[int], other: list[int], requests: list[str] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        agreement(one, other, requests=requests)


def test_one_level_only_has_no_kappa_but_a_share() -> None:
    found = agreement([1, 1], [1, 1], resamples=10)
    assert (found.quadratic_weighted_kappa, found.spearman, found.harmful_kappa) == (None, None, None)
    assert found.exact["value"] == 1.0


def label(name: str, level: int, answer: str | None = "x") -> Label:
    return Label(name, level, answer)


def test_labels_meet_on_the_same_answer() -> None:
    one = [label("a", 1), label("a", 5, "y"), label("b", 2), label("c", 3)]
    other = [label("c", 4), label("a", 2), label("b", 2, "z")]
    found = match_labels(one, other)
    assert (found.one, found.other, found.requests) == ((1, 3), (2, 4), ("a", "c"))
    assert (found.only_one, found.only_other, found.by_answer) == (2, 1, True)


def test_labels_that_name_no_answer_meet_on_ids() -> None:
    found = match_labels([label("a", 1), label("b", 2)], [label("b", 3, None)])
    assert (found.one, found.other, found.by_answer) == ((2,), (3,), False)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([label("a", 1)], [label("b", 1)], "no label of the same answer"),
        ([label("a", 1)], [label("b", 1, None)], "no label of the same id"),
        ([label("a", 1), label("a", 2)], [label("a", 1)], "different levels"),
        ([label("a", 1), label("a", 1, "y")], [label("a", 1, None)], "more than once"),
    ],
)
def test_labels_that_do_not_meet_are_refused(one: list[Label], other: list[Label], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_labels(one, other)
