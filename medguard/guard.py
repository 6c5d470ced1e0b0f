"""`MedGuard`: the same model, made safer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list, patch_config

from medguard.adapters import adapt
from medguard.checker import Checker
from medguard.classifier import Scorer
from medguard.flow import CallModel, Judge, guarded_calls
from medguard.policy import Policy
from medguard.verdict import Verdict

__all__ = ["MedGuard"]


class MedGuard(Runnable[Any, Any]):
    """A guard around a model, itself a LangChain runnable with the model's own input and output.

    Requests are checked before the model sees them and answers before the caller does. A blocked one gives
    a refusal of the type of the model's answers. An error in the guard blocks unless the policy says
    otherwise.

    Verdicts are attached to answers: ``answer.verdict`` on a str, ``response_metadata["medguard"]`` on a
    LangChain message, the key ``medguard`` on a pipeline's result.
    """

    def __init__(self, model: Any, *, policy: Policy | None = None, classifier: Scorer | None = None) -> None:
        """Wrap `model`.

        Args:
            model: A function (sync or async), a LangChain chat model or chain, or a transformers
                text-generation pipeline.
            policy: What to block and how; the default blocks at the ``balanced`` operating point.
            classifier: The classifier; None loads the bundled one.

        Raises:
            InvalidInputError: `model` is nothing that can be guarded.
            PolicyError: The policy names an operating point that the classifier lacks.
            BundleError: The classifier cannot be loaded.
            ProviderError: No inference runtime is installed.
        """
        self._adapter = adapt(model)
        self.model = model
        self.checker = Checker(policy=policy, classifier=classifier)

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
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        return _raise_first(self._drive(inputs, configs, dict(kwargs)), return_exceptions)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[Any]:
        """Guard many calls without blocking the event loop; see `batch`."""
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        return _raise_first(await self._adrive(inputs, configs, dict(kwargs)), return_exceptions)

    def _run_one(
        self, item: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Any:
        child = patch_config(config, callbacks=run_manager.get_child())
        return _raise_first(self._drive([item], [child], options), return_exceptions=False)[0]

    async def _arun_one(
        self, item: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Any:
        child = patch_config(config, callbacks=run_manager.get_child())
        return _raise_first(await self._adrive([item], [child], options), return_exceptions=False)[0]

    def _drive(
        self, inputs: Sequence[Any], configs: list[RunnableConfig], options: dict[str, Any]
    ) -> list[Any]:
        flow = guarded_calls(inputs, self._adapter, self.policy)
        step = next(flow)
        while True:
            if isinstance(step, Judge):
                reply = self._judge(step)
            else:
                reply = self._adapter.call(*_select(step, inputs, configs), options)
            try:
                step = flow.send(reply)
            except StopIteration as finished:
                return cast("list[Any]", finished.value)

    async def _adrive(
        self, inputs: Sequence[Any], configs: list[RunnableConfig], options: dict[str, Any]
    ) -> list[Any]:
        flow = guarded_calls(inputs, self._adapter, self.policy)
        step = next(flow)
        while True:
            if isinstance(step, Judge):
                reply = await asyncio.to_thread(self._judge, step)
            else:
                reply = await self._adapter.acall(*_select(step, inputs, configs), options)
            try:
                step = flow.send(reply)
            except StopIteration as finished:
                return cast("list[Any]", finished.value)

    def _judge(self, step: Judge) -> list[Any]:
        return self.checker.judge_each(step.stage, step.prompts, step.responses)


def _select(
    step: CallModel, inputs: Sequence[Any], configs: list[RunnableConfig]
) -> tuple[list[Any], list[RunnableConfig]]:
    return [inputs[index] for index in step.indices], [configs[index] for index in step.indices]


def _raise_first(results: list[Any], return_exceptions: bool) -> list[Any]:
    if not return_exceptions:
        for result in results:
            if isinstance(result, Exception):
                raise result
    return results
