"""Take out of a whole answer the windows that trip, instead of refusing all of it. Pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from medguard.holdback import HoldBack
from medguard.policy import Policy
from medguard.steps import Step, judge_texts
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
    # Without context: all windows are judged at once, and one that trips would take the next ones with it.
    hold: HoldBack[None] = HoldBack(
        policy.stream_window_chars, policy.stream_stride_chars, redaction=policy.redaction
    )
    windows = [*hold.feed(None, text), *hold.finish()]
    judgements = yield from judge_texts(
        Stage.RESPONSE, [prompt] * len(windows), [window.text for window in windows]
    )
    shown, trips = "", False
    for window, verdict in zip(windows, judgements, strict=True):
        if not isinstance(verdict, Verdict):
            return None
        trips = trips or verdict.action is Action.REDACT
        shown += "".join(piece.text for piece in hold.settle(window, verdict))
        if hold.blocked:
            return None
    return shown if trips else policy.redaction
