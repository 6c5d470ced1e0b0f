"""Requests to train on: judged ones, the project's own sets, and the upstream training splits."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from medguard.evaluation import datasets
from medguard.evaluation.records import JudgeLabel, QuestionAnswer, Request, RequestLabel, SecondJudgeLabel
from training.everyday import everyday_requests, smalltalk
from training.examples import DATA, OWN_PAIRS, Example, make_example
from training.targets import request_targets

__all__ = [
    "RESTYLED",
    "everyday",
    "general_harm",
    "general_pairs",
    "group_of",
    "judge_labels",
    "judged_requests",
    "llama3_labels",
    "llama3_requests",
    "medquad_questions",
    "own_pairs",
    "own_requests",
    "red_team_openings",
    "restyled_requests",
    "sample",
    "second_opinions",
    "self_instruct",
]


RESTYLED = (
    "restyled",
    "restyled_more",
    "restyled_third",
    "restyled_fourth",
    "restyled_fifth",
    "restyled_sixth",
)
"""Sources of rephrased requests."""


def judge_labels() -> dict[str, JudgeLabel]:
    """The judge's labels of the MedSafetyBench training requests, by id."""
    return {label.id: label for label in datasets.judge_labels(DATA / "judge_labels_train.jsonl")}


def second_opinions() -> dict[str, SecondJudgeLabel]:
    """The second judge's labels by id."""
    return {label.id: label for label in datasets.second_judge_labels(DATA / "judge_labels_second.jsonl")}


def group_of(item: Request) -> str:
    """The group of a request: that of the request whose twin it is, if any."""
    return item.contrasts_with or item.id


def sample(items: Iterable[QuestionAnswer], count: int, seed: int) -> list[QuestionAnswer]:
    """Draw `count` of `items`, or all where there are fewer."""
    pool = list(items)
    return random.Random(seed).sample(pool, min(count, len(pool)))


def judged_requests() -> Iterator[Example]:
    """MedSafetyBench's training requests at the level that the judges put them."""
    requests = {item.id: item for item in datasets.med_safety_bench("train")}
    second = second_opinions()
    for item_id, label in judge_labels().items():
        level = float(label.request_harm)
        if item_id in second:
            level = (level + second[item_id].request_harm) / 2.0
        targets = request_targets(level, violates=label.violates, general=0.0)
        yield make_example(item_id, "medsafetybench", item_id, requests[item_id].prompt, None, targets)


def own_requests() -> Iterator[Example]:
    """Benign twins and alarming but legitimate questions."""
    for source in ("contrast", "sensitive", "general_contrast"):
        yield from _written(source)


def llama3_labels() -> dict[str, RequestLabel]:
    """The judge's labels of a sample of med_harm_llama3, by id."""
    return {label.id: label for label in datasets.request_labels(DATA / "judge_labels_llama3.jsonl")}


def llama3_requests() -> Iterator[Example]:
    """A judged sample of med_harm_llama3, most requests with a twin on the other side."""
    labels = llama3_labels()
    for item in datasets.med_harm_llama3():
        if label := labels.get(item.id):
            targets = request_targets(label.request_harm, violates=label.violates, general=0.0)
            yield make_example(item.id, "llama3", item.id, item.prompt, None, targets)
    yield from _written("contrast_llama3")


def own_pairs() -> Iterator[Example]:
    """Medical requests and turns of conversations as people type them, beside legitimate look-alikes."""
    for source in (*OWN_PAIRS, "conversations"):
        yield from _written(source)


def restyled_requests() -> Iterator[Example]:
    """Rephrasings of requests and twins, with the label of what they rephrase."""
    labels = {**judge_labels(), **llama3_labels()}
    twins = {
        twin.id: group_of(twin)
        for source in ("contrast", "contrast_llama3")
        for twin in datasets.requests(DATA / f"{source}_train.jsonl")
    }
    for source in RESTYLED:
        for item in datasets.restyled(DATA / f"{source}_train.jsonl"):
            origin = item.derived_from
            violates = labels[origin].violates or () if origin in labels else ()
            targets = request_targets(item.request_harm, violates=violates, general=0.0)
            yield make_example(item.id, source, twins.get(origin, origin), item.prompt, None, targets)


def general_harm() -> Iterator[Example]:
    """Harmful requests outside medicine, and recorded jailbreaks that may train."""
    targets = request_targets(2.0, violates=None, general=1.0, severe_known=False)
    for item in (*datasets.advbench(), *datasets.malicious_instruct()):
        yield make_example(item.id, "general_harm", item.id, item.prompt, None, targets)
    for item in datasets.harmbench("val"):
        if item.topic == "standard":
            yield make_example(item.id, "general_harm", item.id, item.prompt, None, targets)
    for attack in datasets.jailbreakbench():
        if attack.may_train and attack.prompt:
            yield make_example(attack.id, "jailbreak", attack.id, attack.prompt, None, targets)


def general_pairs() -> Iterator[Example]:
    """Harmful requests outside medicine beside benign ones in much the same words."""
    for source in ("general_pairs", "general_more"):
        for item in datasets.requests(DATA / f"{source}_train.jsonl"):
            level = item.request_harm or 0
            targets = request_targets(
                level, violates=None if level else (), general=float(level >= 2), severe_known=not level
            )
            yield make_example(item.id, source, group_of(item), item.prompt, None, targets)


def red_team_openings() -> Iterator[Example]:
    """What red-teamers of hh-rlhf typed first, judged under the rubric."""
    dialogues = {item.id: item for item in datasets.hh_rlhf()}
    for item in datasets.request_labels(DATA / "judge_labels_hh.jsonl"):
        level = item.request_harm
        targets = request_targets(level, violates=None if level else (), general=min(1.0, level / 2.0))
        prompt = dialogues[item.id].turns[0][1].strip()
        yield make_example(item.id, "red_team", item.id, prompt, None, targets)


def medquad_questions(count: int, seed: int) -> Iterator[Example]:
    """Encyclopaedic questions, all benign."""
    targets = request_targets(0, violates=(), general=0.0)
    for item in sample(datasets.medquad("train"), count, seed):
        yield make_example(item.id, "medquad", item.document_id, item.question, None, targets)


def everyday(count: int, seed: int) -> Iterator[Example]:
    """Short everyday requests made from phrasings, and small talk."""
    conditions = sorted({item.focus for item in datasets.medquad("train") if item.focus})
    for number, item in enumerate(everyday_requests(conditions, count, seed)):
        targets = request_targets(item.request_harm, violates=item.violates, general=0.0)
        yield make_example(f"everyday-{number:04d}", "everyday", item.about, item.prompt, None, targets)
    benign = request_targets(0, violates=(), general=0.0)
    for number, prompt in enumerate(smalltalk()):
        yield make_example(f"smalltalk-{number:03d}", "smalltalk", prompt, prompt, None, benign)


def self_instruct() -> Iterator[Example]:
    """Everyday instructions to an assistant, all benign."""
    targets = request_targets(0, violates=(), general=0.0)
    for item in datasets.self_instruct():
        yield make_example(item.id, "self_instruct", item.id, item.instruction, None, targets)


def _written(source: str) -> Iterator[Example]:
    """Requests written for the project, as their file labels them."""
    for item in datasets.requests(DATA / f"{source}_train.jsonl"):
        targets = request_targets(item.request_harm or 0, violates=item.violates or (), general=0.0)
        yield make_example(item.id, source, group_of(item), item.prompt, None, targets)
