"""Training examples from the judge labels, the project's own sets and the upstream training splits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medguard.evaluation import datasets
from medguard.evaluation.records import (
    HarmfulRequest,
    JudgeLabel,
    QuestionAnswer,
    Request,
    SecondJudgeLabel,
)
from medguard.scores import LABELS
from training.config import DataConfig
from training.everyday import everyday_requests, smalltalk
from training.targets import Targets, answer_targets, request_targets

__all__ = [
    "DATA",
    "Example",
    "build_examples",
    "is_held_out",
    "split_examples",
]

DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True, slots=True)
class Example:
    """One text with what is known of it."""

    id: str
    source: str
    """Data set, as named in the data card."""
    group: str
    """Request, twin and rephrasings share a group, so that a split never parts them."""
    prompt: str
    response: str | None
    targets: tuple[float, ...]
    mask: tuple[float, ...]
    weight: float = 1.0

    @property
    def is_benign_medical_request(self) -> bool:
        """A hard benign medical request: what operating points are fixed on."""
        return self.response is None and self.source in ("contrast", "sensitive") and self.targets[0] == 0.0

    @property
    def is_harmless_answer(self) -> bool:
        """A model's answer at harmfulness 1 or 2: what the response thresholds are fixed on."""
        written = self.source in ("judged_answers", "forced_answers", "contrast_answers")
        return written and self.targets[LABELS.index("harmfulness>=3")] == 0.0


def build_examples(config: DataConfig, seed: int) -> list[Example]:
    """Read every training source; `config.limit` shortens each (for tests)."""
    labels = {label.id: label for label in datasets.judge_labels(DATA / "judge_labels_train.jsonl")}
    requests = {item.id: item for item in datasets.med_safety_bench("train")}
    sources: Sequence[Iterable[Example]] = (
        _judged_requests(labels, requests),
        _own_requests(),
        _restyled(labels, config.restyled_weight),
        _general_requests(),
        _medquad_requests(config.medquad_questions, seed),
        _everyday_requests(config.everyday_requests, seed),
        _self_instruct(),
        _judged_answers(labels, requests),
        _safe_answers(requests),
        _contrast_answers(),
        _medquad_answers(config.medquad_answers, seed),
    )
    examples = [example for source in sources for example in _first(source, config.limit)]
    return _drop_prompts(examples, config.prompt_dropout, seed)


def split_examples(examples: Sequence[Example], fraction: float) -> tuple[list[Example], list[Example]]:
    """Part the examples into training and held-out ones by a hash of their group."""
    train = [item for item in examples if not is_held_out(item.group, fraction)]
    return train, [item for item in examples if is_held_out(item.group, fraction)]


def is_held_out(group: str, fraction: float) -> bool:
    """Whether the hash of `group` falls in the first `fraction` of its range.

    The prefix keeps this choice independent of the one that keeps MedQuAD documents for evaluation.
    """
    number = int.from_bytes(hashlib.sha256(f"held-out:{group}".encode()).digest()[:8], "big")
    return number < fraction * 2**64


def _example(
    item_id: str, source: str, group: str, prompt: str, response: str | None, targets: Targets
) -> Example:
    return Example(item_id, source, group, prompt, response, *targets)


def _group(item: Request) -> str:
    return item.contrasts_with or item.id


def _second_opinions() -> dict[str, SecondJudgeLabel]:
    return {label.id: label for label in datasets.second_judge_labels(DATA / "judge_labels_second.jsonl")}


def _judged_requests(
    labels: Mapping[str, JudgeLabel], requests: Mapping[str, HarmfulRequest]
) -> Iterator[Example]:
    second = _second_opinions()
    for item_id, label in labels.items():
        level = float(label.request_harm)
        if item_id in second:
            level = (level + second[item_id].request_harm) / 2.0
        targets = request_targets(level, violates=label.violates, general=False)
        yield _example(item_id, "medsafetybench", item_id, requests[item_id].prompt, None, targets)


def _own_requests() -> Iterator[Example]:
    for source in ("contrast", "sensitive", "general_contrast"):
        for item in datasets.requests(DATA / f"{source}_train.jsonl"):
            targets = request_targets(item.request_harm or 0, violates=(), general=False)
            yield _example(item.id, source, _group(item), item.prompt, None, targets)


def _restyled(labels: Mapping[str, JudgeLabel], weight: float) -> Iterator[Example]:
    twins = {twin.id: _group(twin) for twin in datasets.requests(DATA / "contrast_train.jsonl")}
    for item in datasets.restyled(DATA / "restyled_train.jsonl"):
        origin = item.derived_from
        violates = labels[origin].violates if origin in labels else ()
        targets = request_targets(item.request_harm, violates=violates, general=False)
        example = _example(item.id, "restyled", twins.get(origin, origin), item.prompt, None, targets)
        yield replace(example, weight=weight)


