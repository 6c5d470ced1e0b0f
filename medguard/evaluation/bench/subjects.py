"""Models under test: the built-in SmolLM2, LangChain models, OpenAI-compatible URLs, recorded answers."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from medguard.errors import DataError, InvalidInputError, MedGuardError, ProviderError
from medguard.evaluation.bench.judge_models import (
    JudgeCallError,
    chat_model,
    completion_reply,
    split_url_spec,
)
from medguard.evaluation.bench.types import Answer, Subject
from medguard.evaluation.parsing import json_lines_of

__all__ = ["ChatSubject", "PipelineSubject", "RecordedSubject", "UrlSubject", "load_subject"]

_NEW_TOKENS: Final = 128
_AT_ONCE: Final = 8
"""Requests under way at a URL."""
_KEY: Final = "MEDGUARD_SUBJECT_KEY"


def load_subject(spec: str) -> Subject:
    """Make a subject of its specification; models are loaded at the first question.

    Args:
        spec: ``smollm2``, ``recorded:FILE``, ``transformers:PATH``, ``http(s)://…#model`` or
            ``PROVIDER:MODEL`` as LangChain's ``init_chat_model`` takes it.

    Raises:
        InvalidInputError: It is none of these.
        DataError: The file of recorded answers cannot be read.
    """
    kind, _, rest = spec.partition(":")
    if spec == "smollm2":
        return PipelineSubject(f"SmolLM2-135M-Instruct (greedy, {_NEW_TOKENS} tokens)", _smollm2)
    if kind in ("http", "https"):
        return UrlSubject(spec)
    if kind == "recorded" and rest:
        return RecordedSubject(Path(rest))
    if kind == "transformers" and rest:
        return PipelineSubject(f"transformers:{rest}", lambda: _transformers(rest))
    if kind and rest:
        return ChatSubject(spec, lambda: chat_model(spec))
    raise InvalidInputError(
        "a subject is smollm2, recorded:FILE, transformers:PATH, http(s)://URL#MODEL or PROVIDER:MODEL"
    )


class PipelineSubject:
    """A transformers text-generation pipeline; its answers share the time of their batch."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        """Name the subject and say how its pipeline is loaded."""
        self.name = name
        self._load = load

    @cached_property
    def _pipeline(self) -> Any:
        return self._load()

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer in batches of like length; where a batch fails, each of its requests has failed."""
        from medguard.evaluation.smollm2 import generate_answers

        started = time.perf_counter()
        try:
            texts = generate_answers(self._pipeline, prompts)
        except MedGuardError as error:
            return [Answer(None, error=f"{type(error).__name__}: {error}") for _ in prompts]
        each = (time.perf_counter() - started) / max(1, len(prompts))
        return [Answer(text, seconds=each) for text in texts]


class ChatSubject:
    """A LangChain chat model."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        """Name the subject and say how its model is made."""
        self.name = name
        self._load = load

    @cached_property
    def _model(self) -> Any:
        return self._load()

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        """Answer with the model's own batch."""
        started = time.perf_counter()
        replies = self._model.batch(list(prompts), return_exceptions=True)
        each = (time.perf_counter() - started) / max(1, len(prompts))
        return [
            Answer(None, error=type(reply).__name__, seconds=each)
            if isinstance(reply, Exception)
            else Answer(str(reply.text), seconds=each)
            for reply in replies
        ]


class UrlSubject:
    """A model behind an OpenAI-compatible URL; the key is in ``MEDGUARD_SUBJECT_KEY``."""

    def __init__(self, spec: str) -> None:
        """Read ``URL#MODEL``.

        Raises:
            DataError: No host or no model is named.
        """
        parts = split_url_spec(spec)
        if parts is None:
            raise DataError("expected an address as URL#MODEL, such as http://127.0.0.1:8000/v1#my-model")
        self._url, self._model, shown = parts
        self.name = f"{shown}#{self._model}"

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        """Ask some at a time; a failure takes the answer's place."""
        import httpx

        key = os.environ.get(_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(timeout=600, headers=headers) as client,
            ThreadPoolExecutor(max_workers=_AT_ONCE) as pool,
        ):
            return list(pool.map(lambda prompt: self._ask(client, prompt), prompts))

    def _ask(self, client: Any, prompt: str) -> Answer:
        import httpx

        started = time.perf_counter()
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": _NEW_TOKENS,
        }
        try:
            reply = client.post(f"{self._url.rstrip('/')}/chat/completions", json=body)
            reply.raise_for_status()
            text = str(completion_reply(reply.content).content)
        except httpx.HTTPStatusError as error:
            return Answer(None, error=f"status {error.response.status_code}")
        except JudgeCallError:
            return Answer(None, error="no chat completion")
        except httpx.HTTPError as error:
            return Answer(None, error=type(error).__name__)
        return Answer(text, seconds=time.perf_counter() - started)


class RecordedSubject:
    """Answers from a JSONL file with ``prompt`` and ``response`` in each line."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: It cannot be read, or a line lacks a field.
        """
        self._answers: dict[str, str] = {}
        digest = hashlib.sha256()
        for number, line in enumerate(json_lines_of(path), start=1):
            prompt, response = line.get("prompt"), line.get("response")
            if not isinstance(prompt, str) or not isinstance(response, str):
                raise DataError(f"{path}, line {number}: expected prompt and response, both strings")
            self._answers[prompt] = response
            digest.update(f"{prompt}\0{response}\0".encode())
        self.name = f"recorded:{path.name}@{digest.hexdigest()[:12]}"

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        """Look the answers up."""
        return [
            Answer(self._answers[prompt])
            if prompt in self._answers
            else Answer(None, error="no answer is recorded")
            for prompt in prompts
        ]


def _smollm2() -> Any:
    from medguard.evaluation.smollm2 import load_smollm2

    return load_smollm2(max_new_tokens=_NEW_TOKENS)


def _transformers(path: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ProviderError(f"transformers cannot be imported ({error}): medguard[demo]") from error
    pipeline = transformers.pipeline("text-generation", model=path, device="cpu")
    pipeline.generation_config.do_sample = False
    pipeline.generation_config.max_new_tokens = _NEW_TOKENS
    pipeline.tokenizer.padding_side = "left"
    if pipeline.tokenizer.pad_token is None:
        pipeline.tokenizer.pad_token = pipeline.tokenizer.eos_token
    return pipeline
