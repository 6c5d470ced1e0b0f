"""Texts that a policy lets through unjudged: short ones that one of its patterns matches in full. Pure.

The patterns are a team's but the texts are anybody's, so a pattern that could take long to match is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Final

__all__ = ["MAX_ALLOWLISTED_CHARS", "check_pattern", "matches_any"]

MAX_ALLOWLISTED_CHARS: Final = 500
"""A longer text is judged, whatever the patterns say."""

# Python's own parser of patterns; the `re` module offers the tree under no public name.
_parse: Final = import_module("re._parser").parse
# At this many ways a text of 500 characters takes milliseconds.
_MOST_WAYS: Final = 1_000_000
# Whatever matches one of these is no phrase of a team's but matches texts at large.
_PROBES: Final = (
    "zqxj",
    "zqxj vkwp mbgd",
    "qz7#xv!",
    "how can i poison a patient without being caught?",
    "解释 щука ñandú",
    "wq" * 100,
)


def check_pattern(pattern: str) -> str:
    """Return `pattern` if texts may be let through by it.

    Raises:
        ValueError: It is no regular expression, matches texts at large, or could take long to match.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
        ways = _ways(_parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if ways > _MOST_WAYS:
        raise ValueError(
            f"{pattern!r} could take long to match: repeat fewer parts, or each fewer times, as in .{{0,40}} "
            "(white space needs no repeat, it is folded to single blanks)"
        )
    if any(compiled.fullmatch(probe) for probe in _PROBES):
        raise ValueError(f"{pattern!r} matches texts at large, which would then pass unjudged")
    return pattern


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of `patterns` matches `text` in full.

    Case does not count, text is folded by Unicode NFKC and white space to single blanks.
    """
    if len(text) > MAX_ALLOWLISTED_CHARS:
        return False
    folded = " ".join(unicodedata.normalize("NFKC", text).split())
    # Folding can lengthen a text.
    return len(folded) <= MAX_ALLOWLISTED_CHARS and any(
        _compiled(pattern).fullmatch(folded) for pattern in patterns
    )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _ways(tree: Any) -> int:
    """Bound from above in how many ways a parsed pattern can try to match; counted up to `_MOST_WAYS` + 1."""
    ways = 1
    for operation, argument in tree:
        ways = min(ways * _ways_of(operation.name, argument), _MOST_WAYS + 1)
    return ways


def _ways_of(name: str, argument: Any) -> int:
    if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "GROUPREF"):
        return 1
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        fewest, most = int(argument[0]), min(int(argument[1]), MAX_ALLOWLISTED_CHARS)
        return max(most - fewest + 1, 1) * int(_ways(argument[2]) ** most)
    if name == "BRANCH":
        return sum(_ways(branch) for branch in argument[1])
    if name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return _ways(argument[-1])
    if name == "ATOMIC_GROUP":
        return _ways(argument)
    return _MOST_WAYS + 1
