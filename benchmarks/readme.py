"""Write the recorded figures of the default bundle into the README: ``python -m benchmarks.readme``."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.models import KINDS
from benchmarks.readme_models import render_models
from benchmarks.readme_serving import render_serving
from benchmarks.sets import RESULTS
from medguard.bundle import Bundle, default_bundle_path
from medguard.evaluation.metrics import as_number, as_percent

__all__ = ["main", "recorded", "render", "render_peers", "with_figures"]

README = RESULTS.parents[1] / "README.md"
_BLOCK = re.compile(r"(<!-- figures: [^>]*-->\n).*?(<!-- end of figures -->)", re.DOTALL)
_PUBLISHED = """\
Published by others, on general harm and on other texts, not re-measured here: of 14 open guard models on
79,331 items from HarmBench, StrongREJECT, RealToxicityPrompts and BeaverTails, Qwen Guard (4B) has the
highest recall, 84.0%, while Llama Guard (12B) and GPT-OSS Safeguard (20B) miss up to 75% (Harsh et al.
2026, arXiv:2605.28830). We found no published figure of a guard on requests such as these."""
_RECALL = {
    "med_safety_bench_test": "MedSafetyBench test split, all requests",
    "med_safety_bench_test_judged_harmful": "those of them that the judge calls harmful",
    "restyled_harmful": "harmful requests restyled as story, role, euphemism or long note",
}
_FALSE_POSITIVES = {
    "contrast": "benign twins: same topic, much the same words",
    "sensitive": "alarming but legitimate questions",
    "restyled_benign": "benign requests restyled alike",
    "xstest_safe": "XSTest safe prompts",
    "medication_qa": "consumers' medication questions (MedicationQA)",
}


def render(quality: dict[str, Any], latency: dict[str, Any], bundle: Bundle) -> str:
    """Return the README's figures as Markdown."""
    point = quality["operating_points"]["balanced"]
    size_mb = bundle.config.files[bundle.config.graphs["cpu"]].size_bytes / 1e6
    parity = quality["parity"]["int8"]
    answers = quality["answers"]
    lines = [
        f"Bundle `{bundle.config.id}` at the operating point `balanced`, whose threshold was fixed at "
        f"{point['target_false_positive_rate']:.0%} false",
        "positives on held-out benign training requests (95% intervals):",
        "",
        "| | n | flagged |",
        "| --- | --- | --- |",
    ]
    for side, heading, titles in (
        ("recall", "recall", _RECALL),
        ("false_positive_rate", "false positives", _FALSE_POSITIVES),
    ):
        lines += [
            f"| {heading}: {title} | {quality['counts'][name]} | {as_percent(point[side][name])} |"
            for name, title in titles.items()
        ]
    lines.append(
        "| neither: MedSafetyBench test, judged borderline | "
        f"{quality['counts']['borderline']} | {as_percent(point['borderline'])} |"
    )
    ranking = quality["ranking"]
    hard = ranking["hard_benign"]
    kappa, at_4 = as_number(answers["quadratic_weighted_kappa"]), as_number(answers["auroc_at_4"])
    ece = as_number(quality["calibration"]["request_ece"])
    return "\n".join(
        [
            *lines,
            "",
            "- AUROC, judged harmful against benign twins and alarming questions: "
            f"{as_number(hard['auroc'])}; recall at 1% false positives "
            f"{as_percent(hard['recall_at_1%_fpr'])}",
            f"- AUROC, restyled harmful against restyled benign: {as_number(ranking['restyled']['auroc'])}; "
            f"XSTest unsafe against safe: {as_number(ranking['xstest']['auroc'])}",
            f"- Answers: quadratic weighted κ with the judge {kappa}, AUROC for harmfulness ≥ 4 {at_4}",
            f"- Expected calibration error of the request head: {ece}",
            "- Int8 against the fp32 torch model, on held-out training examples: probabilities differ by "
            f"{parity['mean_probability_difference']:.4f} on average, AUROC by "
            f"{parity['auroc_change[request_harm>=2]']:+.4f}",
            f"- Requests of {latency['words'][0]} to {latency['words'][1]} words on "
            f"{latency['machine']['cores']} CPU cores: {latency['mean_ms']['check_prompt']:.1f} ms for "
            f"`check_prompt` on average, {latency['mean_ms']['bare_onnxruntime']:.1f} ms for the bare "
            "onnxruntime call in the same run: "
            f"{latency['ratio_of_means_over_minilm']:.1f} times MiniLM int8 ({_by_kind(latency)}); "
            f"the graph is {size_mb:.0f} MB",
            "",
        ]
    )


def _by_kind(latency: dict[str, Any]) -> str:
    """Tell the ratio to MiniLM for each kind of request."""
    return ", ".join(
        f"{name.replace('_', ' ')} {kind['ratio_of_means_over_minilm']:.1f}"
        for name, kind in latency["kinds"].items()
    )


def render_peers(peers: dict[str, Any]) -> str:
    """Return how others that packages carry rank the same requests; those that were not run are left out."""
    lines = [
        "Other classifiers that packages carry, run on the same harmful, benign-twin and alarming requests:",
        "",
        "| | made for | AUROC | recall at 2% false positives |",
        "| --- | --- | --- | --- |",
    ]
    for peer in peers["peers"]:
        if peer["status"] == "run":
            figures = peer["ranking"]["hard_benign"]
            lines.append(
                f"| {peer['name']} | {peer['made_for']} | {as_number(figures['auroc'])} "
                f"| {as_percent(figures['recall_at_2%_fpr'])} |"
            )
    return "\n".join([*lines, "", _PUBLISHED, ""])


def with_figures(readme: str, figures: str) -> str:
    """Return `readme` with the block between its marks replaced.

    Raises:
        ValueError: The marks are missing.
    """
    replaced, count = _BLOCK.subn(lambda match: match[1] + "\n" + figures + "\n" + match[2], readme)
    if count != 1:
        raise ValueError(f"expected one block of figures in the README, found {count}")
    return replaced


def recorded(bundle: Bundle) -> str:
    """Render what is recorded for `bundle`.

    Raises:
        ValueError: Something was measured with other files of the bundle, or other evaluation data.
    """
    own = {kind: _read(f"{bundle.config.id}.{kind}.json") for kind in ("quality", "latency", "throughput")}
    models = {kind: _read(f"models-{kind}.json") for kind in KINDS}
    peers = _read("peers.json")
    key = own["quality"]["comparison"]
    keys = {"peers": peers["comparison"], **{kind: record["comparison"] for kind, record in own.items()}}
    files = {
        **{name: found["files"] for name, found in keys.items()},
        **{f"models-{kind}": record["bundle_files"] for kind, record in models.items()},
    }
    if other := [name for name, found in files.items() if found != key["files"]]:
        raise ValueError(f"{', '.join(other)}: of other files of the bundle, measure anew")
    # Older records do not tell their data: they may stand beside each other alone.
    if other := [name for name, found in keys.items() if found.get("data") != key.get("data")]:
        raise ValueError(f"{', '.join(other)}: of other evaluation data, measure anew")
    return "\n".join(
        [
            render(own["quality"], own["latency"], bundle),
            render_peers(peers),
            render_models(*(models[kind] for kind in KINDS), own["throughput"]),
            render_serving(_read("streaming.json"), _read("load.json")),
        ]
    )


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return record


def main() -> None:
    """Update the README in place."""
    figures = recorded(Bundle(default_bundle_path()))
    README.write_text(with_figures(README.read_text(encoding="utf-8"), figures), encoding="utf-8")
    print("updated README.md")


if __name__ == "__main__":
    main()
