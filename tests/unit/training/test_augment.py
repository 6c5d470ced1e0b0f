from __future__ import annotations

import pytest

from tests.upstream import requires_upstream
from training.augment import buried, framed, noisy
from training.examples import Example, make_example
from training.targets import request_targets


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    made = []
    for number in range(40):
        harmful = number % 2 == 0
        targets = request_targets(2.0 if harmful else 0.0, violates=(1,) if harmful else (), general=0.0)
        text = f"Request {number} with several words in it, {'bad' if harmful else 'good'}?"
        made.append(make_example(f"r{number}", "contrast", f"g{number // 2}", text, None, targets))
    return made


def test_frames_hold_the_request_whole_and_keep_label_and_group(examples: list[Example]) -> None:
    by_id = {item.id: item for item in examples}
    made = list(framed(examples, 60, 48, seed=1))
    assert len(made) == 60
    for item in made:
        origin = by_id[item.id.removesuffix("~framed")]
        assert origin.prompt in item.prompt
        assert len(item.prompt) > len(origin.prompt)
        assert (item.group, item.targets, item.mask) == (origin.group, origin.targets, origin.mask)
    share = sum(item.targets[1] for item in made) / len(made)
    assert 0.3 < share < 0.7, "frames stand around harmful and benign requests alike"


def test_noise_changes_the_text_and_nothing_else(examples: list[Example]) -> None:
    by_id = {item.id: item for item in examples}
    changed = 0
    for item in noisy(examples, 40, seed=1):
        origin = by_id[item.id.removesuffix("~noisy")]
        changed += item.prompt != origin.prompt
        assert (item.group, item.targets) == (origin.group, origin.targets)
    assert changed > 30


@requires_upstream()
def test_passages_hold_a_request_three_times_of_four(examples: list[Example]) -> None:
    made = list(buried(examples, 40, seed=1))
    alone = [item for item in made if item.id.startswith("passage-")]
    assert len(alone) == 10
    assert all(item.targets[0] == 0.0 for item in alone)
    by_id = {item.id: item for item in examples}
    for item in made:
        if item not in alone:
            assert by_id[item.id.removesuffix("~buried")].prompt in item.prompt


def test_the_seed_alone_decides(examples: list[Example]) -> None:
    assert list(framed(examples, 20, 48, 3)) == list(framed(examples, 20, 48, 3))
    assert list(noisy(examples, 20, 3)) != list(noisy(examples, 20, 4))


def test_nothing_to_draw_from_gives_nothing() -> None:
    assert list(framed([], 5, 48, 1)) == []
