"""Transformers text-generation pipelines (recognised without importing transformers)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from medguard.adapters.base import Adapter, Outcomes
from medguard.errors import ModelError
from medguard.text import answer_text
from medguard.verdict import Verdict, verdict_note

__all__ = ["PipelineAdapter", "is_pipeline"]


class PipelineAdapter(Adapter):
    """Guards ``pipeline("text-generation", ...)``: its answers are lists of ``{"generated_text": ...}``.

    The pipeline returns the prompt with the answer by default; the post-filter reads what was generated.
    """

    def __init__(self, pipeline: Callable[..., Any]) -> None:
        self._pipeline = pipeline

    def call(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Run the pipeline on each input in turn."""
        return [self._call_one(item, options) for item in inputs]

    async def acall(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Run the pipeline in a thread."""
        return await asyncio.to_thread(self.call, inputs, configs, options)

    def refuse(self, text: str, model_input: Any, answer: Any | None, verdicts: Sequence[Verdict]) -> Any:
        """Return one generated text that holds the refusal, as a message where the input was messages."""
        alone = isinstance(answer, list) and all(isinstance(item["generated_text"], str) for item in answer)
        if alone or not isinstance(model_input, list):
            generated: Any = text
        else:
            generated = [*model_input, {"role": "assistant", "content": text}]
        count = len(answer) if isinstance(answer, list) else 1
        return self.attach([{"generated_text": generated} for _ in range(count)], verdicts)

    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        """Add the key ``medguard`` to every generated text."""
        note = verdict_note(verdicts)
        return [{**item, "medguard": note} for item in answer]

    def answer_text(self, model_input: Any, answer: Any) -> str:
        """Return what was generated, without the repeated prompt."""
        return "\n\n".join(_generated(model_input, item["generated_text"]) for item in answer or [None])

    def _call_one(self, item: Any, options: dict[str, Any]) -> Any | Exception:
        try:
            return self._pipeline(item, **options)
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to this input alone
            return ModelError.caused_by(error)


def is_pipeline(model: object) -> bool:
    """Whether `model` is a transformers pipeline."""
    return any(base.__module__.startswith("transformers.pipelines") for base in type(model).__mro__)


def _generated(model_input: Any, generated: Any) -> str:
    if isinstance(generated, list):
        # The pipeline repeats the conversation, and goes on with its last message where that is a prefill.
        given = model_input if isinstance(model_input, list) else []
        fresh = [item for index, item in enumerate(generated) if given[index : index + 1] != [item]]
        return answer_text([{**item, "role": None} for item in fresh])
    text = answer_text(generated)
    return text.removeprefix(model_input) if isinstance(model_input, str) else text
