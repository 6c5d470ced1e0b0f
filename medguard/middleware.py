"""`MedGuardMiddleware`: the guard inside a LangChain agent (``pip install 'medguard[agents]'``)."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import Annotated, Any, Final, NamedTuple, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage

from medguard.adapters.callables import attach_verdicts
from medguard.callbacks import unstreamed
from medguard.checker import Checker
from medguard.classifier import Scorer
from medguard.conversation import prompt_readings, without_refused_turns
from medguard.decision import worst
from medguard.errors import InvalidInputError
from medguard.flow import read_or_error
from medguard.policy import OnError, Policy
from medguard.text import answer_text
from medguard.verdict import Action, Stage, Verdict, verdict_note

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
    from langchain.agents.middleware.types import (
        ModelRequest,
        ModelResponse,
        PrivateStateAttr,
        ToolCallRequest,
    )
    from langgraph.runtime import Runtime
    from langgraph.types import Command
except ImportError as error:
    raise ImportError(
        f"MedGuardMiddleware needs LangChain's agents ({error}): pip install 'medguard[agents]'"
    ) from error

__all__ = ["MedGuardMiddleware"]

WITHHELD: Final = (
    "The safety guard withheld what this tool returned. Go on without it, and tell the user that it cannot "
    "be shown."
)


class GuardedState(AgentState[Any]):
    """An agent's state, with a record of what the guard has passed."""

    medguard_passed: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Digests of texts already judged in this conversation, so that none is judged at every step."""
    medguard_failed: NotRequired[Annotated[list[str], PrivateStateAttr]]
    """Digests of texts that failed in this step and were let through, so that none is judged twice in it."""


class MedGuardMiddleware(AgentMiddleware[GuardedState, Any, Any]):
    """Checks what users ask of an agent, what its model answers, and what its tools return.

    - User input, and what other middleware adds to it, is checked before the model is called; a blocked one
      ends the run with the refusal. Turns refused earlier in a conversation are kept from the model.
    - The model's answer, tool calls included, is checked before anything else reads it; a refusal takes the
      place of a blocked one, and no tool runs.
    - What a tool returns is checked before the model reads it (indirect injection); a message that says so
      takes the place of a blocked result.

    Answers and refusals carry their verdict in ``response_metadata["medguard"]``.

    While answers are checked they reach a stream of the run (``stream_mode="messages"``,
    ``astream_events``) whole, once checked. Not covered: what tools send to a stream by themselves, models
    that other middleware calls, and callback handlers of your own that take each token.

    List it last, where it sees what the model reads and says after all other middleware.

    Example:
        >>> agent = create_agent(model, tools, middleware=[MedGuardMiddleware()])
    """

    state_schema = GuardedState

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        classifier: Scorer | None = None,
        checker: Checker | None = None,
    ) -> None:
        """Make the guard.

        Args:
            policy: What to block and how; the default blocks at the ``balanced`` operating point. Action
                ``redact`` counts as ``block``.
            classifier: The classifier; None loads the bundled one.
            checker: Both of them joined, in place of `policy` and `classifier`; it may have observers.

        Raises:
            InvalidInputError: `checker` beside `policy` or `classifier`.
            PolicyError: The policy names an operating point that the classifier lacks.
            BundleError: The classifier cannot be loaded.
            ProviderError: No inference runtime is installed.
        """
        super().__init__()
        if checker is not None and (policy is not None or classifier is not None):
            raise InvalidInputError("give either a checker, or a policy and a classifier")
        self.checker = Checker(policy=policy, classifier=classifier) if checker is None else checker
        self._seal = f"{self.policy.to_yaml()}\n{self.checker.classifier.id}\n".encode()
        self._remembered = _Digests()

    @property
    def policy(self) -> Policy:
        """What is blocked and how."""
        return self.checker.policy

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: GuardedState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Check what is new in the conversation; end the run with the refusal where it is blocked.

        Raises:
            MedGuardError: Something could not be judged and the policy says ``on_error: raise``.
        """
        return self._checked_input(state)

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: GuardedState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Do as `before_model` without blocking the event loop."""
        return await asyncio.to_thread(self._checked_input, state)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Check what is new to the guard, call the model out of sight of streams, and check its answer.

        Raises:
            MedGuardError: Something could not be judged and the policy says ``on_error: raise``.
        """
        shown = self._without_refused(request)
        if (refusal := self._refused_request(shown)) is not None:
            return refusal
        with self._unstreamed():
            response = handler(shown)
        return self._checked_answer(shown, response)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Do as `wrap_model_call` without blocking the event loop."""
        shown = self._without_refused(request)
        if (refusal := await asyncio.to_thread(self._refused_request, shown)) is not None:
            return refusal
        with self._unstreamed():
            response = await handler(shown)
        return await asyncio.to_thread(self._checked_answer, shown, response)

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: GuardedState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """End the run after a refusal; an agent that owes structured output would try again."""
        note = state["messages"][-1].response_metadata.get("medguard") or {}
        return {"jump_to": "end"} if note.get("allowed") is False else None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: GuardedState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Do as `after_model`."""
        return self.after_model(state, runtime)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the tool and check what it returns.

        Raises:
            MedGuardError: Something could not be judged and the policy says ``on_error: raise``.
        """
        return self._checked_result(request, handler(request))

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Do as `wrap_tool_call` without blocking the event loop."""
        result = await handler(request)
        return await asyncio.to_thread(self._checked_result, request, result)

    def _checked_input(self, state: GuardedState) -> dict[str, Any] | None:
        """Judge what this conversation holds and the guard has not yet passed."""
        if Stage.PROMPT not in self.policy.stages:
            return None
        settled = {*(state.get("medguard_passed") or ()), *self._passed_results(state["messages"])}
        judged = self._judged(state["messages"], settled.__contains__)
        if judged.refused is not None:
            cleared = {"structured_response": None} if state.get("structured_response") is not None else {}
            return {"messages": [self._refusal(judged.refused)], "jump_to": "end", **cleared}
        return {"medguard_passed": judged.passed, "medguard_failed": judged.failed}

    def _refused_request(self, request: ModelRequest[Any]) -> ModelResponse[Any] | None:
        """Judge what other middleware made of the conversation; return the refusal where that is blocked."""
        if Stage.PROMPT not in self.policy.stages:
            return None
        system = [] if request.system_message is None else [request.system_message]
        state: Mapping[str, Any] = request.state
        settled = {*(state.get("medguard_passed") or ()), *(state.get("medguard_failed") or ())}
        judged = self._judged(
            [*system, *request.messages], lambda mark: mark in settled or mark in self._remembered
        )
        if judged.refused is not None:
            return ModelResponse(result=[self._refusal(judged.refused)])
        self._remembered.add(mark for mark in judged.passed if mark not in settled)
        return None

    def _judged(self, messages: Sequence[Any], is_settled: Callable[[str], bool]) -> _Judged:
        """Judge what of `messages` is not settled yet, as its digest tells."""
        readings = _readings(messages, self.policy, self._has_passed_answer)
        # The guard's own words need no judge, and the classifier may well mind them.
        marks = {self._digest(text): text for text in readings if text != WITHHELD}
        fresh = {mark: text for mark, text in marks.items() if not is_settled(mark)}
        verdicts = self.checker.judge(Stage.PROMPT, list(fresh.values())) if fresh else []
        failed = [mark for mark, item in zip(fresh, verdicts, strict=True) if item.failed]
        decisive = worst(verdicts) if verdicts else None
        return _Judged(
            refused=None if decisive is None or decisive.allowed else decisive,
            passed=[mark for mark in marks if mark not in failed],
            failed=failed,
        )

    def _checked_answer(self, request: ModelRequest[Any], response: ModelResponse[Any]) -> ModelResponse[Any]:
        """Judge all that the model gave; a refusal in its place has neither tool calls nor structure."""
        text = _text_or_error(response.result)
        if Stage.RESPONSE not in self.policy.stages or not (isinstance(text, Exception) or text.strip()):
            return response
        asked = _readings(request.messages, self.policy)[0]
        (verdict,) = self.checker.judge(Stage.RESPONSE, [asked], [text])
        if not verdict.allowed:
            return ModelResponse(result=[self._refusal(verdict)])
        if not verdict.failed:
            self._remember_answer(request, response)
        result = [attach_verdicts(message, [verdict]) for message in response.result]
        return ModelResponse(result=result, structured_response=response.structured_response)

    def _checked_result(
        self, request: ToolCallRequest, result: ToolMessage | Command[Any]
    ) -> ToolMessage | Command[Any]:
        """Judge each message that a tool adds to the conversation, whoever it says has written it."""
        if Stage.PROMPT not in self.policy.stages or not self.policy.check_tool_results:
            return result
        # A system prompt that a tool adds is not the deployer's.
        policy = self.policy.model_copy(update={"check_system": True})
        added = _added(result, request.state)
        texts = [text for message in added for text in _readings([message], policy) if text]
        if not texts:
            return result
        verdicts = self.checker.judge(Stage.PROMPT, texts)
        self._remembered.add(
            self._digest(text, kind="result")
            for text, item in zip(texts, verdicts, strict=True)
            if item.allowed and not item.failed
        )
        verdict = worst(verdicts)
        return result if verdict.allowed else _withheld(request, verdict)

    def _passed_results(self, messages: Sequence[Any]) -> Iterator[str]:
        """Yield the digests of tools' latest results, as texts, that this guard has passed as results."""
        for message in takewhile(lambda message: isinstance(message, ToolMessage), reversed(messages)):
            for text in _readings([message], self.policy):
                if self._digest(text, kind="result") in self._remembered:
                    yield self._digest(text)

    def _remember_answer(self, request: ModelRequest[Any], response: ModelResponse[Any]) -> None:
        """Remember an answer beside its question, as it is read once its tools have run."""
        # Before other middleware has changed the conversation, and after.
        conversations = [request.state["messages"]]
        if request.messages != conversations[0]:
            conversations.append(request.messages)
        for asked in conversations:
            text = _readings([*asked, *response.result], self.policy)[0]
            if isinstance(text, str):
                self._remembered.add([self._digest(text, kind="answer")])

    def _has_passed_answer(self, text: str) -> bool:
        """Whether `text` is an answer that this guard has passed, beside its question."""
        return self._digest(text, kind="answer") in self._remembered

    def _digest(self, text: str | Exception, kind: str = "text") -> str:
        """Stands for a text, or an error but not a text of its words, under this policy and classifier.

        Kinds are apart: a question and its answer, joined, have not passed as what a user says.
        """
        told = f"{'error' if isinstance(text, Exception) else kind}:{text}"
        return hashlib.sha256(self._seal + told.encode("utf-8", "surrogatepass")).hexdigest()

    def _without_refused(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        messages: list[AnyMessage] = without_refused_turns(request.messages, self.policy)
        return request if len(messages) == len(request.messages) else request.override(messages=messages)

    def _refusal(self, verdict: Verdict) -> AIMessage:
        refusal: AIMessage = attach_verdicts(AIMessage(content=self.policy.refusal_for(verdict)), [verdict])
        return refusal

    def _unstreamed(self) -> AbstractContextManager[None]:
        """Keep streams of the run from what the model says, where the policy may yet withhold it."""
        return unstreamed() if _may_withhold_answers(self.policy) else nullcontext()


class _Judged(NamedTuple):
    """What came of judging a conversation."""

    refused: Verdict | None
    """The verdict that decides, where it refuses."""
    passed: list[str]
    """Digests of all that the conversation holds but what failed."""
    failed: list[str]
    """Digests of what could not be judged."""


class _Digests:
    """The digests added last, up to a number of them. Safe to share between threads."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._digests: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, digests: Iterable[str]) -> None:
        """Add digests; the oldest make room."""
        with self._lock:
            for digest in digests:
                self._digests.pop(digest, None)
                self._digests[digest] = None
                if len(self._digests) > self._limit:
                    del self._digests[next(iter(self._digests))]

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            return digest in self._digests


def _readings(
    messages: Sequence[Any], policy: Policy, is_checked: Callable[[str], bool] | None = None
) -> Sequence[str | Exception]:
    """What of a conversation is judged, or the error that says why it cannot be read."""
    return read_or_error(lambda: prompt_readings(list(messages), policy, is_checked=is_checked))


def _text_or_error(messages: Sequence[BaseMessage]) -> str | Exception:
    return read_or_error(lambda: [answer_text(list(messages))])[0]


def _may_withhold_answers(policy: Policy) -> bool:
    if Stage.RESPONSE not in policy.stages:
        return False
    actions = {policy.action, *policy.category_actions.values()}
    return policy.on_error is not OnError.ALLOW or not actions.isdisjoint({Action.BLOCK, Action.REDACT})


def _added(result: Any, state: Any) -> list[Any]:
    """Messages that what a tool returned adds to those of the state, in whatever form it gives them."""
    results = result if isinstance(result, list) else [result]
    added = [item for part in results for item in (_updates(part) if isinstance(part, Command) else [part])]
    present = state.get("messages", []) if isinstance(state, Mapping) else []
    return [item for item in added if item not in present]


def _updates(command: Command[Any]) -> list[Any]:
    """Messages in a command's update."""
    update = command.update
    fields = update.items() if isinstance(update, Mapping) else update or ()
    try:
        found = [value for key, value in fields if key == "messages"]
    except (TypeError, ValueError):
        found = [update]
    return [item for value in found for item in (value if isinstance(value, list) else [value])]


def _withheld(request: ToolCallRequest, verdict: Verdict) -> ToolMessage:
    return ToolMessage(
        content=WITHHELD,
        tool_call_id=request.tool_call["id"],
        name=request.tool_call["name"],
        status="error",
        response_metadata={"medguard": verdict_note([verdict])},
    )
