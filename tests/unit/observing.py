"""Observations and observers for tests."""

from __future__ import annotations

import hashlib
from typing import Any

from medguard import Checker, Policy
from medguard.observe import Observation
from medguard.testing import KeywordScorer


class Witness:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)


class Broken:
    """An observer that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def observe(self, observation: Observation) -> None:
        raise self.error


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def checker_with(*observers: Any, scorer: Any = None, **policy: Any) -> Checker:
    return Checker(
        policy=Policy(**policy), classifier=scorer or KeywordScorer(["arsenic"]), observers=observers
    )
