"""Distil the judge's labels into a classifier bundle: ``python -m training.distill``.

A stopped run continues from its checkpoint. Thresholds and calibration come from training groups that are
held out; no evaluation set is read but to keep its texts out of training.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console

from medguard.bundle import OperatingPoint
from medguard.classifier import Classifier
from medguard.errors import MedGuardError
from training.batches import Encoded, encode
from training.calibration import fit_beta
from training.cascade import EarlyExit, exit_below, settled
from training.config import TeacherConfig, TrainingConfig
from training.encoder import EXIT_LOGITS, GuardModel, load_pretrained, read_tokenizer
from training.examples import Example, split_examples
from training.export import CPU_GRAPH, GPU_GRAPH, export_graphs
from training.leaks import clean_examples, drop_leaks, evaluation_texts, texts_of
from training.logits import graph_logits, torch_outputs
from training.loop import CHECKPOINT, train
from training.operating_points import calibrates, operating_points
from training.package import write_config
from training.parity import measure_parity
from training.pool import build_pool
from training.prune import prune_feed_forward, resize_feed_forward
from training.smooth import smooth
from training.soft_labels import drop_settled, load_teacher, soften, start_from, teacher_logits
from training.validation import validate
from training.weights import encoder_folder

__all__ = ["distill", "main"]

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "training" / "configs"
RUNS = ROOT / "training" / "runs"
FINGERPRINT = "fingerprint"
"""File that binds the folder of a run to settings and data; weights read back from a bundle have none."""
_SMOOTHING_EXAMPLES = 600
_PRUNING_EXAMPLES = 150
console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class _Data:
    train: list[Example]
    held_out: list[Example]
    dropped: Counter[str]
    from_bundle: bool
    """Whether the run goes on from the rounded weights of a bundle, not from those of a run."""


def distill(
    config: TrainingConfig,
    output: Path | None,
    run_folder: Path,
    *,
    device: torch.device,
    teacher: TrainingConfig | None = None,
    stop_after_steps: int | None = None,
) -> bool:
    """Train, calibrate, export and pack one bundle.

    Args:
        config: Settings.
        output: Folder of the bundle; None to train only.
        run_folder: Where the checkpoint is kept; it belongs to one configuration.
        device: Where to train.
        teacher: Settings of the teacher that `config` names; its runs lie beside `run_folder`.
        stop_after_steps: Stop early, with a checkpoint (None: to the end).

    Returns:
        Whether the run is complete (False: stopped early).

    Raises:
        MedGuardError: Data or weights cannot be read, the checkpoint is of another run, or int8 loses too
            much quality.
    """
    teachers = _load_teachers(config, teacher, run_folder)
    data = _prepare(config, from_bundle=_from_bundle(config, teacher, run_folder))
    _claim(run_folder, config, data, teacher)
    tokenizer = read_tokenizer(encoder_folder(config.encoder))
    torch.manual_seed(config.seed)
    model = load_pretrained(config.encoder, config.layers, config.exit_layer, config.middle)

    def encoded(examples: Sequence[Example]) -> list[Encoded]:
        return encode(examples, tokenizer, config.windows, model.special_tokens)

    training = data.train
    if teachers and config.teacher is not None:
        start_from(model, teachers[0])
        training = _learn_from_teachers(config, config.teacher, teachers, data, encoded, run_folder, device)
    if config.optimiser.only_middle_head:  # which has no say about answers
        training = [item for item in training if item.response is None]
    if config.feed_forward_width not in (None, model.config.intermediate_size):
        if (run_folder / CHECKPOINT).exists():  # whose weights are pruned
            resize_feed_forward(model, config.feed_forward_width)
        else:
            prune_feed_forward(
                model, encoded(_some(data.train, _PRUNING_EXAMPLES, config)), config.feed_forward_width
            )
    if not train(
        model, encoded(training), config, run_folder, device=device, stop_after_steps=stop_after_steps
    ):
        return False
    if output is not None:
        # A bundle appears whole or not at all: what is refused or stopped leaves the one before as it was.
        partial = output.with_name(f"{output.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        _pack(model.cpu(), config, data, Counter(item.source for item in training), encoded, partial)
        shutil.rmtree(output, ignore_errors=True)
        os.replace(partial, output)
    return True


def _pack(
    model: GuardModel,
    config: TrainingConfig,
    data: _Data,
    trained_on: Counter[str],
    encoded: Callable[[Sequence[Example]], list[Encoded]],
    output: Path,
) -> None:
    """Export a trained model, check and calibrate it on held-out examples, and write the bundle."""
    console.print("exporting and quantising")
    output.mkdir(parents=True, exist_ok=True)
    smooth(model, encoded(_some(data.train, _SMOOTHING_EXAMPLES, config)))
    shutil.copyfile(encoder_folder(config.encoder) / "tokenizer.json", output / "tokenizer.json")
    held_out = encoded(data.held_out)
    plain = torch_outputs(model, held_out)
    full_depth = plain["logits"]
    early_exit, early = _early_exit(config, plain, held_out, data)
    export_graphs(model, output, gpu_graph=config.gpu_graph, early_exit=early_exit)
    small = graph_logits(output / CPU_GRAPH, held_out)
    targets = np.array([item.targets for item in data.held_out])
    mask = np.array([item.mask for item in data.held_out])
    cascaded = np.where(early[:, None], plain.get(EXIT_LOGITS, full_depth), full_depth)
    parity = {"int8": measure_parity(cascaded, small, targets, mask)}
    if config.gpu_graph:
        parity["fp16"] = measure_parity(full_depth, graph_logits(output / GPU_GRAPH, held_out), targets, mask)
    record = {
        "record": _record(config, data, trained_on),
        "held_out": validate(small, data.held_out),
        "parity": parity,
    }
    if early_exit is not None:
        record["cascade"] = _cascade_record(config, early_exit, early, full_depth, data)
    calibration = fit_beta(small, targets, mask * calibrates(data.held_out))
    provisional = {
        name: OperatingPoint(prompt_threshold=0.5, response_threshold=0.5, target_false_positive_rate=rate)
        for name, rate in config.operating_points.items()
    }
    write_config(output, config, calibration, provisional, record, model)
    points = operating_points(Classifier.load(output, device="cpu"), config, data.held_out)
    write_config(output, config, calibration, points, record, model)


def _early_exit(
    config: TrainingConfig,
    plain: dict[str, NDArray[np.float64]],
    held_out: Sequence[Encoded],
    data: _Data,
) -> tuple[EarlyExit | None, NDArray[np.bool_]]:
    """Fix when the exit settles a request, and tell which held-out examples it settles."""
    if config.cascade is None:
        return None, np.zeros(len(held_out), dtype=bool)
    below = exit_below(plain[EXIT_LOGITS], data.held_out, config.cascade.miss_rate)
    early_exit = EarlyExit(below, separator=held_out[0].ids[-1])  # every window ends with one
    return early_exit, settled(plain[EXIT_LOGITS], held_out, early_exit)


def _cascade_record(
    config: TrainingConfig,
    early_exit: EarlyExit,
    early: NDArray[np.bool_],
    full_depth: NDArray[np.float64],
    data: _Data,
) -> dict[str, Any]:
    """What the exit does to held-out requests: how many it settles, and what full depth says alone."""
    sources = np.array([item.source for item in data.held_out])
    requests = np.array([item.response is None for item in data.held_out])
    return {
        "exit_layer": config.exit_layer,
        "settled_below_logit": early_exit.below,
        "settled_share": {
            name: float(early[requests & (sources == name)].mean()) for name in sorted(set(sources[requests]))
        },
        "held_out_at_full_depth": validate(full_depth, data.held_out),
    }


def _some(examples: list[Example], count: int, config: TrainingConfig) -> list[Example]:
    return random.Random(config.seed).sample(examples, min(count, len(examples)))


def _prepare(config: TrainingConfig, *, from_bundle: bool = False) -> _Data:
    console.print("reading data and searching it for leaks")
    examples, dropped = clean_examples(config)
    kept, held_out = split_examples(examples, config.data.holdout_fraction)
    console.print(
        f"{len(kept)} training examples, {len(held_out)} held out, {dropped.total()} dropped as leaks"
    )
    return _Data(kept, held_out, dropped, from_bundle)


def _load_teachers(
    config: TrainingConfig, teacher: TrainingConfig | None, run_folder: Path
) -> list[GuardModel]:
    if config.teacher is None and teacher is None:
        return []
    if config.teacher is None or teacher is None:
        raise MedGuardError(
            f"settings {config.id} and the teacher given do not agree on whether there is one"
        )
    if teacher.data.holdout_fraction != config.data.holdout_fraction:
        raise MedGuardError(f"{config.id} and its teacher {teacher.id} must hold out the same fraction")
    return [load_teacher(teacher, folder) for folder in _teacher_folders(config.teacher, teacher, run_folder)]


def _teacher_folders(learning: TeacherConfig, teacher: TrainingConfig, run_folder: Path) -> list[Path]:
    """Where the runs of the teacher lie, one for each seed that is named."""
    names = [teacher.with_seed(seed).id for seed in learning.seeds] or [teacher.id]
    return [run_folder.parent / name for name in names]


def _from_bundle(config: TrainingConfig, teacher: TrainingConfig | None, run_folder: Path) -> bool:
    if config.teacher is None or teacher is None:
        return False
    folders = _teacher_folders(config.teacher, teacher, run_folder)
    return any(not (folder / FINGERPRINT).exists() for folder in folders)


def _learn_from_teachers(
    config: TrainingConfig,
    learning: TeacherConfig,
    teachers: Sequence[GuardModel],
    data: _Data,
    encoded: Callable[[Sequence[Example]], list[Encoded]],
    run_folder: Path,
    device: torch.device,
) -> list[Example]:
    """Return the labelled texts and the pool, with the teachers' scores in their targets."""
    clean = _clean_pool(config, learning, data)
    # With no weight in the labels, and all of them shown, only the pool needs scores.
    needed = learning.weight > 0.0 or learning.show_settled < 1.0
    as_judged, labelled = ([], data.train) if needed else (data.train, [])
    scored = [*labelled, *clean]
    logits = teacher_logits(teachers, encoded(scored), run_folder, device)
    chosen = drop_settled(labelled, logits[: len(labelled)], learning.show_settled, config.seed)
    chosen += range(len(labelled), len(scored))
    return [*as_judged, *soften([scored[at] for at in chosen], logits[chosen], learning.weight)]


