"""Take out of a whole answer the windows that trip, instead of refusing all of it. Pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from medguard.decision import skipped
from medguard.holdback import HoldBack
from medguard.policy import Policy
from medguard.steps import Judge, Step
from medguard.verdict import Action, Stage, Verdict

__all__ = ["redact"]


def redact(text: str, prompt: object, policy: Policy) -> Generator[Step, Any, str | None]:
    """Judge an answer that tripped window by window, as a stream of it would be.

    Args:
        text: The answer.
        prompt: The request that it answers; what is no str gives no context.
        policy: Says how long windows are, and what takes the place of one.

    Yields:
        One step that judges all windows.

    Returns:
        The answer without the windows that trip, all of it redacted where none does by itself; None where
        a window is blocked or cannot be judged.
    """
    hold: HoldBack[None] = HoldBack(
        policy.stream_window_chars, policy.stream_stride_chars, redaction=policy.redaction
    )
    windows = [*hold.feed(None, text), *hold.finish()]
    judged = [window for window in windows if not window.is_blank]
    found = iter((yield Judge(Stage.RESPONSE, [prompt] * len(judged), [item.text for item in judged])))
    shown, trips = "", False
    for window in windows:
        verdict = skipped(Stage.RESPONSE) if window.is_blank else next(found)
        if not isinstance(verdict, Verdict):
            return None
        trips = trips or verdict.action is Action.REDACT
        shown += "".join(piece.text for piece in hold.settle(window, verdict))
        if hold.blocked:
            return None
    return shown if trips else policy.redaction
