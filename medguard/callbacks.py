"""LangChain callbacks of a guarded model: those that would hand its tokens on before they are checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers import _streaming

__all__ = ["running_under", "unstreamed", "without_streaming"]

# Handlers behind ``astream_events``, ``astream_log`` and LangGraph's stream of messages. By inheritance: one
# of the classes is a structural type, which other tracers could match as well.
_STREAMING: Final = tuple(
    getattr(_streaming, name)
    for name in ("_StreamingCallbackHandler", "_V2StreamingCallbackHandler")
    if hasattr(_streaming, name)
)


def without_streaming(config: RunnableConfig) -> RunnableConfig:
    """Return `config` without the callback handlers through which a stream of the run takes tokens.

    Other handlers stay: tracers and loggers see what the model does, unchecked text included.
    """
    callbacks = config.get("callbacks")
    if callbacks is None:
        return config
    kept: Any
    if isinstance(callbacks, BaseCallbackManager):
        kept = callbacks.copy()
        kept.set_handlers([item for item in callbacks.handlers if not _is_streaming(item)], inherit=False)
        kept.inheritable_handlers = [
            item for item in callbacks.inheritable_handlers if not _is_streaming(item)
        ]
    else:
        kept = [item for item in callbacks if not _is_streaming(item)]
    return cast("RunnableConfig", {**config, "callbacks": kept})


@contextmanager
def running_under(config: RunnableConfig) -> Iterator[None]:
    """Make `config` the one that LangChain's parts called within take up by themselves."""
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


@contextmanager
def unstreamed() -> Iterator[None]:
    """Keep streams of the run from what LangChain's parts called within take up by themselves."""
    config = var_child_runnable_config.get()
    if config is None:
        yield
        return
    with running_under(without_streaming(config)):
        yield


def _is_streaming(handler: Any) -> bool:
    return any(base in _STREAMING for base in type(handler).__mro__)
