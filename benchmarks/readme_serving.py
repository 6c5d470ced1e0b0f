"""The README's sentences on streams and the gateway, from ``streaming.json`` and ``load.json``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["render_serving"]

_WORDS: Final = "20"
"""Pace of the model that is shown, in words a second."""
_WIDTH: Final = 118
_ANSWERED: Final = frozenset({"ok", "harmful, answered", "harmful, blocked"})
"""Outcomes of requests that got their answer; any other is an error, a status or an answer that is lost."""


def render_serving(streaming: Mapping[str, Any], load: Mapping[str, Any]) -> str:
    """Return the sentences as Markdown.

    Args:
        streaming: ``streaming.json``.
        load: ``load.json``.
    """
    paced = streaming["tokens_per_second"][_WORDS]
    bare, guarded = paced["bare_streamed"], paced["guarded_streamed"]
    whole_s = paced["guarded_whole"]["last_s"] - paced["bare_whole"]["last_s"]
    runs = load["runs"]
    rates = {name: run["requests_per_second"] for name, run in runs.items()}
    p95_s = {name: run["latency_ms"]["p95"] / 1000 for name, run in runs.items()}
    guarded_runs = [run for name, run in runs.items() if name.startswith("gateway")]
    failed = sum(
        count for run in guarded_runs for name, count in run["outcomes"].items() if name not in _ANSWERED
    )
    answered = sum(run["outcomes"].get("harmful, answered", 0) for run in guarded_runs)
    sentences = (
        f"Held back, a stream of {_WORDS} words a second shows its first text after",
        f"{guarded['first_s']:.1f} seconds instead of {bare['first_s']:.1f} (a window of",
        f"{streaming['window_chars']} characters has to fill), and its last",
        f"{guarded['last_s'] - bare['last_s']:.1f} later; a whole answer takes {whole_s:.1f} seconds longer.",
        f"Under {load['clients']} clients on {load['cores']} cores, which upstream, clients and gateway",
        f"share, the gateway answers {rates['gateway_whole']:.0f} requests a second whole and",
        f"{rates['gateway_streamed']:.0f} streamed (p95 {p95_s['gateway_whole']:.1f} and",
        f"{p95_s['gateway_streamed']:.1f} s), a bare proxy of the same framework",
        f"{rates['bare_proxy_whole']:.0f} and {rates['bare_proxy_streamed']:.0f}; {failed or 'no'}",
        f"requests failed, {answered or 'no'} harmful ones were answered.",
    )
    return textwrap.fill(" ".join(sentences), _WIDTH) + "\n"
