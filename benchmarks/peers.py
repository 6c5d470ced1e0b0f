"""Run other classifiers on the same evaluation sets as MedGuard: ``python -m benchmarks.peers``.

No threshold is chosen on an evaluation set: peers are ranked without one, and what they flag is told at the
threshold that their makers ship.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.peer_models import Absent, Array, Peer
from benchmarks.peer_packages import find_peers
from benchmarks.sets import RESULTS, EvaluationSets
from benchmarks.shared import (
    BundleOption,
    OutputOption,
    comparison_key,
    differences,
    ranking,
    shares,
    write_result,
)
from medguard import Classifier
from medguard.evaluation.metrics import as_number

__all__ = ["Sides", "main", "measure", "read_sets", "render", "still_valid"]

RESULT = "peers.json"
_UNCHANGED = ("sources", "data", "medguard", "figures")
"""What recorded figures must have in common with new ones to stand beside them."""
_HARD = ("contrast", "sensitive")
_GENERAL = ("harmbench_test", "strongreject")
# Title, key of the ranking, key of the figure.
_COLUMNS = (
    ("recall at 1% FPR", "hard_benign", "recall_at_1%_fpr"),
    ("at 2%", "hard_benign", "recall_at_2%_fpr"),
    ("at 5%", "hard_benign", "recall_at_5%_fpr"),
    ("restyled AUROC", "restyled", "auroc"),
    ("restyled recall at 2%", "restyled", "recall_at_2%_fpr"),
    ("XSTest AUROC", "xstest", "auroc"),
    ("general harm AUROC", "general_harm", "auroc"),
    ("general harm recall at 2%", "general_harm", "recall_at_2%_fpr"),
)
_FLAGGED = (
    ("judged harmful", "recall", "judged_harmful"),
    ("restyled harmful", "recall", "restyled_harmful"),
    ("HarmBench", "recall", "harmbench_test"),
    ("StrongREJECT", "recall", "strongreject"),
    ("benign twins", "false_positive_rate", "contrast"),
    ("alarming, legitimate", "false_positive_rate", "sensitive"),
    ("restyled benign", "false_positive_rate", "restyled_benign"),
    ("XSTest safe", "false_positive_rate", "xstest_safe"),
    ("MedicationQA", "false_positive_rate", "medication_qa"),
)
Sides = tuple[dict[str, list[str]], dict[str, list[str]]]
"""Harmful and benign texts, each by the name of the set."""


def read_sets(sets: EvaluationSets) -> Sides:
    """Read the sets that `benchmarks.quality` scores too, but for the largest and the unjudged ones.

    Raises:
        DataError: An upstream source is not to be had.
    """
    restyled_harmful, restyled_benign = sets.restyled()
    unsafe, safe = sets.xstest()
    harmful = {
        "judged_harmful": sets.harmful(),
        "restyled_harmful": restyled_harmful,
        "xstest_unsafe": unsafe,
        **sets.general_harm(),
    }
    benign = {
        "contrast": sets.contrast(),
        "sensitive": sets.sensitive(),
        "restyled_benign": restyled_benign,
        "xstest_safe": safe,
        "medication_qa": sets.patient_questions()["medication_qa"],
    }
    return harmful, benign


def measure(peers: Iterable[Peer | Absent], texts: Sides, console: Console) -> list[dict[str, Any]]:
    """Score all sets with every peer that is here.

    Returns:
        One record per peer in the order given; ``status`` is ``run`` or ``not run``, the latter with a
        reason and without any figure.
    """
    return [
        {**asdict(peer.about), "status": "not run", "reason": peer.reason}
        if isinstance(peer, Absent)
        else _measure_one(peer, texts, console)
        for peer in peers
    ]


def still_valid(
    peer: Peer | Absent, result: Mapping[str, Any], key: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the recorded figures of `peer` where neither its files nor the data have changed since.

    Args:
        peer: The peer; one that is not here is taken at its recorded version.
        result: A recorded result.
        key: What `comparison_key` gives now.
    """
    if differences(result["comparison"], key, _UNCHANGED):
        return None
    for record in result["peers"]:
        if record["status"] == "run" and record["name"] == peer.about.name:
            absent = isinstance(peer, Absent)
            if absent or (record["version"], record["files"]) == (peer.about.version, dict(peer.files)):
                return dict(record)
    return None


