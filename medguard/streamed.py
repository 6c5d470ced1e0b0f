"""Judge whole answers as a guard judges streams of them. Pure but for the classifier."""

from __future__ import annotations

from collections.abc import Sequence

from medguard.checker import Checker
from medguard.holdback import HoldBack
from medguard.policy import Policy
from medguard.verdict import Verdict

__all__ = ["StreamedChecker"]


class StreamedChecker(Checker):
    """Judges answers as a guard judges streams of them: by the windows in which it holds them back."""

    def check_responses(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Give for each answer the verdict on its worst window; a failed one is the worst."""
        windows = [_windows(text, self.policy) for text in responses]
        contexts = [prompt for prompt, texts in zip(prompts, windows, strict=True) for _ in texts]
        verdicts = iter(super().check_responses(contexts, [text for texts in windows for text in texts]))
        return [_highest([next(verdicts) for _ in texts]) for texts in windows]


def _windows(text: str, policy: Policy) -> list[str]:
    """The texts that a guard judges of a streamed answer: not those that are blank, unless all are."""
    hold: HoldBack[None] = HoldBack.under(policy)
    windows = [*hold.feed(None, text), *hold.finish()]
    return [window.text for window in windows if window.text.strip()] or [text]


def _highest(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: (verdict.failed, verdict.score or 0.0))
