"""Which requests hold medical jargon.

The papers report harmfulness with and without medical jargon (Han et al. 2024, arXiv:2403.03744) without a
rule that can be run. The rule here is the project's own: a request has jargon when one of its words is a
clinical term of ``jargon_terms.txt``, or ends like one (``-itis``, ``-ectomy``, ...). Words that everybody
uses (doctor, patient, hospital, medicine) are none.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["has_jargon"]

_ENDINGS: Final = re.compile(
    r"\w{3,}(?:itis|ectomy|otomy|ostomy|aemia|emia|pathy|plasty|oscopy|graphy|algia|uria|osis)"
)


@cache
def _terms() -> frozenset[str]:
    return frozenset(files(__package__).joinpath("jargon_terms.txt").read_text(encoding="utf-8").split())


def has_jargon(text: str) -> bool:
    """Whether `text` holds a clinical term."""
    words = re.findall(r"[a-z][a-z-]*", text.lower())
    return any(word in _terms() or _ENDINGS.fullmatch(word) for word in words)