def _general_requests() -> Iterator[Example]:
    targets = request_targets(2.0, violates=None, general=True, severe_known=False)
    for item in (*datasets.advbench(), *datasets.malicious_instruct()):
        yield _example(item.id, "general_harm", item.id, item.prompt, None, targets)
    for item in datasets.harmbench("val"):
        if item.topic == "standard":
            yield _example(item.id, "general_harm", item.id, item.prompt, None, targets)
    for attack in datasets.jailbreakbench():
        if attack.may_train and attack.prompt:
            yield _example(attack.id, "jailbreak", attack.id, attack.prompt, None, targets)


def _sample(items: Iterable[QuestionAnswer], count: int, seed: int) -> list[QuestionAnswer]:
    pool = list(items)
    return random.Random(seed).sample(pool, min(count, len(pool)))


def _medquad_requests(count: int, seed: int) -> Iterator[Example]:
    targets = request_targets(0, violates=(), general=False)
    for item in _sample(datasets.medquad("train"), count, seed):
        yield _example(item.id, "medquad", item.document_id, item.question, None, targets)


def _everyday_requests(count: int, seed: int) -> Iterator[Example]:
    conditions = sorted({item.focus for item in datasets.medquad("train") if item.focus})
    for number, item in enumerate(everyday_requests(conditions, count, seed)):
        targets = request_targets(item.request_harm, violates=item.violates, general=False)
        yield _example(f"everyday-{number:04d}", "everyday", item.about, item.prompt, None, targets)
    benign = request_targets(0, violates=(), general=False)
    for number, prompt in enumerate(smalltalk()):
        yield _example(f"smalltalk-{number:03d}", "smalltalk", prompt, prompt, None, benign)


def _self_instruct() -> Iterator[Example]:
    targets = request_targets(0, violates=(), general=False)
    for item in datasets.self_instruct():
        yield _example(item.id, "self_instruct", item.id, item.instruction, None, targets)


def _judged_answers(
    labels: Mapping[str, JudgeLabel], requests: Mapping[str, HarmfulRequest]
) -> Iterator[Example]:
    second = _second_opinions()
    for item_id, label in labels.items():
        score = float(label.harmfulness)
        if item_id in second:
            score = (score + second[item_id].harmfulness) / 2.0
        targets = answer_targets(score, violates=label.violates)
        yield _example(
            f"{item_id}-a", "judged_answers", item_id, requests[item_id].prompt, label.response, targets
        )
    for forced in datasets.forced_labels(DATA / "judge_labels_forced.jsonl"):
        targets = answer_targets(forced.harmfulness, violates=labels[forced.request_id].violates)
        prompt = requests[forced.request_id].prompt
        yield _example(forced.id, "forced_answers", forced.request_id, prompt, forced.response, targets)


def _safe_answers(requests: Mapping[str, HarmfulRequest]) -> Iterator[Example]:
    targets = answer_targets(1, violates=())
    for item in requests.values():
        if item.safe_response:
            yield _example(f"{item.id}-s", "safe_answers", item.id, item.prompt, item.safe_response, targets)


def _contrast_answers() -> Iterator[Example]:
    own = (DATA / "contrast_train.jsonl", DATA / "sensitive_train.jsonl")
    requests = {item.id: item for path in own for item in datasets.requests(path)}
    targets = answer_targets(1, violates=())
    for answer in datasets.contrast_answers(DATA / "answers_contrast.jsonl"):
        asked = requests[answer.id]
        yield _example(
            f"{answer.id}-a", "contrast_answers", _group(asked), asked.prompt, answer.response, targets
        )


def _medquad_answers(count: int, seed: int) -> Iterator[Example]:
    targets = answer_targets(1, violates=())
    answered = (item for item in datasets.medquad("train") if item.answer)
    for item in _sample(answered, count, seed + 1):
        yield _example(
            f"{item.id}-a", "medquad_answers", item.document_id, item.question, item.answer, targets
        )


def _first(source: Iterable[Example], limit: int | None) -> Iterator[Example]:
    for index, example in enumerate(source):
        if limit is not None and index >= limit:
            return
        yield example


def _drop_prompts(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Show a share of the answers without their request, as `check_response` may be asked to judge them."""
    draw = random.Random(seed)
    return [
        replace(item, prompt="") if item.response is not None and draw.random() < share else item
        for item in examples
    ]
