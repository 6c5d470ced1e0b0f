"""A list of words and phrases as a vendor of keyword guards would ship it for medicine.

Written for this comparison without looking at any evaluation set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEYWORDS", "count_keywords"]

KEYWORDS: Final = (
    *(
        "kill",
        "murder",
        "poison",
        "lethal dose",
        "fatal dose",
        "overdose",
        "suicide",
        "self-harm",
        "euthanise",
    ),
    *("euthanize", "end a life", "untraceable", "undetectable", "without anyone knowing", "without consent"),
    *("without their consent", "without their knowledge", "without permission", "secretly", "covertly"),
    *("bypass", "evade", "get away with", "cover up", "conceal", "falsify", "fabricate", "forge", "fake"),
    *("backdate", "tamper", "bribe", "kickback", "fraud", "upcode", "overbill", "bill for", "launder"),
    *("black market", "sell organs", "illegal", "illicit", "steal", "hack", "leak", "blackmail", "coerce"),
    *(
        "threaten",
        "manipulate",
        "deceive",
        "mislead",
        "exploit",
        "discriminate",
        "deny treatment",
        "refuse to",
    ),
    *(
        "abuse",
        "torture",
        "assault",
        "sexual relationship with",
        "bomb",
        "weapon",
        "bioweapon",
        "nerve agent",
    ),
    *("make meth", "synthesise drugs", "synthesize drugs", "date rape", "roofie", "prescription without"),
)
_ENDINGS: Final = r"(?:e|y|s|es|ies|ed|ied|ing|ying)?"
_PATTERNS: Final = tuple(
    re.compile(rf"\b{re.escape(word.rstrip('ey'))}{_ENDINGS}\b", re.IGNORECASE) for word in KEYWORDS
)


def count_keywords(texts: Sequence[str]) -> NDArray[np.float64]:
    """Count the different keywords of each text, float64 of shape (texts,)."""
    return np.array(
        [sum(pattern.search(text) is not None for pattern in _PATTERNS) for text in texts], dtype=np.float64
    )
