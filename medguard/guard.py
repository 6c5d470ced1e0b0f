"""`MedGuard`: the same model, made safer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list, patch_config

from medguard.adapters import adapt
from medguard.classifier import Classifier, Scorer
from medguard.decision import decide, failure, require_checkable, resolve_operating_point
from medguard.errors import InvalidInputError
from medguard.flow import CallModel, Judge, Step, guarded_calls
from medguard.policy import OnError, Policy
from medguard.verdict import Stage, Verdict

__all__ = ["MedGuard"]

logger = logging.getLogger(__name__)


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
        self.policy = Policy() if policy is None else policy
        self.classifier: Scorer = Classifier.load() if classifier is None else classifier
        self._point = resolve_operating_point(self.policy, self.classifier.operating_points)

    def __call__(self, input: Any, **options: Any) -> Any:  # noqa: A002
        """Call the guarded model as the model itself is called; awaitable where the model is."""
        return self.ainvoke(input, **options) if self._adapter.is_async else self.invoke(input, **options)

    def check_prompt(self, prompt: str) -> Verdict:
        """Judge a request alone; the model is not called.

        Raises:
            InvalidInputError: `prompt` is not a str. (Text that cannot be judged gives a failed verdict,
                or raises under ``on_error: raise``.)
        """
        return self.check_prompts([_require_str(prompt)])[0]

    def check_response(self, response: str, *, prompt: str = "") -> Verdict:
        """Judge an answer, in the light of the request where it is known.

        Raises:
            InvalidInputError: An argument is not a str.
        """
        return self.check_responses([_require_str(prompt)], [_require_str(response)])[0]

    def check_prompts(self, prompts: Sequence[str]) -> list[Verdict]:
        """Judge many requests in one classifier call; one that cannot be judged gives a failed verdict."""
        return self._judge(Judge(Stage.PROMPT, prompts, None))

    def check_responses(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Judge many answers, each in the light of its request (an empty str where that is unknown).

        Raises:
            InvalidInputError: There is not one prompt per response.
        """
        if len(prompts) != len(responses):
            raise InvalidInputError(f"expected one prompt per response, found {len(prompts)} for {len(responses)}")
        return self._judge(Judge(Stage.RESPONSE, prompts, responses))

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
        try:
            step: Step = next(flow)
            while True:
                if isinstance(step, Judge):
                    step = flow.send(self._judge(step))
                else:
                    step = flow.send(self._adapter.call(*_select(step, inputs, configs), options))
        except StopIteration as finished:
            return cast("list[Any]", finished.value)

    async def _adrive(
        self, inputs: Sequence[Any], configs: list[RunnableConfig], options: dict[str, Any]
    ) -> list[Any]:
        flow = guarded_calls(inputs, self._adapter, self.policy)
        try:
            step: Step = next(flow)
            while True:
                if isinstance(step, Judge):
                    step = flow.send(await asyncio.to_thread(self._judge, step))
                else:
                    step = flow.send(await self._adapter.acall(*_select(step, inputs, configs), options))
        except StopIteration as finished:
            return cast("list[Any]", finished.value)

    def _judge(self, step: Judge) -> list[Verdict]:
        """Give one verdict per text; the only place where scores become verdicts."""
        started = time.perf_counter()
        judged = step.prompts if step.responses is None else step.responses
        problems = [self._problem(text) for text in judged]
        sound = [index for index, problem in enumerate(problems) if problem is None]
        verdicts: dict[int, Verdict] = {
            index: self._failed(problem, step.stage)
            for index, problem in enumerate(problems)
            if problem is not None
        }
        verdicts.update(zip(sound, self._score(step, sound), strict=True))
        elapsed_ms = (time.perf_counter() - started) * 1000.0 / max(len(judged), 1)
        return [verdicts[index].with_latency(elapsed_ms) for index in range(len(judged))]

    def _score(self, step: Judge, sound: list[int]) -> list[Verdict]:
        """Score the texts at the indices `sound`; one that breaks the classifier does not fail the others."""
        if not sound:
            return []
        prompts = [cast("str", step.prompts[index]) for index in sound]
        responses = None if step.responses is None else [step.responses[index] for index in sound]
        try:
            scores = self.classifier.score_many(prompts, responses)
            return [decide(item, step.stage, self.policy, self._point, self.classifier.id) for item in scores]
        except Exception as error:  # noqa: BLE001 - fail closed on anything
            if len(sound) == 1:
                return [self._failed(error, step.stage)]
        return [verdict for index in sound for verdict in self._score(step, [index])]

    def _problem(self, text: object) -> Exception | None:
        if isinstance(text, Exception):
            return text
        try:
            require_checkable(text, self.policy.max_chars)
        except InvalidInputError as error:
            return error
        return None

    def _failed(self, error: Exception, stage: Stage) -> Verdict:
        if self.policy.on_error is OnError.RAISE:
            raise error
        verdict = failure(error, stage, self.policy, self.classifier.id)
        logger.warning(
            "guard failed at stage %s, %s: %s", stage.value, verdict.action.value, type(error).__name__
        )
        return verdict


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


def _require_str(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInputError(f"the guard checks text: expected str, found {type(text).__name__}")
    return text