def render(result: Mapping[str, Any]) -> str:
    """Return recorded figures as two Markdown tables: ranking, and what is flagged by default."""
    head = ["", "made for", "AUROC", *(title for title, *_ in _COLUMNS)]
    ranked = [_row(head), _row(["---"] * len(head))]
    flagged = [_row(["", "threshold", *(title for title, *_ in _FLAGGED)])]
    flagged.append(_row(["---"] * (len(_FLAGGED) + 2)))
    for peer in result["peers"]:
        name = f"{peer['name']} {peer['version']}"
        if peer["status"] != "run":
            absent = f"not run: {peer['reason']}"
            ranked.append(_row([name, peer["made_for"], absent, *[""] * len(_COLUMNS)]))
            flagged.append(_row([name, absent, *[""] * len(_FLAGGED)]))
            continue
        figures = [peer["ranking"][group][figure]["value"] for _, group, figure in _COLUMNS]
        auroc = as_number(peer["ranking"]["hard_benign"]["auroc"])
        ranked.append(_row([name, peer["made_for"], auroc, *(f"{value:.3f}" for value in figures)]))
        if peer["flagged"] is None:
            flagged.append(_row([name, "none", *[""] * len(_FLAGGED)]))
            continue
        told = [peer["flagged"][side][name]["value"] for _, side, name in _FLAGGED]
        flagged.append(_row([name, f"{peer['threshold']:.3g}", *(f"{value:.1%}" for value in told)]))
    return "\n".join(
        [
            "Ranking: judged-harmful test requests against benign twins and alarming questions where no",
            "other set is named. Recall at a false positive rate is read off the same benign scores.",
            "",
            *ranked,
            "",
            "Share flagged at the threshold that each ships with: recall on the harmful sets, false",
            "positives on the benign ones.",
            "",
            *flagged,
            "",
        ]
    )


def _measure_one(peer: Peer, texts: Sides, console: Console) -> dict[str, Any]:
    named = [(side, name) for side in (0, 1) for name in texts[side]]
    scores: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    for side, name in track(
        named, description=peer.about.name, console=console, disable=not console.is_terminal
    ):
        scores[side][name] = peer.score(texts[side][name])
    harmful, benign = scores
    hard = np.concatenate([benign[name] for name in _HARD])
    threshold = peer.about.threshold
    return {
        **asdict(peer.about),
        "status": "run",
        "files": dict(peer.files),
        "ranking": {
            "hard_benign": ranking(harmful["judged_harmful"], hard),
            "restyled": ranking(harmful["restyled_harmful"], benign["restyled_benign"]),
            "xstest": ranking(harmful["xstest_unsafe"], benign["xstest_safe"]),
            "general_harm": ranking(np.concatenate([harmful[name] for name in _GENERAL]), hard),
        },
        "flagged": None if threshold is None else shares(harmful, benign, threshold),
    }


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _kept(
    peers: Iterable[Peer | Absent], result: Mapping[str, Any], key: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return what is still valid of a recorded result by the peer's name; says why where nothing is."""
    if other := differences(result["comparison"], key, _UNCHANGED):
        print(f"recorded of other or unknown {', '.join(other)}: all are measured anew", file=sys.stderr)
    found = {peer.about.name: still_valid(peer, result, key) for peer in peers}
    return {name: record for name, record in found.items() if record is not None}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: BundleOption = None,
    packages: Annotated[
        Path | None, typer.Option(help="Folder that pip --target and npm --prefix installed the peers into.")
    ] = None,
    output: OutputOption = None,
    reuse: Annotated[
        bool, typer.Option(help="Measure only what is new: keep recorded figures of unchanged peers.")
    ] = False,
    table_only: Annotated[bool, typer.Option(help="Print the table of the recorded result.")] = False,
) -> None:
    """Measure every peer that is here, record the result, and print it as Markdown."""
    if table_only:
        print(render(json.loads((output or RESULTS / RESULT).read_text(encoding="utf-8"))))
        return
    if packages is not None:
        # Last, so that nothing in it takes the place of a package of the project.
        sys.path.append(str(packages))
    classifier = Classifier.load(bundle, device="cpu")
    peers = find_peers(classifier, None if packages is None else packages / "node_modules")
    key = comparison_key(classifier)
    kept: dict[str, dict[str, Any]] = {}
    if reuse:
        kept = _kept(peers, json.loads((output or RESULTS / RESULT).read_text(encoding="utf-8")), key)
    harmful, benign = read_sets(EvaluationSets())
    new = [peer for peer in peers if peer.about.name not in kept]
    measured = {record["name"]: record for record in measure(new, (harmful, benign), Console(stderr=True))}
    result = {
        "schema_version": 1,
        "comparison": key,
        "counts": {name: len(texts) for name, texts in (harmful | benign).items()},
        "peers": [(measured | kept)[peer.about.name] for peer in peers],
    }
    target = write_result(result, RESULT, output)
    print(render(result))
    print(f"wrote {target.name}")


if __name__ == "__main__":
    app()
