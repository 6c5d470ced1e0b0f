"""How a judge reaches its model: any LangChain chat model, or an OpenAI-compatible URL over httpx.

Texts are handed to that model and go nowhere else; errors never quote them.
"""

from __future__ import annotations

import email.utils
import json
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from medguard.errors import DataError, ModelError, ProviderError
from medguard.evaluation.bench.rubric import reply_schema
from medguard.evaluation.bench.types import SuitePolicy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "KEY_VARIABLE",
    "Asker",
    "EndpointAsker",
    "JudgeCallError",
    "LangChainAsker",
    "RawReply",
    "chat_model",
    "completion_reply",
    "split_url_spec",
]

KEY_VARIABLE: Final = "MEDGUARD_JUDGE_KEY"
"""Environment variable with the key of a judge's URL."""

_OPENAI_HOST: Final = "api.openai.com"
_MAX_BODY_BYTES: Final = 4 * 2**20
_RETRYABLE: Final = frozenset({408, 409, 425, 429})
_HOPELESS: Final = frozenset({401, 404})
_REFUSES_SCHEMA: Final = frozenset({400, 415, 422, 501})
# Providers' own classes, by name: importing them all to ask would be worse.
_PASSING: Final = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "ConnectionError",
        "InternalServerError",
        "RateLimitError",
        "ResourceExhausted",
        "ServiceUnavailable",
        "TimeoutError",
        "TooManyRequests",
        "TransportError",
    }
)


@dataclass(frozen=True, slots=True)
class RawReply:
    """What a model replied, unchecked."""

    content: str | Mapping[str, Any]
    """Words, or the object that structured output gave."""
    input_tokens: int = 0
    """0 where the model does not tell."""
    output_tokens: int = 0


class JudgeCallError(ModelError):
    """A call of the judge's model failed.

    Attributes:
        status: HTTP status; None where there was none.
        is_passing: Whether the same call may work later.
        is_hopeless: Whether every other call will fail as well (key refused, no such model).
        retry_after_s: How long the server asks to wait, in seconds; None where it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_passing: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_passing = is_passing or (status is not None and (status in _RETRYABLE or status >= 500))
        self.is_hopeless = status in _HOPELESS
        self.retry_after_s = retry_after_s

    @property
    def refuses_schema(self) -> bool:
        """Whether the model may only have refused structured output."""
        return self.status in _REFUSES_SCHEMA or isinstance(self.__cause__, NotImplementedError)


class Asker(Protocol):
    """Puts one question to a judge's model. Called from several threads at once."""

    def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
        """Return the reply.

        Raises:
            JudgeCallError: There is none.
        """


class _SchemaFirst:
    """Asks for structured output until the model proves unable to give it, then for words."""

    def __init__(self) -> None:
        self._structured = True

    def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
        """Return the reply.

        Raises:
            JudgeCallError: There is none.
        """
        if not self._structured:
            return self._ask(system, user, policy, structured=False)
        try:
            return self._ask(system, user, policy, structured=True)
        except JudgeCallError as error:
            if not error.refuses_schema:
                raise
        # Only where words work was it the schema that was refused, and not this text.
        reply = self._ask(system, user, policy, structured=False)
        self._structured = False
        return reply

    def _ask(self, system: str, user: str, policy: SuitePolicy, *, structured: bool) -> RawReply:
        raise NotImplementedError