def _clean_pool(config: TrainingConfig, learning: TeacherConfig, data: _Data) -> list[Example]:
    """Draw the pool, without what is held out or near an evaluation text."""
    pool = build_pool(learning.pool, config.data, data.train, config.seed)
    kept, _ = split_examples(pool, config.data.holdout_fraction)
    # Nor may the pool bring held-out texts back by another name.
    apart = evaluation_texts() | {f"held-out/{name}": text for name, text in texts_of(data.held_out).items()}
    clean, dropped = drop_leaks(kept, apart)
    console.print(f"the teachers score {len(clean)} more texts; {dropped.total()} dropped as leaks")
    return clean


def _claim(run_folder: Path, config: TrainingConfig, data: _Data, teacher: TrainingConfig | None) -> None:
    """Bind the folder to configuration, data and teacher, so that no checkpoint continues another run."""
    run_folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(config.model_dump_json(exclude={"history"}).encode())
    for item in data.train:
        digest.update(repr(item).encode())
    if teacher is not None and config.teacher is not None:
        # Trained anew, a teacher gives other scores than those that are kept here.
        for folder in _teacher_folders(config.teacher, teacher, run_folder):
            digest.update(_file_digest(folder / CHECKPOINT))
    fingerprint = digest.hexdigest()
    marker = run_folder / FINGERPRINT
    if not marker.exists() and (run_folder / CHECKPOINT).exists():
        raise MedGuardError(
            f"{run_folder} holds weights read back from a bundle; delete it to train {config.id} itself"
        )
    if marker.exists() and marker.read_text() != fingerprint:
        raise MedGuardError(
            f"{run_folder} holds the checkpoint of other settings or data; delete it or choose another folder"
        )
    marker.write_text(fingerprint)


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _record(config: TrainingConfig, data: _Data, trained_on: Counter[str]) -> dict[str, Any]:
    return {
        "settings": config.model_dump(mode="json"),
        "labelled_examples": dict(Counter(item.source for item in data.train)),
        "train_examples": dict(trained_on),
        "held_out_examples": dict(Counter(item.source for item in data.held_out)),
        "dropped_as_leaks": dict(data.dropped),
        "from_bundle": data.from_bundle,
        "threshold_texts": {
            "benign_requests": sum(item.is_benign_medical_request for item in data.held_out),
            "harmless_answers": sum(item.is_harmless_answer for item in data.held_out),
        },
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__},
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="Settings file.")] = CONFIGS / "mpnet9-v6.toml",
    seed: Annotated[
        int | None, typer.Option(help="Another seed than the settings', for a run of its own.")
    ] = None,
    train_only: Annotated[bool, typer.Option(help="Train, but pack no bundle.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    run_folder: Annotated[Path | None, typer.Option(help="Folder of the checkpoint.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    stop_after_steps: Annotated[int | None, typer.Option(help="Stop early with a checkpoint.")] = None,
) -> None:
    """Train, calibrate, export and pack a classifier bundle."""
    settings = TrainingConfig.from_toml(config)
    if seed is not None:
        settings = settings.with_seed(seed)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    output = None if train_only else output or ROOT / "classifiers" / settings.id
    run_folder = run_folder or RUNS / settings.id
    teacher = None
    if settings.teacher is not None:
        teacher = TrainingConfig.from_toml(config.parent / f"{settings.teacher.settings}.toml")
    try:
        complete = distill(
            settings,
            output,
            run_folder,
            device=torch.device(chosen),
            teacher=teacher,
            stop_after_steps=stop_after_steps,
        )
    except MedGuardError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from error
    if not complete:
        console.print(f"stopped; run again to continue {run_folder}")
    else:
        console.print(f"trained in {run_folder}" if output is None else f"bundle written to {output}")


if __name__ == "__main__":
    app()
