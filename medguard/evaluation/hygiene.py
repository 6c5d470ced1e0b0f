"""Find training texts that stand, exactly or nearly, in an evaluation set."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from medguard.errors import DataError

__all__ = ["Leak", "find_leaks", "find_quotes", "normalized", "shingles"]

_SHINGLE_CHARS: Final = 5
_PERMUTATIONS: Final = 128
# The sketch only proposes pairs: below the similarity wanted, so that its error misses hardly any.
_CANDIDATE_MARGIN: Final = 0.15
# Shorter evaluation texts are common phrases.
_FEWEST_QUOTED_WORDS: Final = 6
_NOT_WORD: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Leak:
    """A training text too close to an evaluation text."""

    train_id: str
    evaluation_id: str
    similarity: float
    """Jaccard similarity of the character shingles, 0 to 1; 1 for equal normalised texts."""


def normalized(text: str) -> str:
    """Fold compatibility forms, case, punctuation and white space away."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def shingles(text: str) -> frozenset[str]:
    """Overlapping runs of five characters of the normalised text (the text itself where it is shorter)."""
    plain = normalized(text)
    return frozenset(
        plain[start : start + _SHINGLE_CHARS] for start in range(max(1, len(plain) - _SHINGLE_CHARS + 1))
    )


def find_leaks(
    train: Mapping[str, str], evaluation: Mapping[str, str], *, similarity: float = 0.8
) -> Iterator[Leak]:
    """Yield each training text with an evaluation text at or above `similarity`.

    MinHash (Broder 1997) with locality-sensitive hashing proposes pairs; the exact Jaccard similarity of
    their shingles decides.

    Args:
        train: Texts by id.
        evaluation: Texts by id.
        similarity: In (0.15, 1].

    Raises:
        DataError: datasketch is missing.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise DataError("the search for leaks needs datasketch: pip install 'medguard[bench]'") from error

    def sketch(pieces: frozenset[str]) -> MinHash:
        result = MinHash(num_perm=_PERMUTATIONS)
        result.update_batch([piece.encode() for piece in pieces])
        return result

    index = MinHashLSH(threshold=similarity - _CANDIDATE_MARGIN, num_perm=_PERMUTATIONS)
    known: dict[str, frozenset[str]] = {}
    for key, text in evaluation.items():
        known[key] = shingles(text)
        index.insert(key, sketch(known[key]))
    for train_id, text in train.items():
        pieces = shingles(text)
        for candidate in index.query(sketch(pieces)):
            other = known[candidate]
            jaccard = _jaccard(pieces, other)
            if jaccard >= similarity:
                yield Leak(train_id, candidate, jaccard)


def find_quotes(train: Mapping[str, str], evaluation: Mapping[str, str]) -> Iterator[Leak]:
    """Yield each training text in which an evaluation text of six words or more stands word for word.

    A request inside a story or a jailbreak is far from the request alone by `find_leaks`.

    Args:
        train: Texts by id.
        evaluation: Texts by id.
    """
    by_opening: dict[tuple[str, ...], list[tuple[str, list[str]]]] = defaultdict(list)
    for key, text in evaluation.items():
        quoted = normalized(text).split()
        if len(quoted) >= _FEWEST_QUOTED_WORDS:
            by_opening[tuple(quoted[:_FEWEST_QUOTED_WORDS])].append((key, quoted))
    for train_id, text in train.items():
        words = normalized(text).split()
        for start in range(len(words) - _FEWEST_QUOTED_WORDS + 1):
            for key, quoted in by_opening.get(tuple(words[start : start + _FEWEST_QUOTED_WORDS]), ()):
                if words[start : start + len(quoted)] == quoted:
                    yield Leak(train_id, key, _jaccard(shingles(text), shingles(evaluation[key])))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
