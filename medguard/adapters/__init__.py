"""One adapter per kind of model."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable

from medguard.adapters.base import Adapter
from medguard.adapters.callables import CallableAdapter, GuardedStr
from medguard.adapters.pipelines import PipelineAdapter, is_pipeline
from medguard.adapters.runnables import RunnableAdapter
from medguard.errors import InvalidInputError

__all__ = ["Adapter", "GuardedStr", "adapt"]


def adapt(model: Any) -> Adapter:
    """Choose the adapter for `model`.

    Raises:
        InvalidInputError: Nothing that can be called.
    """
    if isinstance(model, Adapter):
        return model
    if isinstance(model, Runnable):
        return RunnableAdapter(model)
    if is_pipeline(model):
        return PipelineAdapter(model)
    if callable(model):
        return CallableAdapter(model)
    raise InvalidInputError(
        "MedGuard guards a function, a LangChain runnable or a transformers pipeline, "
        f"found {type(model).__name__}"
    )
