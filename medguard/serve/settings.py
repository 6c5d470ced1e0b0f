"""Settings of the gateway, validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx

__all__ = ["Settings"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the gateway reaches its upstream and what it bears with. Keys never show in its repr."""

    upstream: str
    """Base URL of the upstream as OpenAI's clients take it, with ``/v1``, which is added where there is no
    path."""
    upstream_key: str | None = field(default=None, repr=False)
    """Key sent to the upstream. None: the client's own ``Authorization`` is passed on, unless `token` is
    set."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that clients of the gateway must show. None: anyone may call."""
    max_request_bytes: int = 20 * _MIB
    """Longest body of a request."""
    max_response_bytes: int = 32 * _MIB
    """Longest body, or single event, that is taken from the upstream."""
    connect_timeout_s: float = 10.0
    """Longest wait for a connection to the upstream, in seconds."""
    read_timeout_s: float = 600.0
    """Longest wait for the upstream to say something, in seconds."""
    write_timeout_s: float = 120.0
    """Longest wait for a client to take the next part of a streamed answer, in seconds."""
    check_threads: int = 64
    """Most checks at once; they are scored together."""
    reload_s: float = 1.0
    """How often the policy file is looked at, in seconds."""

    def __post_init__(self) -> None:
        """Check the settings and complete the upstream's URL.

        Raises:
            ValueError: The URL is none or holds a password, a key cannot be sent, or a limit is not positive.
        """
        if not _is_url(self.upstream):
            raise ValueError(
                "the upstream is a URL such as http://localhost:8000/v1, whose port, if any, is at most 65535"
            )
        parts = urlsplit(self.upstream)
        if parts.username is not None or parts.password is not None:
            raise ValueError("the upstream's URL holds a user or password: give a key instead")
        if parts.query or parts.fragment:
            raise ValueError("the upstream's URL holds a query or fragment, which it cannot have")
        path = parts.path.rstrip("/") or "/v1"
        object.__setattr__(self, "upstream", f"{parts.scheme}://{parts.netloc}{path}")
        for name in ("max_request_bytes", "max_response_bytes", "connect_timeout_s", "read_timeout_s"):
            self._require_positive(name)
        for name in ("write_timeout_s", "check_threads", "reload_s"):
            self._require_positive(name)
        _require_sendable("token", self.token)
        _require_sendable("upstream_key", self.upstream_key)

    def _require_positive(self, name: str) -> None:
        if not getattr(self, name) > 0:
            raise ValueError(f"{name} is above 0, found {getattr(self, name)}")


def _is_url(given: str) -> bool:
    """Whether the HTTP client can be given this address, whatever answers there."""
    try:
        parts = urlsplit(given)
        host, port = httpx.URL(given).host, parts.port
    except (ValueError, httpx.InvalidURL):
        return False
    return parts.scheme in ("http", "https") and bool(host) and port != 0


def _require_sendable(name: str, key: str | None) -> None:
    """Refuse a key that a header cannot carry, without showing it."""
    if key is None:
        return
    if not key.strip():
        raise ValueError(f"{name} is empty: leave it out, or set one")
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise ValueError(
            f"{name} has white space around it or characters that are not printable ASCII, which no header "
            "carries: set it again without them"
        )
