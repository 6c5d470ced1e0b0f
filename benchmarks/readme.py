"""Write the recorded figures of the default bundle into the README: ``python -m benchmarks.readme``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from benchmarks.models import KINDS
from benchmarks.readme_models import render_models
from benchmarks.readme_serving import render_serving
from benchmarks.sets import RESULTS
from benchmarks.shared import differences, provenance
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
_OWN = ("quality", "latency", "throughput")
_MODELS = tuple(f"models-{kind}" for kind in KINDS)
_SERVING = ("streaming", "load")
_OF_DATA = (*_OWN, "peers")
_WITH_INTERVALS = ("quality", "peers", *_MODELS)


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
        ValueError: Something was measured with other files of the bundle, by unknown code or code that
            computed figures and intervals otherwise, or on other evaluation data.
    """
    records = {name: _read(f"{bundle.config.id}.{name}.json") for name in _OWN}
    records |= {name: _read(f"{name}.json") for name in ("peers", *_MODELS, *_SERVING)}
    keys = {name: record.get("comparison", {}) for name, record in records.items()}
    _check(keys, bundle)
    return "\n".join(
        [
            render(records["quality"], records["latency"], bundle),
            render_peers(records["peers"]),
            render_models(*(records[name] for name in _MODELS), records["throughput"]),
            render_serving(*(records[name] for name in _SERVING)),
            _told_code(keys),
        ]
    )


def _check(keys: Mapping[str, Mapping[str, Any]], bundle: Bundle) -> None:
    """Refuse records that may not stand together, or not for `bundle`."""
    now, data = provenance(bundle.config), keys["quality"].get("data")
    refused = {
        "other or unknown files of the bundle": [
            name for name in keys if differences(keys[name], now, ["files"])
        ],
        "unknown code": [name for name in keys if "code" not in keys[name]],
        "figures that are computed otherwise now": [
            name for name in _WITH_INTERVALS if differences(keys[name], now, ["figures"])
        ],
        "other evaluation data": [name for name in _OF_DATA if keys[name].get("data") != data],
    }
    for what, names in refused.items():
        if names:
            raise ValueError(f"{', '.join(names)}: of {what}, measure anew")


def _told_code(keys: Mapping[str, Mapping[str, Any]]) -> str:
    """Tell which code of the library was measured; it may have changed since, and between records."""
    by_code: dict[str, list[str]] = {}
    for name, key in keys.items():
        by_code.setdefault(key["code"], []).append(name)
    told = (
        f"`{code}`" if len(by_code) == 1 else f"`{code}` ({', '.join(names)})"
        for code, names in by_code.items()
    )
    return f"Measured with the library's code {', '.join(told)} (see `benchmarks/README.md`).\n"


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
