"""The training loop: deterministic order, checkpoints, resumption."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from medguard.scores import LABELS
from training.batches import Batch, Encoded, collate, epoch_order
from training.config import LossConfig, OptimiserConfig, TrainingConfig
from training.encoder import EXIT_LOGITS, LAST_LOGITS, MIDDLE_LOGITS, GuardModel
from training.precision import half_precision

__all__ = ["CHECKPOINT", "train", "write_checkpoint"]

CHECKPOINT = "checkpoint.pt"


def train(
    model: GuardModel,
    data: Sequence[Encoded],
    config: TrainingConfig,
    folder: Path,
    *,
    device: torch.device,
    stop_after_steps: int | None = None,
) -> bool:
    """Train `model` in place, continuing from the checkpoint in `folder` when there is one.

    A run that was stopped and continued gives the weights of one that was not: order and dropout are
    functions of seed and step alone.

    Args:
        model: Gives ``{"logits": ...}``.
        data: Encoded training examples.
        config: Settings of the run.
        folder: Where the checkpoint is kept.
        device: Where to train.
        stop_after_steps: Stop after this step, with a checkpoint (None: train to the end).

    Returns:
        Whether training is complete.
    """
    settings = config.optimiser
    lengths = [len(item.ids) for item in data]
    plan = [
        batch
        for epoch in range(settings.epochs)
        for batch in epoch_order(lengths, settings.batch_size, config.seed, epoch)
    ][: settings.max_steps]
    if settings.freeze_words:
        model.encoder.get_input_embeddings().weight.requires_grad_(False)
    if settings.only_middle_head:
        for name, value in model.named_parameters():
            value.requires_grad_(name.startswith("middle_head."))
    # Fused, a step over the embeddings of a large encoder costs a fifth.
    optimiser = torch.optim.AdamW(_parameter_groups(model, settings), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, _schedule(len(plan), settings.warmup_fraction))
    step = _resume(folder, model, optimiser, scheduler, device)
    weights = _head_weights(config.loss, device)
    # What does not learn needs no dropout.
    model.to(device).train(not settings.only_middle_head)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("training", total=len(plan), completed=step, loss="")
        while step < len(plan) and (stop_after_steps is None or step < stop_after_steps):
            torch.manual_seed(config.seed * 1_000_003 + step)
            batch = collate([data[index] for index in plan[step]], model.config.pad_token_id, device)
            loss = _loss(model, batch, weights, config.loss)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimiser.step()
            scheduler.step()
            step += 1
            if step % settings.checkpoint_steps == 0 or step == len(plan) or step == stop_after_steps:
                _checkpoint(folder, model, optimiser, scheduler, step)
            if step % 10 == 0:
                progress.update(task, completed=step, loss=f"loss {loss.item():.3f}")
        progress.update(task, completed=step)
    model.eval()
    return step == len(plan)


def _loss(model: GuardModel, batch: Batch, head_weights: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Mean over the batch of the weighted binary cross-entropy of the labels that are known.

    The heads learn each for itself, so that they err apart.
    """
    with half_precision(batch.input_ids.device):
        found = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)

    def entropy(logits: torch.Tensor) -> torch.Tensor:
        each = nn.functional.binary_cross_entropy_with_logits(logits.float(), batch.targets, reduction="none")
        per_example = (each * batch.label_mask * head_weights).sum(dim=1)
        return (per_example * batch.weights).sum() / batch.weights.sum()

    loss = entropy(found.get(LAST_LOGITS, found["logits"]))
    for name, weight in ((EXIT_LOGITS, config.exit), (MIDDLE_LOGITS, config.middle)):
        if name in found:
            loss = loss + weight * entropy(found[name])
    return loss


def _head_weights(loss: LossConfig, device: torch.device) -> torch.Tensor:
    """Spread each head's weight over its logits; shape (labels,)."""

    def weight(label: str) -> float:
        if label.startswith("request_harm"):
            return loss.request / 3
        if label.startswith("principle"):
            return loss.principles / 9
        return loss.general if label == "general_harm" else loss.answer / 4

    return torch.tensor([weight(label) for label in LABELS], device=device)


def _parameter_groups(model: nn.Module, settings: OptimiserConfig) -> list[dict[str, object]]:
    """Part the weights by learning rate and decay: embeddings, biases and norms do not decay."""
    groups = []
    for is_head, rate in ((False, settings.learning_rate), (True, settings.head_learning_rate)):
        trained = (item for item in model.named_parameters() if item[1].requires_grad)
        named = [item for item in trained if ("head." in item[0]) == is_head]
        decayed = [value for name, value in named if value.ndim > 1 and "embeddings" not in name]
        plain = [value for name, value in named if value.ndim <= 1 or "embeddings" in name]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "lr": rate})
        groups.append({"params": plain, "weight_decay": 0.0, "lr": rate})
    return groups


def _schedule(steps: int, warmup_fraction: float):  # type: ignore[no-untyped-def]
    warmup = max(1, math.ceil(steps * warmup_fraction))
    return lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))


def write_checkpoint(folder: Path, state: dict[str, object]) -> None:
    """Write the checkpoint of the run in `folder`, whole or not at all; a teacher's needs ``model`` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CHECKPOINT}.part"
    torch.save(state, partial)
    os.replace(partial, folder / CHECKPOINT)


def _checkpoint(folder: Path, model: GuardModel, optimiser: object, scheduler: object, step: int) -> None:
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),  # type: ignore[attr-defined]
        "scheduler": scheduler.state_dict(),  # type: ignore[attr-defined]
        "step": step,
    }
    write_checkpoint(folder, state)


def _resume(
    folder: Path,
    model: GuardModel,
    optimiser: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    device: torch.device,
) -> int:
    path = folder / CHECKPOINT
    model.to(device)
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scheduler.load_state_dict(state["scheduler"])
    return int(state["step"])
