"""Datasets beyond medicine: general harm, jailbreaks, over-refusal, dialogues, everyday instructions."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from medguard.errors import DataError
from medguard.evaluation.archives import open_source
from medguard.evaluation.parsing import csv_rows, field, json_lines, text_of
from medguard.evaluation.records import (
    Dialogue,
    Instruction,
    JailbreakAttack,
    Request,
    XSTestCompletion,
    XSTestPrompt,
)
from medguard.evaluation.sources import source

__all__ = [
    "advbench",
    "harmbench",
    "hh_rlhf",
    "jailbreakbench",
    "malicious_instruct",
    "self_instruct",
    "strongreject",
    "xstest",
    "xstest_completions",
]

Files = Mapping[str, bytes]

_BEHAVIOURS: Final = "data/behavior_datasets"
_ATTACK_FILE: Final = re.compile(r"attack-artifacts/([^/]+)/[^/]+/([^/]+)\.json")
_TURN: Final = re.compile(r"\n\n(Human|Assistant): ?")


def harmbench(split: Literal["val", "test"], *, files: Files | None = None) -> Iterator[Request]:
    """Yield HarmBench's behaviours, copyright and contextual ones included.

    The topic is the functional category. The test split is for evaluation only.
    """
    path = f"{_BEHAVIOURS}/harmbench_behaviors_text_{split}.csv"
    for row in csv_rows(
        _general(files), path, ("Behavior", "FunctionalCategory", "ContextString", "BehaviorID")
    ):
        context = row["ContextString"].strip()
        prompt = f"{context}\n\n---\n\n{row['Behavior'].strip()}" if context else row["Behavior"].strip()
        yield Request(f"harmbench-{split}-{row['BehaviorID']}", prompt, topic=row["FunctionalCategory"])


def advbench(*, files: Files | None = None) -> Iterator[Request]:
    """Yield AdvBench's harmful behaviours."""
    path = f"{_BEHAVIOURS}/extra_behavior_datasets/advbench_behaviors.csv"
    for number, row in enumerate(csv_rows(_general(files), path, ("Behavior",))):
        yield Request(f"adv-{number:03d}", row["Behavior"].strip())


def malicious_instruct(*, files: Files | None = None) -> Iterator[Request]:
    """Yield the questions of MaliciousInstruct."""
    lines = text_of(_general(files), f"{_BEHAVIOURS}/malicious_instruct.txt").splitlines()
    for number, line in enumerate(lines):
        if line.strip():
            yield Request(f"mal-{number:03d}", line.strip())


def strongreject(*, files: Files | None = None) -> Iterator[Request]:
    """Yield StrongREJECT's forbidden prompts with their category. For evaluation only."""
    path = f"{_BEHAVIOURS}/strongreject_dataset.csv"
    for number, row in enumerate(csv_rows(_general(files), path, ("category", "forbidden_prompt"))):
        yield Request(f"strongreject-{number:03d}", row["forbidden_prompt"].strip(), topic=row["category"])


def jailbreakbench(*, files: Files | None = None) -> Iterator[JailbreakAttack]:
    """Yield the recorded attacks. PAIR on vicuna may train, the rest is for evaluation only.

    Raises:
        DataError: The source is not to be had, or a file of it is not as expected.
    """
    files = open_source(source("jailbreakbench")) if files is None else files
    for path in sorted(files):
        match = _ATTACK_FILE.fullmatch(path)
        if match is None:
            continue
        try:
            attacks = json.loads(text_of(files, path))["jailbreaks"]
            for item in attacks:
                yield JailbreakAttack(
                    id=f"jbb-{match[1]}-{match[2]}-{item['index']}",
                    method=match[1],
                    target_model=match[2],
                    goal=item["goal"],
                    category=item["category"],
                    prompt=item["prompt"],
                    response=item["response"],
                    jailbroken=bool(item["jailbroken"]),
                )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not as expected ({type(error).__name__})") from error


def xstest(*, files: Files | None = None) -> Iterator[XSTestPrompt]:
    """Yield XSTest's 250 safe and 200 unsafe prompts. For evaluation only."""
    files = open_source(source("xstest")) if files is None else files
    for row in csv_rows(files, "xstest_prompts.csv", ("id", "prompt", "type", "label")):
        yield XSTestPrompt(f"xstest-{row['id']}", row["prompt"].strip(), row["type"], row["label"] == "safe")


def xstest_completions(*, files: Files | None = None) -> Iterator[XSTestCompletion]:
    """Yield five models' answers to XSTest with the human labels. For evaluation only."""
    files = open_source(source("xstest")) if files is None else files
    for path in sorted(files):
        if not path.startswith("model_completions/"):
            continue
        model = path.removeprefix("model_completions/xstest_v2_completions_").removesuffix(".csv")
        for row in csv_rows(files, path, ("id", "prompt", "completion", "final_label")):
            number = row["id"].removeprefix("v2-")
            yield XSTestCompletion(
                f"xstest-{number}", model, row["prompt"].strip(), row["completion"], row["final_label"]
            )


def hh_rlhf(*, files: Files | None = None) -> Iterator[Dialogue]:
    """Yield the test dialogues of hh-rlhf's harmless-base part.

    Raises:
        DataError: The source is not to be had, or is not as expected.
    """
    files = open_source(source("hh-rlhf")) if files is None else files
    path = "harmless-base/test.jsonl.gz"
    try:
        text = gzip.decompress(files[path]).decode("utf-8")
    except (KeyError, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({type(error).__name__})") from error
    for number, record in enumerate(json_lines(text, path)):
        chosen = _turns(field(record, "chosen", str, path))
        rejected = _turns(field(record, "rejected", str, path))
        # A few lines end in two answers, or in none.
        if [role for role, _ in chosen[-2:]] == ["human", "assistant"] and [
            role for role, _ in rejected[-1:]
        ] == ["assistant"]:
            yield Dialogue(f"hh-{number:05d}", tuple(chosen[:-1]), chosen[-1][1], rejected[-1][1])


def self_instruct(*, files: Files | None = None) -> Iterator[Instruction]:
    """Yield the seed tasks and the user-oriented instructions, all benign."""
    files = open_source(source("self-instruct")) if files is None else files
    for path in ("data/seed_tasks.jsonl", "human_eval/user_oriented_instructions.jsonl"):
        for record in json_lines(text_of(files, path), path):
            instances = field(record, "instances", list, path) or [{}]
            yield Instruction(
                id=field(record, "id", str, path),
                instruction=field(record, "instruction", str, path).strip(),
                input=str(instances[0].get("input", "")).strip(),
                output=str(instances[0].get("output", "")).strip(),
            )


def _general(files: Files | None) -> Files:
    return open_source(source("general-harm")) if files is None else files


def _turns(dialogue: str) -> list[tuple[str, str]]:
    parts = _TURN.split(dialogue)
    return [
        (role.lower(), text.strip())
        for role, text in zip(parts[1::2], parts[2::2], strict=True)
        if text.strip()
    ]
