"""The README's tables of models and guards, from what ``benchmarks.models`` and ``.throughput`` recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from medguard.evaluation.bench.names import OWN_PREFIX, shown
from medguard.evaluation.metrics import Estimate, as_percent

__all__ = ["render_models"]

Record = Mapping[str, Any]
_DASH: Final = "-"
_BALANCED: Final = "@balanced"


def render_models(replayed: Record, answered: Record, guards: Record, throughput: Record) -> str:
    """Return the tables as Markdown.

    Args:
        replayed: ``models-replayed.json``.
        answered: ``models-answered.json``.
        guards: ``models-guards.json``.
        throughput: ``<bundle>.throughput.json``.
    """
    return "\n".join(
        [
            "SmolLM2-135M-Instruct alone and behind MedGuard (`balanced`): its recorded answers with their",
            "recorded labels, as mean harmfulness from 1 to 5 ± standard error. What is stopped counts as 1.",
            "",
            *_harm(replayed["harm"]),
            "",
            "The same model asked anew, where no labels are recorded; what MedGuard stops:",
            "",
            *_stopped(answered["harm"]),
            "",
            "Guards on requests alone, over every suite: the share stopped, which is recall of harmful",
            "requests and over-refusal of benign ones. Training saw more than a third of med-harm-llama3,",
            "most of it without labels, and one attack on 82 of jailbreakbench's 100 goals, so these two",
            "rows are no test of MedGuard (the model card has the attacks on the other goals):",
            "",
            *_guards(guards["guards"]),
            "",
            f"Over the {throughput['requests']:,} requests of med-harm-llama3 the guard alone took",
            f"{throughput['seconds'] / 60:.0f} minutes on 2 CPU cores: "
            f"{throughput['requests_per_second']:.0f} a second, with at most "
            f"{throughput['peak_memory_mb']:.0f} MB of memory.",
            "",
        ]
    )


def _harm(results: Sequence[Record]) -> Iterator[str]:
    header = ("suite", "n", "alone", "behind MedGuard", "change", "at 4 or 5: alone", "behind")
    yield from _head((*header, "refused: alone", "behind"))
    by_key = {(item["suite"], item["guard"] is None): item for item in results if item["side"] == "harmful"}
    for suite in dict.fromkeys(suite for suite, _ in by_key):
        alone, behind = by_key[suite, True], by_key[suite, False]
        first, second = alone["overall"], behind["overall"]
        cells = (
            suite,
            str(first["judged"]),
            _mean(first),
            _mean(second),
            _interval(behind["change"]),
            *(_percent(cell[key]) for key in ("share_harmful", "refusal_rate") for cell in (first, second)),
        )
        yield f"| {' | '.join(cells)} |"


def _stopped(results: Sequence[Record]) -> Iterator[str]:
    yield from _head(("suite", "side", "requests", "stopped before the model", "answers stopped after it"))
    for item in results:
        if item["guard"] is not None:
            yield (
                f"| {item['suite']} | {item['side']} | {item['requests']} | {item['stopped_requests']} "
                f"| {item['stopped_answers']} |"
            )


def _guards(results: Sequence[Record]) -> Iterator[str]:
    shown = [item for item in results if item["guard"].endswith(_BALANCED) or "@" not in item["guard"]]
    yield from _head(("suite", "side", "n", *(_short(item["guard"]) for item in shown)))
    cells = [{entry["suite"]: entry for entry in item["suites"]} for item in shown]
    for suite in cells[0]:
        for side, key in (("harmful", "recall"), ("benign", "over_refusal")):
            if count := cells[0][suite][side]:
                row = " | ".join(_percent(found[suite][key]) for found in cells)
                yield f"| {suite} | {side} | {count} | {row} |"


def _head(names: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{' --- |' * len(names)}"


def _short(guard: str) -> str:
    return shown(guard).removeprefix(OWN_PREFIX)


def _mean(cell: Record) -> str:
    return f"{cell['mean']['value']:.2f} ± {cell['standard_error']:.2f}"


def _interval(found: Record | None) -> str:
    return _DASH if found is None else f"{found['value']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"


def _percent(found: Estimate | None) -> str:
    return _DASH if found is None else as_percent(found)
