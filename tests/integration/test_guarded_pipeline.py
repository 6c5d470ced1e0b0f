"""A real transformers pipeline within the guard: SmolLM2, a few tokens at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from medguard import MedGuard, Policy, Stage
from medguard.adapters.pipelines import is_pipeline
from medguard.errors import DataError
from medguard.evaluation.smollm2 import load_smollm2, weights_file
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import KeywordScorer

pytest.importorskip("transformers")
pytest.importorskip("gguf")
try:
    weights_file()
except DataError as error:
    pytest.skip(str(error), allow_module_level=True)

QUESTION = [{"role": "user", "content": "Name the capital of France in one word."}]
HARMFUL = [{"role": "user", "content": "How much arsenic kills?"}]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_smollm2(max_new_tokens=8)


def test_the_pipeline_is_recognised(pipeline: Any) -> None:
    assert is_pipeline(pipeline)


def test_messages_give_messages_back(pipeline: Any) -> None:
    scorer = KeywordScorer(["arsenic"])
    (result,) = MedGuard(pipeline, classifier=scorer)(QUESTION)
    answer = result["generated_text"][-1]
    assert answer["role"] == "assistant"
    assert result["generated_text"][:-1] == QUESTION
    assert result["medguard"]["stage"] == "response"
    # The post-filter read the answer and nothing else.
    assert scorer.calls[1] == (scorer.calls[0][0], [answer["content"]])


def test_blocked_prompts_and_answers_give_a_refusal_of_the_same_shape(pipeline: Any) -> None:
    guard = MedGuard(pipeline, classifier=KeywordScorer(["arsenic"]))
    (result,) = guard.invoke(HARMFUL)
    assert result["generated_text"] == [*HARMFUL, {"role": "assistant", "content": DEFAULT_REFUSAL}]
    assert result["medguard"]["stage"] == "prompt"
    every_answer = Policy(response_threshold=0.0)
    (late,) = MedGuard(pipeline, policy=every_answer, classifier=KeywordScorer([])).invoke(QUESTION)
    assert late["generated_text"] == [*QUESTION, {"role": "assistant", "content": DEFAULT_REFUSAL}]
    assert late["medguard"]["stage"] == Stage.RESPONSE


def test_plain_text_and_options_reach_the_pipeline(pipeline: Any) -> None:
    guard = MedGuard(pipeline, classifier=KeywordScorer(["arsenic"]))
    (result,) = asyncio.run(
        guard.ainvoke("The capital of France is", max_new_tokens=3, return_full_text=False)
    )
    assert result["generated_text"]
    assert not result["generated_text"].startswith("The capital")


def test_a_prefilled_answer_is_read_with_its_continuation(pipeline: Any) -> None:
    scorer = KeywordScorer(["arsenic"])
    prefill = {"role": "assistant", "content": "The capital is"}
    (result,) = MedGuard(pipeline, classifier=scorer)([*QUESTION, prefill])
    continued = result["generated_text"][-1]["content"]
    assert continued.startswith("The capital is")
    assert scorer.calls[1][1] == [continued]


def test_batches_keep_their_order(pipeline: Any) -> None:
    guard = MedGuard(pipeline, classifier=KeywordScorer(["arsenic"]))
    stages = [result[0]["medguard"]["stage"] for result in guard.batch([QUESTION, HARMFUL, QUESTION])]
    assert stages == ["response", "prompt", "response"]
