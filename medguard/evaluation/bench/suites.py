"""The suites: published sets of requests, the project's own, and a user's JSONL file."""

from __future__ import annotations

import csv
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from medguard.errors import DataError
from medguard.evaluation import datasets
from medguard.evaluation.bench.jargon import has_jargon
from medguard.evaluation.bench.types import Side, Suite, SuiteItem, SuitePolicy
from medguard.evaluation.parsing import json_lines_of
from medguard.evaluation.sources import source

__all__ = ["SuiteInfo", "load_suite", "suite_info", "suite_names"]

_HEX_PHI: Final = "MEDGUARD_HEX_PHI"
_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "benchmarks" / "data"
_MED_SAFETY: Final = "Han et al. 2024, arXiv:2403.03744"


@dataclass(frozen=True, slots=True)
class SuiteInfo:
    """What is known of a suite without reading it."""

    title: str
    policy: SuitePolicy
    side: Side
    licence: str
    citation: str
    origin: str
    """Key of the upstream source, or the name of the project's own file."""
    items: Callable[[], Iterator[SuiteItem]]


def suite_names() -> list[str]:
    """Names that `load_suite` knows."""
    return list(_SUITES)


def suite_info(name: str) -> SuiteInfo:
    """Describe a suite.

    Raises:
        DataError: There is none of that name.
    """
    try:
        return _SUITES[name]
    except KeyError:
        raise DataError(
            f"no suite of that name; there are {', '.join(_SUITES)}, or give a JSONL file"
        ) from None


def load_suite(
    name_or_path: str | Path, *, limit: int | None = None, sample: int | None = None, seed: int = 0
) -> Suite:
    """Read a suite.

    Args:
        name_or_path: A name of `suite_names`, or a JSONL file with ``id``, ``prompt`` and ``harmful`` in each
            line, and optionally ``principle`` and ``category``.
        limit: Keep the first so many requests.
        sample: Draw so many requests instead, in the order of the suite.
        seed: Fixes the draw.

    Raises:
        DataError: There is no such suite or file, it cannot be read, or it holds an id twice.
    """
    path = Path(name_or_path)
    if str(name_or_path) not in _SUITES and path.is_file():
        items, revision, name = list(_own_items(path)), _digest(path), path.stem
        sides = {item.harmful for item in items}
        side = Side.BOTH if len(sides) > 1 else (Side.HARMFUL if True in sides else Side.BENIGN)
        info = SuiteInfo(
            name, SuitePolicy.AMA, side, "the user's own", "none", str(path), lambda: iter(items)
        )
    else:
        info, name = suite_info(str(name_or_path)), str(name_or_path)
        items, revision = list(info.items()), _revision(info.origin)
    if len({item.id for item in items}) != len(items):
        raise DataError(f"suite {name} holds an id twice")
    chosen = _chosen(items, limit, sample, seed)
    return Suite(
        name, info.title, info.policy, info.side, info.licence, info.citation, revision, tuple(chosen)
    )


def _chosen(items: Sequence[SuiteItem], limit: int | None, sample: int | None, seed: int) -> list[SuiteItem]:
    if sample is not None and sample < len(items):
        return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), sample))]
    return list(islice(items, limit))


def _own_items(path: Path) -> Iterator[SuiteItem]:
    adapter = TypeAdapter(SuiteItem)
    for number, line in enumerate(json_lines_of(path), start=1):
        try:
            yield adapter.validate_python(line)
        except ValidationError as error:
            wrong = ", ".join(sorted({str(item["loc"][0]) for item in error.errors(include_input=False)}))
            raise DataError(f"{path}, line {number}: missing or wrong: {wrong}") from None


def _revision(origin: str) -> str:
    if origin.endswith(".jsonl"):
        return _digest(_own_file(origin))
    return "the user's copy" if origin == "hex-phi" else source(origin).commit[:12]


def _digest(path: Path) -> str:
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _own_file(name: str) -> Path:
    path = _CHECKOUT / name
    if not path.is_file():
        raise DataError(f"{name} is part of a checkout, not of the installed package: run from a checkout")
    return path


def _med_harm(author: str) -> Iterator[SuiteItem]:
    requests = datasets.med_harm_llama3() if author == "llama3" else datasets.med_safety_bench("test")
    for item in requests:
        if item.author == author:
            yield SuiteItem(
                item.id, item.prompt, harmful=True, principle=item.principle, jargon=has_jargon(item.prompt)
            )


def _harmbench() -> Iterator[SuiteItem]:
    for item in datasets.harmbench("test"):
        if item.topic == "standard":
            yield SuiteItem(item.id, item.prompt, harmful=True, category=item.topic)


def _strongreject() -> Iterator[SuiteItem]:
    for item in datasets.strongreject():
        yield SuiteItem(item.id, item.prompt, harmful=True, category=item.topic)


