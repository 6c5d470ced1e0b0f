"""Find training texts that are, exactly or nearly, evaluation texts, hold one, or are held by one.

Three searches, each for what the others miss: `find_leaks` for texts alike as a whole, `find_quotes` for a
text that stands in another letter for letter, `find_contained` for one that stands there in pieces. They find
a copy inside other text, with a word put in, cut short, with its halves swapped, in capitals, without spaces,
spaced out letter by letter, with invisible characters, or with letters that look like Latin ones.

Not looked for: inside other text, a text of fewer than four words, one of four or five that is altered, or a
copy cut short; a copy cut to fewer than six words; one without spaces, or spaced out, that is altered
besides; one that is reworded, mistyped in many places, in leet, or encoded.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final, TypeAlias

from medguard.errors import DataError
from medguard.letters import fold_homoglyphs, strip_invisible

__all__ = ["Leak", "find_contained", "find_leaks", "find_quotes", "normalized", "shingles"]

_SHINGLE_CHARS: Final = 5
_PERMUTATIONS: Final = 128
# The sketch only proposes pairs: below the similarity wanted, so that its error misses hardly any.
_CANDIDATE_MARGIN: Final = 0.15
# Shorter evaluation texts are common phrases.
_FEWEST_QUOTED_WORDS: Final = 4
# Of training texts so are longer ones: "can you help me".
_FEWEST_CUT_WORDS: Final = 6
# Different ones: "The patient is a patient" is said of many things.
_FEWEST_HELD_WORDS: Final = 6
# By which a quoted text is looked up; hardly any text of four words has fewer letters.
_OPENING_CHARS: Final = 12
_NOT_WORD: Final = re.compile(r"[\W_]+")
_Triple: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Leak:
    """A training text too close to an evaluation text."""

    train_id: str
    evaluation_id: str
    similarity: float
    """0 to 1: of a text held in pieces the share that is held, of others the Jaccard similarity of the
    character shingles (1 for equal normalised texts)."""


def normalized(text: str) -> str:
    """Fold look-alike letters, compatibility forms, case, punctuation, white space, and what is not seen."""
    letters = fold_homoglyphs(unicodedata.normalize("NFKC", strip_invisible(text)))
    return _NOT_WORD.sub(" ", letters.casefold()).strip()


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
    """Yield each training text that quotes an evaluation text, and each that an evaluation text quotes.

    A request inside a story or a jailbreak is far from the request alone by `find_leaks`. An evaluation text
    of four words or more counts, and a training text of six or more, which may end within a word, as a copy
    cut short does. Letters are compared, not words, so spaces may be missing or stand between all letters.

    Args:
        train: Texts by id.
        evaluation: Texts by id.
    """
    own = {key: normalized(text).split() for key, text in train.items()}
    others = {key: normalized(text).split() for key, text in evaluation.items()}
    quoting = _quotes(own, others, _FEWEST_QUOTED_WORDS)
    quoted = _quotes(others, own, _FEWEST_CUT_WORDS, may_be_cut=True)
    for train_id, key in dict.fromkeys(chain(quoting, ((inner, outer) for outer, inner in quoted))):
        yield Leak(train_id, key, _jaccard(shingles(train[train_id]), shingles(evaluation[key])))


def _quotes(
    outer: Mapping[str, list[str]],
    inner: Mapping[str, list[str]],
    fewest_words: int,
    *,
    may_be_cut: bool = False,
) -> Iterator[tuple[str, str]]:
    """Yield the key of each outer text with that of an inner one in it, between the ends of two words."""
    by_opening: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, words in inner.items():
        letters = "".join(words)
        if len(words) >= fewest_words and len(letters) >= _OPENING_CHARS:
            by_opening[letters[:_OPENING_CHARS]].append((key, letters))
    for outer_key, words in outer.items():
        letters = "".join(words)
        bounds = set(accumulate(map(len, words), initial=0))
        for start in bounds:
            for key, quoted in by_opening.get(letters[start : start + _OPENING_CHARS], ()):
                if letters.startswith(quoted, start) and (may_be_cut or start + len(quoted) in bounds):
                    yield outer_key, key


def find_contained(
    train: Mapping[str, str], evaluation: Mapping[str, str], *, share: float = 0.9
) -> Iterator[Leak]:
    """Yield each training text that holds `share` of an evaluation text, and each of which one holds as much.

    A word is held if three words in a row, itself among them, stand in the other text too, there with at most
    one word put in. The rarer a word is among the evaluation texts, the more it weighs: a common wording
    ("How can I ... a patient's medical ...") is little of a text, the drug or disease asked about is much.

    By default nine tenths: in the project's data nearly all such pairs of requests are copies with words put
    in, added, left out or moved, while with less and less held more and more ask for something else.

    Args:
        train: Texts by id.
        evaluation: Texts by id.
        share: Of the weight of the different words of a text that has at least six, in (0, 1].
    """
    others = {key: normalized(text).split() for key, text in evaluation.items()}
    weights = _Weights(others.values())
    known = {key: _pieces(words, weights, share) for key, words in others.items()}
    having = _by_triple({key: pieces.loose for key, pieces in known.items()})
    telling = _by_triple({key: pieces.telling for key, pieces in known.items()})
    for train_id, text in train.items():
        own = _pieces(normalized(text).split(), weights, share)
        holding = (telling.get(triple, ()) for triple in own.loose)
        held_by = (having.get(triple, ()) for triple in own.telling)
        for key in sorted(set(chain.from_iterable(chain(holding, held_by)))):
            held = max(_share_held(known[key], own, weights), _share_held(own, known[key], weights))
            if held >= share:
                yield Leak(train_id, key, held)


class _Weights:
    """How much words weigh: by how few of some texts they are in; words in none of them weigh most."""

    def __init__(self, texts: Collection[list[str]]) -> None:
        counts = Counter(word for words in texts for word in set(words))
        self._weights = {word: math.log(1 + len(texts) / count) for word, count in counts.items()}
        self._most = math.log(1 + len(texts))

    def of(self, word: str) -> float:
        return self._weights.get(word, self._most)

    def total(self, words: Iterable[str]) -> float:
        return math.fsum(map(self.of, words))  # whose order, that of a set, differs between runs


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A text for the search in pieces."""

    triples: frozenset[_Triple]
    """Three words in a row."""
    loose: frozenset[_Triple]
    """The same, and three words with another one among them."""
    telling: frozenset[_Triple]
    """Triples of this text of which any that holds enough of it has one."""
    weight: float
    """Of its different words; 0 where they are too few to tell."""


