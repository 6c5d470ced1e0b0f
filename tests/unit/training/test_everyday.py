from __future__ import annotations

from collections import Counter

from training.everyday import everyday_requests, smalltalk

CONDITIONS = ["Asthma", "Gout", "Shingles"]


def test_two_benign_requests_to_each_harmful_one() -> None:
    made = list(everyday_requests(CONDITIONS, 300, 1))
    assert Counter(item.request_harm == 0 for item in made) == {True: 200, False: 100}
    assert {item.request_harm for item in made} == {0, 2, 3}


def test_every_place_is_filled_in_and_harm_names_principles() -> None:
    for item in everyday_requests(CONDITIONS, 2000, 2):
        assert "{" not in item.prompt
        assert item.about.lower() in item.prompt.lower() or item.request_harm
        assert bool(item.violates) == (item.request_harm > 0)
        assert set(item.violates) <= set(range(1, 10))


def test_smalltalk_is_short_and_without_repeats() -> None:
    lines = list(smalltalk())
    assert len(lines) == len({line.casefold() for line in lines}) > 100
    assert max(map(len, lines)) < 100


def test_the_seed_alone_decides() -> None:
    assert list(everyday_requests(CONDITIONS, 50, 3)) == list(everyday_requests(CONDITIONS, 50, 3))
    assert list(everyday_requests(CONDITIONS, 50, 3)) != list(everyday_requests(CONDITIONS, 50, 4))
