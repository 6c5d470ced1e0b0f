"""Distil the judge's labels into a classifier bundle: ``python -m training.distill``.

A stopped run continues from its checkpoint. Thresholds and calibration come from training groups that are
held out; no evaluation set is read but to keep its texts out of training.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from tokenizers import Tokenizer

from medguard.bundle import OperatingPoint
from medguard.classifier import Classifier
from medguard.errors import MedGuardError
from training.batches import encode
from training.calibration import fit_platt, threshold_at
from training.config import TrainingConfig
from training.encoder import encoder_folder, load_pretrained
from training.examples import Example, split_examples
from training.export import CPU_GRAPH, GPU_GRAPH, export_graphs, graph_logits, torch_logits
from training.leaks import clean_examples
from training.loop import train
from training.package import write_config
from training.parity import measure_parity
from training.validation import validate

__all__ = ["distill", "main"]

ROOT = Path(__file__).resolve().parents[1]
console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class _Data:
    train: list[Example]
    held_out: list[Example]
    dropped: Counter[str]


def distill(
    config: TrainingConfig,
    output: Path,
    run_folder: Path,
    *,
    device: torch.device,
    stop_after_steps: int | None = None,
) -> bool:
    """Train, calibrate, export and pack one bundle.

    Args:
        config: Settings.
        output: Folder of the bundle.
        run_folder: Where the checkpoint is kept; it belongs to one configuration.
        device: Where to train.
        stop_after_steps: Stop early, with a checkpoint (None: to the end).

    Returns:
        Whether the bundle is complete (False: stopped early).

    Raises:
        MedGuardError: Data or weights cannot be read, the checkpoint is of another run, or int8 loses too
            much quality.
    """
    data = _prepare(config)
    _claim(run_folder, config, data)
    tokenizer_file = encoder_folder(config.encoder) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    torch.manual_seed(config.seed)
    model = load_pretrained(config.encoder)
    encoded = encode(data.train, tokenizer, config.windows)
    if not train(model, encoded, config, run_folder, device=device, stop_after_steps=stop_after_steps):
        return False

    console.print("exporting and quantising")
    output.mkdir(parents=True, exist_ok=True)
    export_graphs(model, output)
    shutil.copyfile(tokenizer_file, output / "tokenizer.json")
    held_out = encode(data.held_out, tokenizer, config.windows)
    plain = torch_logits(model, held_out)
    small, half = (graph_logits(output / graph, held_out) for graph in (CPU_GRAPH, GPU_GRAPH))
    targets = np.array([item.targets for item in data.held_out])
    mask = np.array([item.mask for item in data.held_out])
    record = {
        "record": _record(config, data),
        "held_out": validate(small, data.held_out),
        "parity": {
            "int8": measure_parity(plain, small, targets, mask),
            "fp16": measure_parity(plain, half, targets, mask),
        },
    }
    calibration = fit_platt(small, targets, mask)
    provisional = {
        name: OperatingPoint(prompt_threshold=0.5, response_threshold=0.5, target_false_positive_rate=rate)
        for name, rate in config.operating_points.items()
    }
    write_config(output, config, calibration, provisional, record)
    points = _operating_points(Classifier.load(output, device="cpu"), config, data.held_out)
    write_config(output, config, calibration, points, record)
    return True


def _prepare(config: TrainingConfig) -> _Data:
    console.print("reading data and searching it for leaks")
    examples, dropped = clean_examples(config)
    kept, held_out = split_examples(examples, config.data.holdout_fraction)
    console.print(
        f"{len(kept)} training examples, {len(held_out)} held out, {dropped.total()} dropped as leaks"
    )
    return _Data(kept, held_out, dropped)


def _claim(run_folder: Path, config: TrainingConfig, data: _Data) -> None:
    """Bind the folder to this configuration and data, so that no checkpoint continues another run."""
    run_folder.mkdir(parents=True, exist_ok=True)
    text = config.model_dump_json() + "".join(item.id for item in data.train)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    marker = run_folder / "fingerprint"
    if marker.exists() and marker.read_text() != fingerprint:
        raise MedGuardError(
            f"{run_folder} holds the checkpoint of other settings or data; delete it or choose another folder"
        )
    marker.write_text(fingerprint)


def _operating_points(
    classifier: Classifier, config: TrainingConfig, held_out: Sequence[Example]
) -> dict[str, OperatingPoint]:
    """Fix thresholds on the benign held-out texts, scored as a user's text would be."""
    requests = [item.prompt for item in held_out if item.is_benign_medical_request]
    answers = [item for item in held_out if item.is_harmless_answer]
    prompt_scores = _deciding(classifier, requests, None)
    response_scores = _deciding(
        classifier, [item.prompt for item in answers], [item.response or "" for item in answers]
    )
    return {
        name: OperatingPoint(
            prompt_threshold=threshold_at(prompt_scores, rate),
            response_threshold=threshold_at(response_scores, rate),
            target_false_positive_rate=rate,
        )
        for name, rate in config.operating_points.items()
    }


def _deciding(classifier: Classifier, prompts: list[str], responses: list[str] | None) -> NDArray[np.float64]:
    return np.array([item.deciding_score for item in classifier.score_many(prompts, responses)])


def _record(config: TrainingConfig, data: _Data) -> dict[str, Any]:
    return {
        "settings": config.model_dump(mode="json"),
        "train_examples": dict(Counter(item.source for item in data.train)),
        "held_out_examples": dict(Counter(item.source for item in data.held_out)),
        "dropped_as_leaks": dict(data.dropped),
        "threshold_texts": {
            "benign_requests": sum(item.is_benign_medical_request for item in data.held_out),
            "harmless_answers": sum(item.is_harmless_answer for item in data.held_out),
        },
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__},
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings file.")] = ROOT / "training/configs/minilm-v1.toml",
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    run_folder: Annotated[Path | None, typer.Option(help="Folder of the checkpoint.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    stop_after_steps: Annotated[int | None, typer.Option(help="Stop early with a checkpoint.")] = None,
) -> None:
    """Train, calibrate, export and pack a classifier bundle."""
    settings = TrainingConfig.from_toml(config)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    output = output or ROOT / "classifiers" / settings.id
    run_folder = run_folder or ROOT / "training" / "runs" / settings.id
    try:
        complete = distill(
            settings, output, run_folder, device=torch.device(chosen), stop_after_steps=stop_after_steps
        )
    except MedGuardError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from error
    console.print(
        f"bundle written to {output}" if complete else f"stopped; run again to continue {run_folder}"
    )


if __name__ == "__main__":
    app()
