"""What goes wrong in the gateway, in the shape of OpenAI's errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medguard.errors import MedGuardError

__all__ = [
    "ClientGoneError",
    "GatewayError",
    "bad_request",
    "error_body",
    "guard_failed",
    "upstream_error_fields",
]

_MAX_MESSAGE_CHARS: Final = 500
_MAX_NAME_CHARS: Final = 100


class GatewayError(MedGuardError):
    """A request that the gateway does not answer with a model's answer; it becomes an error response."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str,  # noqa: A002 - OpenAI's name
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the error.

        Args:
            status: The HTTP status.
            message: For whoever called; never user text.
            type: OpenAI's error type, such as ``invalid_request_error``.
            code: Short name for programs.
            param: The request's field that is wrong.
            headers: Headers of the response besides those that every response has.
        """
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        return error_body(str(self), type=self.type, code=self.code, param=self.param)


class ClientGoneError(MedGuardError):
    """The client went away before its answer was ready."""


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> GatewayError:
    """Make the error for a request that cannot be read."""
    return GatewayError(400, message, type="invalid_request_error", code=code, param=param)


def guard_failed(error: MedGuardError) -> GatewayError:
    """Make the error for a guard that could not judge, under a policy that says ``on_error: raise``."""
    return GatewayError(500, str(error), type="guard_error", code=type(error).__name__)


def error_body(
    message: str,
    *,
    type: str,  # noqa: A002 - OpenAI's name
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """Make the body of an error response."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def upstream_error_fields(body: Any) -> dict[str, str | None] | None:
    """Read an upstream's error object; None where the body is none.

    OpenAI nests it under ``error``; some servers send the same fields flat, marked by ``object: error``. Only
    its four named fields are taken, shortened: anything else could be a text that nobody checked.
    """
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if not isinstance(error, dict):
        if body.get("object") != "error":
            return None
        error = body
    if not isinstance(error.get("message"), str):
        return None
    fields: dict[str, str | None] = {"message": error["message"][:_MAX_MESSAGE_CHARS]}
    for name in ("type", "code", "param"):
        value = error.get(name)
        fields[name] = str(value)[:_MAX_NAME_CHARS] if isinstance(value, str | int) else None
    return fields