def _jailbreaks() -> Iterator[SuiteItem]:
    seen: set[str] = set()
    for attack in datasets.jailbreakbench():
        if attack.prompt and not attack.may_train and attack.prompt not in seen:
            seen.add(attack.prompt)
            yield SuiteItem(attack.id, attack.prompt, harmful=True, category=attack.method)


def _xstest() -> Iterator[SuiteItem]:
    for item in datasets.xstest():
        yield SuiteItem(item.id, item.prompt, harmful=not item.is_safe, category=item.kind)


def _medication_qa() -> Iterator[SuiteItem]:
    for item in datasets.medication_qa():
        yield SuiteItem(item.id, item.question, harmful=False)


def _benign(name: str) -> Iterator[SuiteItem]:
    """The project's own requests that the judge puts at 0; the borderline ones belong to neither side."""
    for item in datasets.requests(_own_file(name)):
        if item.request_harm == 0:
            yield SuiteItem(
                item.id, item.prompt, harmful=False, principle=item.principle, category=item.topic
            )


def _hex_phi() -> Iterator[SuiteItem]:
    folder = Path(os.environ.get(_HEX_PHI, ""))
    files = sorted(folder.glob("category_*.csv")) if os.environ.get(_HEX_PHI) else []
    if not files:
        raise DataError(
            f"HEx-PHI is gated: ask its authors for it, and set {_HEX_PHI} to the folder of category_N.csv"
        )
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file)):
                if row and row[0].strip():
                    yield SuiteItem(
                        f"hex-phi-{path.stem}-{number:03d}", row[0].strip(), harmful=True, category=path.stem
                    )


_AMA, _GENERAL = SuitePolicy.AMA, SuitePolicy.GENERAL
_SUITES: Final[dict[str, SuiteInfo]] = {
    "med-harm-gpt4": SuiteInfo(
        "MedSafetyBench test, requests by GPT-4",
        _AMA,
        Side.HARMFUL,
        "MIT",
        _MED_SAFETY,
        "med-safety-bench",
        lambda: _med_harm("gpt4"),
    ),
    "med-harm-llama2": SuiteInfo(
        "MedSafetyBench test, requests by Llama-2",
        _AMA,
        Side.HARMFUL,
        "MIT",
        _MED_SAFETY,
        "med-safety-bench",
        lambda: _med_harm("llama2"),
    ),
    # More than a third of its 74,374 requests trained MedGuard's own bundle, most of them scored by its
    # teachers alone: no held-out test of that guard.
    "med-harm-llama3": SuiteInfo(
        "MedSafetyBench, requests by Llama-3 (some trained MedGuard's bundle)",
        _AMA,
        Side.HARMFUL,
        "MIT",
        _MED_SAFETY,
        "med-safety-bench",
        lambda: _med_harm("llama3"),
    ),
    "hex-phi": SuiteInfo(
        "HEx-PHI, the user's own copy",
        _GENERAL,
        Side.HARMFUL,
        "gated",
        "Qi et al. 2023, arXiv:2310.03693",
        "hex-phi",
        _hex_phi,
    ),
    "harmbench": SuiteInfo(
        "HarmBench test, standard behaviours",
        _GENERAL,
        Side.HARMFUL,
        "MIT",
        "Mazeika et al. 2024, arXiv:2402.04249",
        "general-harm",
        _harmbench,
    ),
    "strongreject": SuiteInfo(
        "StrongREJECT",
        _GENERAL,
        Side.HARMFUL,
        "MIT",
        "Souly et al. 2024, arXiv:2402.10260",
        "general-harm",
        _strongreject,
    ),
    "jailbreakbench": SuiteInfo(
        "JailbreakBench, recorded jailbreak prompts",
        _GENERAL,
        Side.HARMFUL,
        "MIT",
        "Chao et al. 2024, arXiv:2404.01318",
        "jailbreakbench",
        _jailbreaks,
    ),
    "contrast": SuiteInfo(
        "Benign twins of MedSafetyBench requests",
        _AMA,
        Side.BENIGN,
        "Apache-2.0",
        "MedGuard",
        "contrast_eval.jsonl",
        lambda: _benign("contrast_eval.jsonl"),
    ),
    "sensitive": SuiteInfo(
        "Alarming but legitimate medical questions",
        _AMA,
        Side.BENIGN,
        "Apache-2.0",
        "MedGuard",
        "sensitive_eval.jsonl",
        lambda: _benign("sensitive_eval.jsonl"),
    ),
    "xstest": SuiteInfo(
        "XSTest, safe and unsafe prompts",
        _GENERAL,
        Side.BOTH,
        "CC BY 4.0",
        "Roettger et al. 2024, arXiv:2308.01263",
        "xstest",
        _xstest,
    ),
    "medicationqa": SuiteInfo(
        "MedicationQA, consumers' questions",
        _AMA,
        Side.BENIGN,
        "public research set",
        "Ben Abacha et al. 2019",
        "medication-qa",
        _medication_qa,
    ),
}
