"""OpenAI's responses: what a request asks, what an answer says, how to refuse. Pure; see `openai_api`.

Not streamed: its streams carry the same text in deltas, in parts and once more as a whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from medguard.serve.faults import bad_request
from medguard.serve.openai_api import (
    MODEL_REFUSED,
    Call,
    beside,
    common_fields,
    readable_message,
    shared_fields,
)
from medguard.serve.wire import Path, decoded_text_of, text_of

__all__ = ["Responses"]

_CALLS: Final = frozenset(
    {"function_call", "custom_tool_call", "computer_call", "web_search_call", "file_search_call", "mcp_call"}
    | {"code_interpreter_call", "image_generation_call", "local_shell_call", "shell_call", "apply_patch_call"}
    | {"reasoning"}
)
# Settings of this endpoint alone. What is kept upstream under an id was checked when it was new.
_SETTINGS: Final = frozenset(
    {"include", "truncation", "previous_response_id", "conversation", "background", "reasoning"}
)
# Holds the form of the answer.
_DEPLOYER: Final = frozenset({"text"})
_RESULTS: Final = frozenset(
    {"function_call_output", "custom_tool_call_output", "local_shell_call_output", "shell_call_output"}
    | {"apply_patch_call_output", "computer_call_output"}
)


class Responses:
    """``/responses``."""

    path: ClassVar[str] = "/responses"

    def read(self, body: dict[str, Any]) -> Call:
        """Understand a request; see `Dialect`."""
        if body.get("stream"):
            raise bad_request(
                "this gateway does not stream /v1/responses: leave out stream, or stream "
                "/v1/chat/completions",
                param="stream",
                code="unsupported_value",
            )
        if body.get("background"):
            raise bad_request(
                "this gateway cannot check an answer made in the background",
                param="background",
                code="unsupported_value",
            )
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(items, list) or not items:
            raise bad_request("input is a text or a list of at least one item", param="input")
        readable = [_readable_item(item) for item in items]
        sources = {id(item): index for index, item in enumerate(readable)}
        deployer, others = beside(body, "input", _SETTINGS, _DEPLOYER)
        if deployer:
            readable.append({"role": "system", "content": deployer})
        return Call(
            body=body,
            inputs=({"messages": readable, **({"others": others} if others else {})},),
            choices=1,
            sources=sources,
            **common_fields(body),
        )

    def forwarded(self, call: Call, kept: Sequence[Any]) -> dict[str, Any]:
        """Leave items out of a request; see `Dialect`."""
        if isinstance(call.body["input"], str):
            return call.body
        places = [call.sources[id(item)] for item in kept if id(item) in call.sources]
        return {**call.body, "input": [call.body["input"][place] for place in places]}

    def answers(self, call: Call, body: dict[str, Any]) -> tuple[list[str], str]:
        """Return the text of an answer; see `Dialect`. What merely repeats the request is left out."""
        output = body.get("output")
        if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
            raise ValueError("an answer has a list of items")
        if body.get("status") in ("queued", "in_progress"):
            raise ValueError("the answer is not complete")
        rest = {
            key: item
            for key, item in body.items()
            if key != "output" and not (key in call.body and call.body[key] == item)
        }
        return [decoded_text_of(output)], decoded_text_of(rest, labels=None)

    def plain_text(self, body: dict[str, Any], choice: int) -> Path | None:
        """Return the place of the only text; see `Dialect`."""
        output = body["output"]
        if len(output) != 1 or output[0].get("type") != "message":
            return None
        content = output[0].get("content")
        if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
            return None
        text = content[0].get("text")
        if not isinstance(text, str) or decoded_text_of(output) != text:
            return None
        return ("output", 0, "content", 0, "text")

    def refuse_choice(self, body: dict[str, Any], choice: int, refusal: str) -> dict[str, Any]:
        """Return an answer replaced by a refusal; see `Dialect`."""
        return {**body, **_refused(refusal)}

    def refuse(self, call: Call, refusal: str, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make an answer that is a refusal; see `Dialect`."""
        fields = shared_fields({} if like is None else like, "resp_", call.model)
        created = fields.pop("created")
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        details = {
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        return {
            **fields,
            "created_at": created,
            "object": "response",
            "error": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": {**usage, **details},
            **_refused(refusal),
        }

    def chunk(self, like: Mapping[str, Any], choice: int, text: str, finish: str | None) -> dict[str, Any]:
        """Refuse to make an event: there are no streams here."""
        raise NotImplementedError


def _readable_item(item: Any) -> dict[str, Any]:
    """Return an item of the input as a message.

    Raises:
        GatewayError: It is of an unknown kind.
    """
    if not isinstance(item, dict):
        raise bad_request("an item of input is an object", param="input")
    kind = item.get("type", "message")
    if not isinstance(kind, str):
        raise bad_request("the type of an item of input is a name", param="input")
    if kind == "message":
        return readable_message({key: value for key, value in item.items() if key not in ("type", "status")})
    if kind in _CALLS:
        return {"role": "assistant", "content": text_of(item)}
    if kind in _RESULTS:
        return {"role": "tool", "content": text_of(item), "tool_call_id": str(item.get("call_id", ""))}
    raise bad_request("input holds an item of a kind that cannot be checked", param="input")


def _refused(refusal: str) -> dict[str, Any]:
    message = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": [{"type": "output_text", "text": refusal, "annotations": []}],
    }
    return {
        "status": "incomplete",
        "incomplete_details": {"reason": MODEL_REFUSED},
        "output": [message],
    }
