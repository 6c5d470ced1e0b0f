"""`MedGuard`: the same model, made safer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from copy import copy
from typing import Any, Final, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from medguard.adapters import adapt
from medguard.callbacks import without_streaming
from medguard.checker import Checker
from medguard.classifier import Scorer
from medguard.flow import guarded_calls
from medguard.observe import Observer
from medguard.policy import Policy
from medguard.steps import END, CallModel, Emit, Judge, NextChunk, or_raise
from medguard.streaming import guarded_stream
from medguard.verdict import Verdict

__all__ = ["MedGuard"]

logger = logging.getLogger(__name__)

_PASSED_THROUGH: Final = ("bind_tools", "with_structured_output")


class MedGuard(Runnable[Any, Any]):
    """A guard around a model, itself a LangChain runnable with the model's own input and output.

    Requests are checked before the model sees them and answers before the caller does. A blocked one gives
    a refusal of the type of the model's answers. An error in the guard blocks unless the policy says
    otherwise.

    Verdicts are attached to answers: ``answer.verdict`` on a str, ``response_metadata["medguard"]`` on a
    LangChain message, the key ``medguard`` on a pipeline's result.
    """

    def __init__(
        self,
        model: Any,
        *,
        policy: Policy | None = None,
        classifier: Scorer | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Wrap `model`.

        Args:
            model: A function (sync or async), a LangChain chat model or chain, or a transformers
                text-generation pipeline.
            policy: What to block and how; the default blocks at the ``balanced`` operating point.
            classifier: The classifier; None loads the bundled one.
            observers: Told of every judgement, such as an `AuditLog`.

        Raises:
            InvalidInputError: `model` is nothing that can be guarded.
            PolicyError: The policy names an operating point that the classifier lacks.
            BundleError: The classifier cannot be loaded.
            ProviderError: No inference runtime is installed.
        """
        self._adapter = adapt(model)
        self.model = model
        self.checker = Checker(policy=policy, classifier=classifier, observers=observers)

    def __call__(self, input: Any, **options: Any) -> Any:  # noqa: A002
        """Call the guarded model as the model itself is called; awaitable where the model is."""
        return self.ainvoke(input, **options) if self._adapter.is_async else self.invoke(input, **options)

    @property
    def InputType(self) -> Any:  # noqa: N802
        """What the guarded model takes."""
        return self.model.InputType if isinstance(self.model, Runnable) else Any

    @property
    def OutputType(self) -> Any:  # noqa: N802
        """What the guarded model gives; a guard or chain around this guard chooses its refusals by it."""
        return self.model.OutputType if isinstance(self.model, Runnable) else Any

    @property
    def policy(self) -> Policy:
        """What is blocked and how."""
        return self.checker.policy

    @property
    def classifier(self) -> Scorer:
        """The classifier that scores."""
        return self.checker.classifier

    def check_prompt(self, prompt: str) -> Verdict:
        """Judge a request alone, without calling the model; see `Checker.check_prompt`."""
        return self.checker.check_prompt(prompt)

    def check_response(self, response: str, *, prompt: str = "") -> Verdict:
        """Judge an answer, without calling the model; see `Checker.check_response`."""
        return self.checker.check_response(response, prompt=prompt)

    def check_prompts(self, prompts: Sequence[str]) -> list[Verdict]:
        """Judge many requests in one classifier call; see `Checker.check_prompts`."""
        return self.checker.check_prompts(prompts)

    def check_responses(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Judge many answers in one classifier call; see `Checker.check_responses`."""
        return self.checker.check_responses(prompts, responses)

    async def acheck_prompt(self, prompt: str) -> Verdict:
        """Judge a request without blocking the event loop."""
        return await asyncio.to_thread(self.check_prompt, prompt)

    async def acheck_response(self, response: str, *, prompt: str = "") -> Verdict:
        """Judge an answer without blocking the event loop."""
        return await asyncio.to_thread(self.check_response, response, prompt=prompt)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Guard one call.

        Args:
            input: What the model takes.
            config: LangChain configuration, passed on to the model.
            **kwargs: Passed on to the model.

        Returns:
            The model's answer, or a refusal of the same type, with the verdicts attached.

        Raises:
            ModelError: The model raised, or returned nothing usable.
            BlockedError: Blocked, and the answer type has no place for a refusal.
        """
        return self._call_with_config(self._run_one, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Guard one call without blocking the event loop; see `invoke`."""
        return await self._acall_with_config(self._arun_one, input, config, **kwargs)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[Any]:
        """Guard many calls: one classifier call per stage, and the model's own batch on what passed."""
        return self._batch_with_config(
            self._run_many, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[Any]:
        """Guard many calls without blocking the event loop; see `batch`."""
        return await self._abatch_with_config(
            self._arun_many, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def stream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> Iterator[Any]:
        """Guard one call and yield the answer in chunks, each once the window that holds it has passed.

        At the first blocked window the stream ends with the refusal as its last chunk. Message chunks
        carry the verdicts on the last one.

        Raises:
            ModelError: The model raised, or gave a chunk without a text to find; what was held is dropped.
            BlockedError: Blocked, and the chunks have no place for a refusal.
        """
        yield from self._transform_stream_with_config(iter([input]), self._stream_one, config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> AsyncIterator[Any]:
        """Guard one call and yield the answer in chunks without blocking the event loop; see `stream`."""

        async def alone() -> AsyncIterator[Any]:
            yield input

        chunks = self._atransform_stream_with_config(alone(), self._astream_one, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Any]", chunks)) as held:
            async for chunk in held:
                yield chunk

    def __getattr__(self, name: str) -> Any:
        """Give `bind_tools` and `with_structured_output` where the model has them, guarded alike."""
        if name not in _PASSED_THROUGH or "model" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method = getattr(self.model, name)

        def guarded(*arguments: Any, **options: Any) -> MedGuard:
            return self._around(method(*arguments, **options))

        return guarded

    def _around(self, model: Any) -> MedGuard:
        """Put this guard around another model."""
        other = copy(self)
        other.model, other._adapter = model, adapt(model)
        return other

    def _run_one(
        self, item: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Any:
        (result,) = self._drive([item], [_child(config, run_manager)], options)
        return or_raise(result)

    async def _arun_one(
        self, item: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Any:
        (result,) = await self._adrive([item], [_child(config, run_manager)], options)
        return or_raise(result)

    def _run_many(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **options: Any,
    ) -> list[Any]:
        return self._drive(inputs, list(map(_child, config, run_manager)), options)

    async def _arun_many(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **options: Any,
    ) -> list[Any]:
        return await self._adrive(inputs, list(map(_child, config, run_manager)), options)

    def _drive(
        self, inputs: Sequence[Any], configs: list[RunnableConfig], options: dict[str, Any]
    ) -> list[Any]:
        flow = guarded_calls(inputs, self._adapter, self.policy)
        reply: Any = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as finished:
                return cast("list[Any]", finished.value)
            if isinstance(step, Judge):
                reply = self._judge(step)
            elif isinstance(step, CallModel):
                reply = self._adapter.call(step.inputs, [configs[index] for index in step.indices], options)

    async def _adrive(
        self, inputs: Sequence[Any], configs: list[RunnableConfig], options: dict[str, Any]
    ) -> list[Any]:
        flow = guarded_calls(inputs, self._adapter, self.policy)
        reply: Any = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as finished:
                return cast("list[Any]", finished.value)
            if isinstance(step, Judge):
                reply = await asyncio.to_thread(self._judge, step)
            elif isinstance(step, CallModel):
                chosen = [configs[index] for index in step.indices]
                reply = await self._adapter.acall(step.inputs, chosen, options)

    def _stream_one(
        self,
        inputs: Iterator[Any],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **options: Any,
    ) -> Iterator[Any]:
        flow = guarded_stream(next(inputs), self._adapter, self.policy)
        source: Iterator[Any] | None = None
        reply: Any = None
        try:
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration:
                    return
                reply = None
                if isinstance(step, Judge):
                    reply = self._judge(step)
                elif isinstance(step, Emit):
                    yield step.chunk
                elif isinstance(step, NextChunk):
                    try:
                        if source is None:
                            child = _child(config, run_manager)
                            source = iter(self._adapter.stream(step.model_input, child, options))
                        reply = next(source, END)
                    except Exception as error:  # noqa: BLE001 - whatever the model raises ends the stream
                        reply = error
        finally:
            if (close := getattr(source, "close", None)) is not None:
                with _closing():
                    close()

    async def _astream_one(
        self,
        inputs: AsyncIterator[Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **options: Any,
    ) -> AsyncIterator[Any]:
        flow = guarded_stream(await anext(inputs), self._adapter, self.policy)
        source: AsyncIterator[Any] | None = None
        reply: Any = None
        try:
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration:
                    return
                reply = None
                if isinstance(step, Judge):
                    reply = await asyncio.to_thread(self._judge, step)
                elif isinstance(step, Emit):
                    yield step.chunk
                elif isinstance(step, NextChunk):
                    try:
                        if source is None:
                            child = _child(config, run_manager)
                            source = aiter(self._adapter.astream(step.model_input, child, options))
                        reply = await anext(source, END)
                    except Exception as error:  # noqa: BLE001 - as above
                        reply = error
        finally:
            if (close := getattr(source, "aclose", None)) is not None:
                with _closing():
                    await close()

    def _judge(self, step: Judge) -> list[Any]:
        return self.checker.judge_each(step.stage, step.prompts, step.responses, requests=step.requests)


@contextmanager
def _closing() -> Iterator[None]:
    """Let a model that cannot be closed spoil nothing: all is said by now, and its error may quote text."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a model raises
        logger.warning("the guarded model's stream could not be closed: %s", type(error).__name__)


def _child(
    config: RunnableConfig, run_manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
) -> RunnableConfig:
    """Configuration of the model's run within the guard's, closed to streams of unchecked tokens."""
    return without_streaming(patch_config(config, callbacks=run_manager.get_child()))
