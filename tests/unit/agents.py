"""Models, tools and middleware for agents, and agents with the guard in them."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import tool
from langgraph.types import Command

from medguard import Policy
from medguard.middleware import MedGuardMiddleware
from medguard.testing import KeywordScorer
from tests.unit.guards import Driver


class Model(GenericFakeChatModel):
    """Says what it was told to say, tool calls and all, token by token, and remembers what it was shown."""

    shown: list[Any] = []  # noqa: RUF012 - copied for each model by pydantic

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **options: Any) -> ChatResult:
        self.shown.append(list(messages))
        return super()._generate(messages, *args, **options)


def says(*answers: str | AIMessage) -> Model:
    return Model(messages=iter([AIMessage(item) if isinstance(item, str) else item for item in answers]))


def calls(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "call-1"}])


class Tools:
    """Tools that remember whether they ran."""

    def __init__(self, result: str = "fresh air") -> None:
        self.ran: list[str] = []

        @tool
        def look_up(what: str) -> str:
            """Look something up."""
            self.ran.append(what)
            return result

        @tool
        def hand_over(what: str) -> Any:
            """Answer with a command."""
            self.ran.append(what)
            return Command(update={"messages": [ToolMessage(result, tool_call_id="call-1")]})

        self.all = [look_up, hand_over]


class Adds(AgentMiddleware[Any, Any, Any]):
    """Changes each call of the model on its way."""

    def __init__(self, *messages: Any, is_first: bool = False, **overrides: Any) -> None:
        super().__init__()
        self.messages = messages
        self.is_first = is_first
        self.overrides = overrides

    def changed(self, request: Any) -> Any:
        parts = (self.messages, request.messages) if self.is_first else (request.messages, self.messages)
        return request.override(messages=[*parts[0], *parts[1]], **self.overrides)

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(self.changed(request))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(self.changed(request))


def agent_of(
    model: Model, tools: Tools | None = None, *, scorer: Any = None, options: Any = None, **policy: Any
) -> Any:
    guard = MedGuardMiddleware(
        policy=Policy(**policy), classifier=scorer or KeywordScorer(["arsenic", "ignore your rules"])
    )
    return create_agent(model, tools.all if tools else None, middleware=[guard], **(options or {}))


def run(driver: Driver, agent: Any, *texts: Any, **options: Any) -> list[Any]:
    return list(driver.invoke(agent, {"messages": list(texts)}, **options)["messages"])


def note(message: Any) -> dict[str, Any]:
    return dict(message.response_metadata["medguard"])
