"""One loader per dataset. Each yields typed records lazily, from the pinned source or from given files."""

from __future__ import annotations

from medguard.evaluation.datasets.general import (
    advbench,
    harmbench,
    hh_rlhf,
    jailbreakbench,
    malicious_instruct,
    self_instruct,
    strongreject,
    xstest,
    xstest_completions,
)
from medguard.evaluation.datasets.medical import (
    med_harm_llama3,
    med_safety_bench,
    medication_qa,
    medquad,
    pubmed_qa,
)
from medguard.evaluation.datasets.own import (
    answer_labels,
    contrast_answers,
    judge_labels,
    request_labels,
    requests,
    restyled,
    second_judge_labels,
)

__all__ = [
    "advbench",
    "answer_labels",
    "contrast_answers",
    "harmbench",
    "hh_rlhf",
    "jailbreakbench",
    "judge_labels",
    "malicious_instruct",
    "med_harm_llama3",
    "med_safety_bench",
    "medication_qa",
    "medquad",
    "pubmed_qa",
    "request_labels",
    "requests",
    "restyled",
    "second_judge_labels",
    "self_instruct",
    "strongreject",
    "xstest",
    "xstest_completions",
]
