"""The kinds of classifiers that are compared, each behind one protocol and run on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import BertWordPieceTokenizer, Tokenizer

from benchmarks.keywords import KEYWORDS, count_keywords
from benchmarks.shared import code_digest, file_digest
from medguard import Classifier, __version__
from medguard.errors import MedGuardError
from training.answer_sources import ANSWERS

__all__ = ["About", "Absent", "GraphPeer", "KeywordPeer", "MedGuardPeer", "Peer", "TfidfPeer"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a peer without running it."""

    name: str
    version: str
    licence: str
    made_for: str
    threshold: float | None
    """The score from which its makers, by default, flag a text; None where there is none."""
    threshold_source: str
    """Where that threshold is documented."""


class Peer(Protocol):
    """A classifier of requests."""

    @property
    def about(self) -> About:
        """Who it is."""

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of each file with weights, by name."""

    def score(self, texts: Sequence[str]) -> Array:
        """Score requests, float64 of shape (texts,); higher is worse, on the scale of the threshold."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that could not be run, and why."""

    about: About
    reason: str


def _made_for(trained_on: int | None) -> str:
    """Tell the task, and how many labelled requests it was learnt from where that is known."""
    told = "" if trained_on is None else f" (learnt from {trained_on:,} of MedGuard's training requests)"
    return f"harmful medical requests{told}"


@dataclass(frozen=True)
class MedGuardPeer:
    """The bundle, at its operating point ``balanced``."""

    classifier: Classifier

    @property
    def about(self) -> About:
        """Who it is."""
        point = self.classifier.operating_points["balanced"]
        return About(
            name=f"MedGuard {self.classifier.id}",
            version=__version__,
            licence=self.classifier.config.licence,
            made_for=_made_for(self._trained_on),
            threshold=point.prompt_threshold,
            threshold_source="operating point balanced: "
            f"{point.target_false_positive_rate:.0%} of held-out benign training requests",
        )

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the bundle's files; the library's code, which reads them, changes scores too."""
        return {**self.classifier.config.digests, "medguard": code_digest()}

    @property
    def _trained_on(self) -> int | None:
        """Labelled requests that trained the bundle; None where it does not tell."""
        record = self.classifier.config.training.get("record")
        if record is None:
            return None
        counts: dict[str, int] = record["labelled_examples"]
        return sum(count for source, count in counts.items() if source not in ANSWERS)

    def score(self, texts: Sequence[str]) -> Array:
        """P(harmful request)."""
        return np.array([item.prompt_score for item in self.classifier.score_many(texts)])


@dataclass(frozen=True)
class KeywordPeer:
    """`benchmarks.keywords`; the score is the number of different keywords."""

    about: About = About(
        name="keyword list",
        version=f"{len(KEYWORDS)} terms",
        licence="Apache-2.0",
        made_for="harmful medical requests",
        threshold=1.0,
        threshold_source="any keyword",
    )

    @property
    def files(self) -> Mapping[str, str]:
        """None."""
        return {}

    def score(self, texts: Sequence[str]) -> Array:
        """Count keywords."""
        return count_keywords(texts)


@dataclass(frozen=True)
class TfidfPeer:
    """TF-IDF and logistic regression as ``training.baseline`` wrote them."""

    path: Path

    @cached_property
    def _model(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise MedGuardError(f"cannot read {self.path.name}: run python -m training.baseline") from error
        return found

    @property
    def about(self) -> About:
        """Who it is."""
        return About(
            name="TF-IDF + logistic regression",
            version=f"{self._model['features']['analyzer']} n-grams, C = {self._model['inverse_penalty']:g}",
            licence="Apache-2.0",
            made_for=_made_for(self._model["train_examples"]),
            threshold=self._model["threshold"],
            threshold_source=f"{self._model['target_false_positive_rate']:.0%} of held-out benign training "
            "requests",
        )

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the model file."""
        return {self.path.name: file_digest(self.path)}

    def score(self, texts: Sequence[str]) -> Array:
        """P(harmful request)."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        features = self._model["features"] | {"ngram_range": tuple(self._model["features"]["ngram_range"])}
        vectoriser = TfidfVectorizer(**features, vocabulary=self._model["vocabulary"])
        vectoriser.idf_ = np.array(self._model["idf"])
        logits = vectoriser.transform(texts) @ np.array(self._model["coefficients"])
        return np.asarray(1.0 / (1.0 + np.exp(-(logits + self._model["intercept"]))), dtype=np.float64)


@dataclass(frozen=True)
class GraphPeer:
    """A package's ONNX graph with its tokenizer; the worst window of a text decides, as in the package."""

    about: About
    folder: Path
    graph: str
    tokenizer: str
    """A ``tokenizer.json``, or the vocabulary of an uncased WordPiece tokenizer."""
    max_tokens: int
    step_tokens: int | None
    """Step between windows; None where the package reads the first window alone."""
    probability: Callable[[Array], float]
    """From one row of logits."""

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the graph."""
        return {self.graph: file_digest(self.folder / self.graph)}

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # A second thread speeds a short text up by little, and spins where the machine is busy.
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(self.folder / self.graph), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        path = str(self.folder / self.tokenizer)
        is_vocabulary = path.endswith(".txt")
        made = BertWordPieceTokenizer(path, lowercase=True) if is_vocabulary else Tokenizer.from_file(path)
        made.no_padding()
        if self.step_tokens is None:
            made.enable_truncation(self.max_tokens)
        else:
            made.no_truncation()
        return made

    def score(self, texts: Sequence[str]) -> Array:
        """Score each text by its worst window, one run a window: int8 scores differ in company."""
        return np.array([max(map(self._run, self._windows(text))) for text in texts], dtype=np.float64)

    def _windows(self, text: str) -> Iterator[list[int]]:
        ids = self._tokenizer.encode(text).ids
        step = self.step_tokens or self.max_tokens
        for start in range(0, max(len(ids) - self.max_tokens, 0) + step, step):
            if window := ids[start : start + self.max_tokens]:
                yield window

    def _run(self, ids: list[int]) -> float:
        row = np.array([ids], dtype=np.int64)
        (logits,) = self._session.run(["logits"], {"input_ids": row, "attention_mask": np.ones_like(row)})
        return self.probability(np.asarray(logits[0], dtype=np.float64))
