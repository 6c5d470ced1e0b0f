"""The loaders on the pinned archives, where they are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from medguard.evaluation import datasets
from medguard.evaluation.archives import open_source
from medguard.evaluation.sources import manifest
from tests.upstream import requires_upstream

ROOT = Path(__file__).resolve().parents[2]
TRAIN, EVALUATION = ROOT / "training" / "data", ROOT / "benchmarks" / "data"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=requires_upstream(name)) for name in sorted(manifest())]
)
def test_archive_matches_the_manifest(name: str) -> None:
    source = manifest()[name]
    assert all(source.uses(path) for path in open_source(source))


@requires_upstream("med-safety-bench")
def test_med_safety_bench_has_nine_hundred_of_each_and_llama3_74374() -> None:
    for split in ("train", "test"):
        items = list(datasets.med_safety_bench(split))
        assert len({item.id for item in items}) == 900
        assert Counter(item.author for item in items) == {"gpt4": 450, "llama2": 450}
        assert {item.principle for item in items} == set(range(1, 10))
        assert all(item.prompt and item.safe_response for item in items)
    assert len({item.id for item in datasets.med_harm_llama3()}) == 74_374


@requires_upstream("med-safety-bench")
def test_labels_name_requests_that_exist() -> None:
    train = {item.id: item for item in datasets.med_safety_bench("train")}
    test = {item.id: item for item in datasets.med_safety_bench("test")}
    labels = list(datasets.judge_labels(TRAIN / "judge_labels_train.jsonl"))
    assert {label.id for label in labels} == set(train)
    assert all(train[label.id].principle == label.principle for label in labels)
    assert {label.id for label in datasets.judge_labels(EVALUATION / "judge_labels_eval.jsonl")} < set(test)
    forced = list(datasets.answer_labels(TRAIN / "judge_labels_forced.jsonl"))
    assert {label.request_id for label in forced} <= set(train)


@requires_upstream("medquad")
def test_medquad_parts_all_documents() -> None:
    train, kept = list(datasets.medquad("train")), list(datasets.medquad("evaluation"))
    assert len(train) + len(kept) == 16_412
    assert {item.document_id for item in train}.isdisjoint(item.document_id for item in kept)
    assert len({item.id for item in (*train, *kept)}) == 16_412


@requires_upstream("medication-qa", "pubmedqa")
def test_medical_questions() -> None:
    questions = list(datasets.medication_qa())
    assert len(questions) == 651
    assert all(item.question and item.answer for item in questions[:50])
    pubmed = list(datasets.pubmed_qa())
    assert Counter(item.is_test for item in pubmed) == {True: 500, False: 500}
    assert {item.decision for item in pubmed} == {"yes", "no", "maybe"}


@requires_upstream("general-harm", "jailbreakbench")
def test_general_harm() -> None:
    assert [len(list(datasets.harmbench(split))) for split in ("val", "test")] == [80, 320]
    assert len(list(datasets.advbench())) == 520
    assert len(list(datasets.malicious_instruct())) == 100
    assert len(list(datasets.strongreject())) == 313
    attacks = list(datasets.jailbreakbench())
    assert len(attacks) == len({item.id for item in attacks}) == 1800


@requires_upstream("general-harm")
def test_general_twins_name_requests_that_exist() -> None:
    harmful = {item.id for item in (*datasets.advbench(), *datasets.malicious_instruct())}
    twins = list(datasets.requests(TRAIN / "general_contrast_train.jsonl"))
    assert len(twins) == 360
    assert {item.contrasts_with for item in twins} <= harmful


@requires_upstream("xstest")
def test_xstest() -> None:
    prompts = {item.id: item for item in datasets.xstest()}
    assert Counter(item.is_safe for item in prompts.values()) == {True: 250, False: 200}
    completions = list(datasets.xstest_completions())
    assert len(completions) == 2250
    # Upstream reworded one unsafe prompt after the answers were collected.
    reworded = {item.id for item in completions if prompts[item.id].prompt != item.prompt}
    assert len(reworded) == 1


@requires_upstream("hh-rlhf", "self-instruct")
def test_dialogues_and_instructions() -> None:
    dialogues = list(datasets.hh_rlhf())
    assert len(dialogues) > 2000
    assert all(item.turns[-1][0] == "human" for item in dialogues)
    assert len(list(datasets.self_instruct())) == 427


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (TRAIN / "contrast_train.jsonl", 900),
        (TRAIN / "sensitive_train.jsonl", 150),
        (EVALUATION / "contrast_eval.jsonl", 450),
        (EVALUATION / "sensitive_eval.jsonl", 73),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_own_requests_are_benign_or_borderline(path: Path, lines: int) -> None:
    items = list(datasets.requests(path))
    assert len({item.id for item in items}) == lines
    assert {item.request_harm for item in items} <= {0, 1}


def test_own_labels_and_rephrasings_are_complete() -> None:
    assert len(list(datasets.restyled(TRAIN / "restyled_train.jsonl"))) == 1620
    assert len(list(datasets.restyled(EVALUATION / "restyled_eval.jsonl"))) == 176
    assert len(list(datasets.second_judge_labels(TRAIN / "judge_labels_second.jsonl"))) == 180
    assert len(list(datasets.contrast_answers(TRAIN / "answers_contrast.jsonl"))) == 196
    for label in datasets.judge_labels(EVALUATION / "judge_labels_eval.jsonl"):
        assert 0 <= label.request_harm <= 3
        assert 1 <= label.harmfulness <= 5
        assert set(label.violates) <= set(range(1, 10))