def _pieces(words: list[str], weights: _Weights, share: float) -> _Pieces:
    different = set(words)
    triples = frozenset(zip(words, words[1:], words[2:], strict=False))
    loose = triples.union(
        zip(words, words[1:], words[3:], strict=False), zip(words, words[2:], words[3:], strict=False)
    )
    if len(different) < _FEWEST_HELD_WORDS:
        return _Pieces(triples, loose, frozenset(), 0.0)
    weight = weights.total(different)
    # One of the heaviest words is held: together they weigh more than may be missing.
    ranked = sorted(different, key=weights.of, reverse=True)
    may_be_missing = (1 - share) * weight
    enough = sum(lost <= may_be_missing for lost in accumulate(map(weights.of, ranked))) + 1
    heaviest = set(ranked[:enough])
    telling = frozenset(triple for triple in triples if not heaviest.isdisjoint(triple))
    return _Pieces(triples, loose, telling, weight)


def _by_triple(triples: Mapping[str, frozenset[_Triple]]) -> dict[_Triple, list[str]]:
    index: dict[_Triple, list[str]] = defaultdict(list)
    for key, own in triples.items():
        for triple in own:
            index[triple].append(key)
    return index


def _share_held(part: _Pieces, whole: _Pieces, weights: _Weights) -> float:
    """How much of a text, by the weight of its words, another one holds."""
    if not part.weight:
        return 0.0
    return weights.total(set(chain.from_iterable(part.triples & whole.loose))) / part.weight


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
