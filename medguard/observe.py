"""Observers: told of every judgement, and unable to change it. Standard library only.

What an observer may say of a text are its hash and its length. The text itself is there only where the
policy's ``record_text`` allows it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from medguard.verdict import Verdict

__all__ = ["Observation", "Observer", "error_type", "notify", "observation_of", "request_id"]

logger = logging.getLogger(__name__)

request_id: Final[ContextVar[str | None]] = ContextVar("medguard_request_id", default=None)
"""Names the request that the checks of this thread or task belong to; a gateway sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One judgement, as observers see it."""

    verdict: Verdict
    """What was decided. Under ``on_error: raise`` a check that raised shows as failed and blocked."""
    text_sha256: str
    """SHA-256 of the text in UTF-8, 64 hexadecimal digits; empty where there was no text to read. It hides a
    text only from those who cannot guess it: whoever holds a candidate can confirm it."""
    text_chars: int
    """Length of the text in characters; 0 where there was none."""
    text: str | None = None
    """The text, where the policy says ``record_text``, else None."""
    request_id: str | None = None
    """The value of `medguard.observe.request_id` when the text was judged."""
    started_unix_ns: int = 0
    """When the check began, in nanoseconds since 1970. Texts judged in one call share it."""
    ended_unix_ns: int = 0
    """When the check ended, in nanoseconds since 1970; never before it began."""


class Observer(Protocol):
    """Is told of judgements in the thread that made them, from several threads at once.

    The caller waits for it. What it raises is logged by type and otherwise ignored.
    """

    def observe(self, observation: Observation) -> None:
        """Take note of one judgement."""


def observation_of(
    text: object, verdict: Verdict, *, record_text: bool, started_unix_ns: int, ended_unix_ns: int
) -> Observation:
    """Describe a judgement of `text`, which may be anything that stood in the place of a text."""
    readable = text if isinstance(text, str) else None
    return Observation(
        verdict=verdict,
        text_sha256="" if readable is None else _sha256(readable),
        text_chars=0 if readable is None else len(readable),
        text=readable if record_text else None,
        request_id=request_id.get(),
        started_unix_ns=started_unix_ns,
        ended_unix_ns=max(started_unix_ns, ended_unix_ns),
    )


def notify(observers: Sequence[Observer], observation: Observation) -> None:
    """Tell every observer; one that raises does not keep the others from hearing of it."""
    for observer in observers:
        try:
            observer.observe(observation)
        except Exception as error:  # noqa: BLE001 - watching must never change a decision
            # By type alone: the message may quote the text.
            logger.warning("observer %s failed with %s", type(observer).__name__, type(error).__name__)


def error_type(verdict: Verdict) -> str | None:
    """Name the type of the error that made the guard fail, such as ``GuardTimeoutError``; else None."""
    return None if verdict.error is None else verdict.error.partition(":")[0]


def _sha256(text: str) -> str:
    # Lone surrogates are no valid Unicode, yet a text with them was judged (failed) and has to be told apart.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