class LangChainAsker(_SchemaFirst):
    """A LangChain chat model; structured output where it offers that, JSON in words elsewhere."""

    def __init__(self, model: BaseChatModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self._model = model
        self._by_policy: dict[SuitePolicy, Any] = {}
        try:
            for policy in SuitePolicy:
                self._by_policy[policy] = model.with_structured_output(reply_schema(policy), include_raw=True)
        except (NotImplementedError, AttributeError, TypeError, ValueError):
            # What models without tools raise here.
            self._structured = False

    def _ask(self, system: str, user: str, policy: SuitePolicy, *, structured: bool) -> RawReply:
        from langchain_core.messages import HumanMessage, SystemMessage

        messages = [SystemMessage(system), HumanMessage(user)]
        try:
            found = (self._by_policy[policy] if structured else self._model).invoke(messages)
        except Exception as error:
            raise _translated(error) from error
        raw, parsed = (found["raw"], found["parsed"]) if isinstance(found, dict) else (found, None)
        usage = getattr(raw, "usage_metadata", None) or {}
        return RawReply(
            content=parsed if isinstance(parsed, Mapping) else str(getattr(raw, "text", raw)),
            input_tokens=int(usage.get("input_tokens", 0)),
            output_tokens=int(usage.get("output_tokens", 0)),
        )


class EndpointAsker(_SchemaFirst):
    """An OpenAI-compatible ``/chat/completions``."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        timeout_s: float = 60.0,
        max_output_tokens: int = 256,
        temperature: float | None = 0.0,
        key: str | None = None,
    ) -> None:
        """Prepare calls; none is made yet.

        Args:
            url: Base address, such as ``http://127.0.0.1:8000/v1``.
            model: Name of the model at that address.
            timeout_s: Longest silence of the server, in seconds.
            max_output_tokens: Longest reply, in tokens.
            temperature: None leaves it out, for models that refuse it.
            key: Key to send; None takes the environment's `KEY_VARIABLE`, and for api.openai.com alone
                ``OPENAI_API_KEY``.

        Raises:
            DataError: httpx is missing.
        """
        super().__init__()
        try:
            import httpx
        except ImportError as error:
            raise DataError("a judge at a URL needs httpx: pip install 'medguard[bench]'") from error
        if key is None:
            key = _key_for(url)
        self._url = url.rstrip("/") + "/chat/completions"
        # OpenAI's newer models refuse the name that other servers know.
        limit = "max_completion_tokens" if urlsplit(url).hostname == _OPENAI_HOST else "max_tokens"
        self._settings: dict[str, Any] = {"model": model, limit: max_output_tokens}
        if temperature is not None:
            self._settings["temperature"] = temperature
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers)
        weakref.finalize(self, self._client.close)

    def _ask(self, system: str, user: str, policy: SuitePolicy, *, structured: bool) -> RawReply:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {**self._settings, "messages": messages}
        if structured:
            schema = {"name": "judgement", "strict": True, "schema": reply_schema(policy)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _MAX_BODY_BYTES:
                        break
        except Exception as error:
            raise _translated(error) from error
        if len(content) > _MAX_BODY_BYTES:
            raise JudgeCallError("the judge's endpoint sent more than 4 MiB")
        if response.status_code != 200:
            raise JudgeCallError(
                _status_text(response.status_code),
                status=response.status_code,
                retry_after_s=_retry_after_s(response.headers),
            )
        return completion_reply(bytes(content))


def completion_reply(content: bytes | Mapping[str, Any]) -> RawReply:
    """Read the body of a chat completion.

    Raises:
        JudgeCallError: It is none; a later call may work.
    """
    try:
        body = json.loads(content) if isinstance(content, bytes) else content
        text = body["choices"][0]["message"]["content"]
        usage = body.get("usage") or {}
        return RawReply(
            content=text if isinstance(text, str) else "",
            input_tokens=int(usage.get("prompt_tokens") or 0),
            output_tokens=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise JudgeCallError("the judge's endpoint sent no chat completion", is_passing=True) from None


def chat_model(name: str, *, temperature: float | None = 0.0) -> BaseChatModel:
    """Make the chat model of an ``init_chat_model`` string such as ``openai:gpt-4.1``.

    Raises:
        ProviderError: langchain or the provider's package is missing, or it refuses its settings.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ProviderError(f"{name} needs langchain: pip install 'medguard[agents]'") from error
    settings: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    try:
        model: BaseChatModel = init_chat_model(name, **settings)
    except ImportError as error:
        raise ProviderError(f"{name} needs its provider's package: {error}") from error
    except Exception as error:
        raise ProviderError(
            f"{name} cannot be made ({type(error).__name__}): expected PROVIDER:MODEL of a "
            "provider that langchain knows, with its key in the environment"
        ) from error
    return model


def split_url_spec(spec: str) -> tuple[str, str, str] | None:
    """Split ``URL#MODEL`` into address, model, and the address to show, without user, password and query.

    Returns:
        None where `spec` is no http address.

    Raises:
        DataError: It names no model, or no host.
    """
    if not spec.startswith(("http://", "https://")):
        return None
    address, _, model = spec.partition("#")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not model:
        raise DataError("expected an address as URL#MODEL, such as http://127.0.0.1:8000/v1#my-model")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    return address, model, urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))


def _key_for(url: str) -> str | None:
    # OpenAI's key goes to OpenAI and to nobody else.
    names = [KEY_VARIABLE, *(["OPENAI_API_KEY"] if urlsplit(url).hostname == _OPENAI_HOST else [])]
    found = (os.environ.get(name, "").strip() for name in names)
    return next((key for key in found if key), None)


def _translated(error: Exception) -> JudgeCallError:
    """Tell what kind of failure a provider's exception is; its message may quote texts."""
    response = getattr(error, "response", None)
    codes = (getattr(error, "status_code", None), getattr(response, "status_code", None))
    status = next((code for code in codes if isinstance(code, int)), None)
    names = {kind.__name__ for kind in type(error).__mro__}
    headers = getattr(response, "headers", None)
    return JudgeCallError(
        f"the judge's model raised {type(error).__name__}" if status is None else _status_text(status),
        status=status,
        is_passing=bool(names & _PASSING),
        retry_after_s=_retry_after_s(headers) if isinstance(headers, Mapping) else None,
    )


def _status_text(status: int) -> str:
    advice = {
        401: f": the key was refused; set {KEY_VARIABLE} or the provider's variable",
        403: ": the provider forbids this call",
        404: ": no such model or address",
        429: ": too many requests; lower the concurrency",
    }.get(status, "")
    return f"the judge's endpoint answered HTTP {status}{advice}"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None
