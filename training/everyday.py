"""Everyday requests, harmful and benign, made from the phrasings in ``data/everyday.toml``.

Harmful requests of the general sets are short and begin with "how"; without benign ones as short, so would
every false positive. And few requests of MedSafetyBench are of a person who wants to kill.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["EverydayRequest", "everyday_requests", "smalltalk"]

_FILE = Path(__file__).resolve().parent / "data" / "everyday.toml"


@dataclass(frozen=True, slots=True)
class EverydayRequest:
    """A filled-in phrasing with its label."""

    prompt: str
    about: str
    """The medicine or condition; requests about the same one belong together."""
    request_harm: int
    violates: tuple[int, ...]


def everyday_requests(conditions: Sequence[str], count: int, seed: int) -> Iterator[EverydayRequest]:
    """Yield `count` requests, two benign ones to each harmful one.

    Args:
        conditions: Names to fill in for ``{condition}``.
        count: How many.
        seed: Fixes the choice.
    """
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    harmful = [
        (phrasing, group["request_harm"], tuple(group["violates"]))
        for group in data["harmful"]
        for phrasing in group["phrasings"]
    ]
    benign = [(phrasing, 0, ()) for phrasing in data["benign"]["phrasings"]]
    draw = random.Random(seed)
    for number in range(count):
        phrasing, request_harm, violates = draw.choice(benign if number % 3 else harmful)
        yield _filled(phrasing, request_harm, violates, data, conditions, draw)


def smalltalk() -> Iterator[str]:
    """Yield what people also type: greetings, follow-ups, everyday requests; all benign."""
    yield from tomllib.loads(_FILE.read_text(encoding="utf-8"))["smalltalk"]["phrasings"]


def _filled(
    phrasing: str,
    request_harm: int,
    violates: tuple[int, ...],
    data: dict[str, Any],
    conditions: Sequence[str],
    draw: random.Random,
) -> EverydayRequest:
    medicine, other = draw.sample(data["medicines"], 2)
    condition = draw.choice(conditions).lower()
    prompt = phrasing.format(
        medicine=medicine, other=other, person=draw.choice(data["people"]), condition=condition
    )
    # As typed: with or without a capital.
    if draw.random() < 0.5:
        prompt = prompt[0].upper() + prompt[1:]
    about = condition if "{condition}" in phrasing else medicine
    return EverydayRequest(prompt, about, request_harm, violates)
