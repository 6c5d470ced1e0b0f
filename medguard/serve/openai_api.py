"""OpenAI's chat completions and completions: what a request asks, what an answer says, how to refuse. Pure.

Fields of a request are of three kinds: the conversation, which is checked turn by turn; settings without text
for the model, which are passed on; and all others, whose strings are checked with what the user says now.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from medguard.serve.faults import bad_request
from medguard.serve.wire import Path, decoded_text_of, text_of, texts_in

__all__ = [
    "MODEL_REFUSED",
    "Call",
    "Chat",
    "Completions",
    "Dialect",
    "beside",
    "common_fields",
    "readable_message",
    "shared_fields",
]

MODEL_REFUSED: Final = "content_filter"
"""OpenAI's reason for an answer that a filter stopped."""

_MAX_CHOICES: Final = 128

# Settings whose strings the model never reads.
_SETTINGS: Final = frozenset(
    {"model", "stream", "stream_options", "n", "best_of", "user", "metadata", "safety_identifier", "store"}
    | {"prompt_cache_key", "prompt_cache_retention", "service_tier", "stop", "tool_choice", "function_call"}
    | {"modalities", "audio", "reasoning_effort", "verbosity", "logit_bias"}
)
# The deployer's words, like system prompts, and checked where the policy checks these.
_DEPLOYER: Final = frozenset({"tools", "functions", "response_format", "instructions"})
_READ: Final = frozenset({"role", "content", "name", "tool_call_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, as far as the gateway has to understand it."""

    body: dict[str, Any]
    """The request itself."""
    model: str
    """The model asked for."""
    stream: bool
    """Whether the answer is to come in events."""
    inputs: tuple[Any, ...]
    """One for each prompt, as `medguard.conversation.prompt_readings` takes them."""
    choices: int
    """How many answers there will be, over all prompts."""
    include_usage: bool = False
    """Whether a stream is to end with the number of tokens."""
    sources: Mapping[int, int] = field(default_factory=dict)
    """For each message of the first input, the place of its original in the request."""

    def prompt_of(self, choice: int) -> int:
        """Number of the prompt that a choice answers."""
        return choice * len(self.inputs) // self.choices


class Dialect(Protocol):
    """One of OpenAI's endpoints."""

    path: ClassVar[str]
    """Path below ``/v1``."""

    def read(self, body: dict[str, Any]) -> Call:
        """Understand a request.

        Raises:
            GatewayError: It is of no known shape; nothing of it may be passed on.
        """

    def forwarded(self, call: Call, kept: Sequence[Any]) -> dict[str, Any]:
        """Return the request to send, with only the messages of the first input that are in `kept`."""

    def answers(self, call: Call, body: dict[str, Any]) -> tuple[list[str], str]:
        """Return the text of each choice in an answer, and any text beside the choices.

        Raises:
            ValueError: It is no answer of this endpoint.
        """

    def plain_text(self, body: dict[str, Any], choice: int) -> Path | None:
        """Return the place of the text of a choice that consists of one text alone; else None."""

    def refuse_choice(self, body: dict[str, Any], choice: int, refusal: str) -> dict[str, Any]:
        """Return an answer with a choice replaced by a refusal."""

    def refuse(self, call: Call, refusal: str, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make an answer whose every choice is a refusal, under the names that `like` bears."""

    def chunk(self, like: Mapping[str, Any], choice: int, text: str, finish: str | None) -> dict[str, Any]:
        """Make one event of a stream, under the names that `like` bears."""


class _WithChoices(ABC):
    """What chat completions and completions share: answers made of choices."""

    path: ClassVar[str]
    _object: ClassVar[str]
    _chunk_object: ClassVar[str]
    _id_prefix: ClassVar[str]
    _text_path: ClassVar[Path]
    """Where a choice keeps its text."""

    def answers(self, call: Call, body: dict[str, Any]) -> tuple[list[str], str]:
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or len(choices) > call.choices:
            raise ValueError(f"an answer has 1 to {call.choices} choices")
        texts = []
        for choice in choices:
            if not isinstance(choice, dict) or not isinstance(choice.get(self._text_path[0]), dict | str):
                raise ValueError("a choice has no answer in it")  # noqa: TRY004 - about the content
            # Log-probabilities tell the same text once more, token by token.
            texts.append(decoded_text_of({key: item for key, item in choice.items() if key != "logprobs"}))
        beside = {key: item for key, item in body.items() if key != "choices"}
        return texts, decoded_text_of(beside, labels=None)

    def plain_text(self, body: dict[str, Any], choice: int) -> Path | None:
        found = list(texts_in(body["choices"][choice]))
        # What escapes hide could not be taken out of JSON.
        if len(found) == 1 and found[0][0] == self._text_path and decoded_text_of(found[0][1]) == found[0][1]:
            return ("choices", choice, *self._text_path)
        return None

    def refuse_choice(self, body: dict[str, Any], choice: int, refusal: str) -> dict[str, Any]:
        choices = list(body["choices"])
        index = choices[choice].get("index")
        choices[choice] = self._choice(index if isinstance(index, int) else choice, refusal)
        return {**body, "choices": choices}

    def refuse(self, call: Call, refusal: str, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            **shared_fields({} if like is None else like, self._id_prefix, call.model),
            "object": self._object,
            "choices": [self._choice(index, refusal) for index in range(call.choices)],
            "usage": _USAGE if like is None else like.get("usage", _USAGE),
        }

    @abstractmethod
    def _choice(self, index: int, refusal: str) -> dict[str, Any]:
        """Make a choice that is a refusal."""

    def chunk(self, like: Mapping[str, Any], choice: int, text: str, finish: str | None) -> dict[str, Any]:
        return {
            **shared_fields(like, self._id_prefix, str(like.get("model", ""))),
            "object": self._chunk_object,
            "choices": [{**self._delta(text), "index": choice, "logprobs": None, "finish_reason": finish}],
        }

    @abstractmethod
    def _delta(self, text: str) -> dict[str, Any]:
        """Make the part of an event's choice that holds its text."""


class Chat(_WithChoices):
    """``/chat/completions``."""

    path = "/chat/completions"
    _object = "chat.completion"
    _chunk_object = "chat.completion.chunk"
    _id_prefix = "chatcmpl-"
    _text_path = ("message", "content")

    def read(self, body: dict[str, Any]) -> Call:
        """Understand a request; see `Dialect`."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("messages is a list of at least one message", param="messages")
        readable = [readable_message(message) for message in messages]
        deployer, others = beside(body, "messages")
        if deployer:
            readable.append({"role": "system", "content": deployer})
        return Call(
            body=body,
            inputs=({"messages": readable, **({"others": others} if others else {})},),
            choices=_count(body, "n"),
            sources={id(item): index for index, item in enumerate(readable[: len(messages)])},
            **common_fields(body),
        )

    def forwarded(self, call: Call, kept: Sequence[Any]) -> dict[str, Any]:
        """Leave messages out of a request; see `Dialect`."""
        originals = [
            call.body["messages"][call.sources[id(item)]] for item in kept if id(item) in call.sources
        ]
        return {**call.body, "messages": originals}

    def _choice(self, index: int, refusal: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": refusal, "refusal": None}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": MODEL_REFUSED}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": text} if text else {}}


class Completions(_WithChoices):
    """``/completions``."""

    path = "/completions"
    _object = "text_completion"
    _chunk_object = "text_completion"
    _id_prefix = "cmpl-"
    _text_path = ("text",)

    def read(self, body: dict[str, Any]) -> Call:
        """Understand a request; see `Dialect`. Prompts given as tokens cannot be read, and are refused."""
        prompt = body.get("prompt")
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if (
            not isinstance(prompts, list)
            or not 1 <= len(prompts) <= _MAX_CHOICES
            or not all(isinstance(item, str) for item in prompts)
        ):
            raise bad_request("prompt is a text or a list of texts; tokens cannot be checked", param="prompt")
        deployer, others = beside(body, "prompt")
        more = [text for text in (deployer, others) if text]
        _count(body, "best_of")
        return Call(
            body=body,
            inputs=tuple([item, *more] if more else item for item in prompts),
            choices=_count(body, "n") * len(prompts),
            **common_fields(body),
        )

    def forwarded(self, call: Call, kept: Sequence[Any]) -> dict[str, Any]:
        """Return the request; see `Dialect`. There are no turns to leave out."""
        return call.body

    def _choice(self, index: int, refusal: str) -> dict[str, Any]:
        return {"index": index, "text": refusal, "logprobs": None, "finish_reason": MODEL_REFUSED}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"text": text}


_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def readable_message(message: Any) -> dict[str, Any]:
    """Return a message as `medguard.conversation` reads it.

    Of answers only the text is taken: their tool calls may hold arguments that are no JSON. To the content of
    other messages all other text of theirs is added: an upstream may show its model whatever they hold.

    Raises:
        GatewayError: It is no message.
    """
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise bad_request("a message is an object with a role", param="messages")
    if message["role"] == "assistant":
        return {"role": "assistant", "content": text_of(message)}
    if not isinstance(message.get("content"), str | list):
        raise bad_request("the content of a message is a text or a list of parts", param="messages")
    read = {key: item for key, item in message.items() if key in _READ}
    unread = text_of({key: item for key, item in message.items() if key not in _READ})
    if not unread:
        return read
    content = read["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**read, "content": [*parts, {"type": "text", "text": unread}]}


def shared_fields(like: Mapping[str, Any], id_prefix: str, model: str) -> dict[str, Any]:
    """Return the names under which an answer goes: those of `like`, else new ones."""
    created = like.get("created")
    fields = {
        "id": like.get("id"),
        "created": created if isinstance(created, int) else int(time.time()),
        "model": like.get("model", model),
    }
    if not isinstance(fields["id"], str):
        fields["id"] = f"{id_prefix}{uuid.uuid4().hex}"
    return fields


def beside(
    body: dict[str, Any],
    conversation: str,
    more_settings: frozenset[str] = frozenset(),
    more_of_deployer: frozenset[str] = frozenset(),
) -> tuple[str, str]:
    """Return the text beside the conversation: the deployer's, and all other that is no setting."""
    of_deployer = _DEPLOYER | more_of_deployer
    deployer = {key: item for key, item in body.items() if key in of_deployer}
    left_out = of_deployer | _SETTINGS | more_settings | {conversation}
    others = {key: item for key, item in body.items() if key not in left_out}
    return text_of(deployer), text_of(others, labels=frozenset())


def common_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Call` that all endpoints share.

    Raises:
        GatewayError: One is of a wrong kind.
    """
    model, stream = body.get("model", ""), body.get("stream")
    if not isinstance(model, str):
        raise bad_request("model is a name", param="model")
    if not isinstance(stream, bool | None):
        raise bad_request("stream is true or false", param="stream")
    options = body.get("stream_options")
    if not isinstance(options, dict | None):
        raise bad_request("stream_options is an object", param="stream_options")
    return {
        "model": model,
        "stream": stream is True,
        "include_usage": (options or {}).get("include_usage") is True,
    }


def _count(body: dict[str, Any], name: str) -> int:
    count = body.get(name)
    if count is None:
        return 1
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_CHOICES:
        raise bad_request(f"{name} is a number from 1 to {_MAX_CHOICES}", param=name)
    return count
