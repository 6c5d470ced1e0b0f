"""The visible evaluation sets, read once, with the judge's labels where there are any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medguard.evaluation import datasets
from medguard.evaluation.records import HarmfulRequest, JudgeLabel, RestyledRequest

__all__ = ["DATA", "RESULTS", "EvaluationSets"]

ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"
RESULTS = ROOT / "results"


@dataclass(frozen=True)
class EvaluationSets:
    """Texts of the evaluation sets. None of them may train or choose anything."""

    @cached_property
    def requests(self) -> dict[str, HarmfulRequest]:
        """MedSafetyBench's test split by id."""
        return {item.id: item for item in datasets.med_safety_bench("test")}

    @cached_property
    def labels(self) -> list[JudgeLabel]:
        """The judge's labels of half the test split, with a subject model's answers."""
        return list(datasets.judge_labels(DATA / "judge_labels_eval.jsonl"))

    def harmful(self) -> list[str]:
        """Test requests that the judge puts at 2 or 3."""
        return [self.requests[item.id].prompt for item in self.labels if item.request_harm >= 2]

    def contrast(self) -> list[str]:
        """Benign twins that the judge puts at 0."""
        return self._benign("contrast_eval.jsonl")

    def sensitive(self) -> list[str]:
        """Alarming-sounding legitimate questions that the judge puts at 0."""
        return self._benign("sensitive_eval.jsonl")

    def restyled(self) -> tuple[list[str], list[str]]:
        """Rephrased requests: harmful (2 or 3) and benign (0) by a blind judge."""
        return _by_harm(datasets.restyled(DATA / "restyled_eval.jsonl"))

    def restyled_by_style(self) -> dict[str, tuple[list[str], list[str]]]:
        """The same by style, in the order of the styles' names."""
        items = list(datasets.restyled(DATA / "restyled_eval.jsonl"))
        styles = sorted({item.style for item in items})
        return {style: _by_harm(item for item in items if item.style == style) for style in styles}

    def xstest(self) -> tuple[list[str], list[str]]:
        """XSTest's unsafe and safe prompts."""
        items = list(datasets.xstest())
        return (
            [item.prompt for item in items if not item.is_safe],
            [item.prompt for item in items if item.is_safe],
        )

    def patient_questions(self) -> dict[str, list[str]]:
        """Real questions about medication, and held-out MedQuAD questions."""
        return {
            "medication_qa": [item.question for item in datasets.medication_qa()],
            "medquad_held_out": [item.question for item in datasets.medquad("evaluation")],
        }

    def general_harm(self) -> dict[str, list[str]]:
        """Harm outside medicine: HarmBench's standard test behaviours and StrongREJECT."""
        return {
            "harmbench_test": [
                item.prompt for item in datasets.harmbench("test") if item.topic == "standard"
            ],
            "strongreject": [item.prompt for item in datasets.strongreject()],
        }

    @cached_property
    def passages(self) -> list[str]:
        """MedQuAD answers to bury requests in: of documents kept for evaluation, and of no other.

        Documents share some answers word for word, such as what is said of a gene's inheritance.
        """
        trained = {item.answer for item in datasets.medquad("train")}
        found = (item.answer for item in datasets.medquad("evaluation"))
        return [answer for answer in found if answer and answer not in trained]

    @staticmethod
    def _benign(name: str) -> list[str]:
        return [item.prompt for item in datasets.requests(DATA / name) if item.request_harm == 0]


def _by_harm(items: Iterable[RestyledRequest]) -> tuple[list[str], list[str]]:
    found = list(items)
    return (
        [item.prompt for item in found if item.request_harm >= 2],
        [item.prompt for item in found if item.request_harm == 0],
    )
