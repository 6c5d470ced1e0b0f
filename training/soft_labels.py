"""Teachers' scores as targets of a student (Hinton et al. 2015), and the student's first weights."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medguard.errors import MedGuardError
from medguard.scores import LABELS, sigmoid
from training.batches import Encoded
from training.config import TrainingConfig
from training.encoder import GuardModel, load_pretrained
from training.examples import Example
from training.logits import torch_logits
from training.loop import CHECKPOINT
from training.prune import resize_feed_forward

__all__ = ["drop_settled", "empty_model", "load_teacher", "soften", "start_from", "teacher_logits"]

_SCORES = "teacher_logits"
_SETTLED_WITHIN = 0.25
_LEVELS = np.array([label.startswith(("request_harm", "harmfulness")) for label in LABELS])
_OF_REQUESTS = np.array([not label.startswith("harmfulness") for label in LABELS])
_OF_ANSWERS = np.array([label.startswith(("harmfulness", "principle")) for label in LABELS])


def load_teacher(config: TrainingConfig, run_folder: Path) -> GuardModel:
    """Load a teacher from the last checkpoint of its run.

    Raises:
        MedGuardError: There is no checkpoint.
    """
    path = run_folder / CHECKPOINT
    if not path.exists():
        raise MedGuardError(f"no checkpoint of the teacher {config.id} in {run_folder}: make train")
    model = empty_model(config)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return model


def empty_model(config: TrainingConfig) -> GuardModel:
    """Build a model of the shape that `config` gives, for weights that were trained under it."""
    model = load_pretrained(config.encoder, config.layers, config.exit_layer, config.middle)
    if config.feed_forward_width is not None:
        resize_feed_forward(model, config.feed_forward_width)
    return model


def start_from(student: GuardModel, teacher: GuardModel) -> None:
    """Give `student` the teacher's first layers, as wide as they are, and the heads trained after them."""
    if teacher.config.intermediate_size != student.config.intermediate_size:
        resize_feed_forward(student, teacher.config.intermediate_size)
    own = student.state_dict()
    # A head after another layer than the teacher's starts fresh.
    layers = {"exit_head.": (student.exit_layer, teacher.exit_layer)}
    layers |= {"middle_head.": (student.middle_layer, teacher.middle_layer)}
    fresh = tuple(head for head, (own_layer, other) in layers.items() if own_layer != other)
    shared = {name for name in own if not name.startswith(fresh)}
    weights = own | {name: value for name, value in teacher.state_dict().items() if name in shared}
    if teacher.exit_head is not None and teacher.exit_layer == student.config.num_hidden_layers:
        weights |= {f"head.{name}": value for name, value in teacher.exit_head.state_dict().items()}
    student.load_state_dict(weights)


def teacher_logits(
    teachers: Sequence[GuardModel], data: Sequence[Encoded], folder: Path, device: torch.device
) -> NDArray[np.float64]:
    """Score `data` once, and read the scores of exactly these texts from `folder` when the run is continued.

    Returns:
        Mean of the teachers' logits, float64 of shape (examples, labels).
    """
    digest = hashlib.sha256(repr([item.ids for item in data]).encode()).hexdigest()
    path = folder / f"{_SCORES}-{digest[:16]}.npy"
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float64)
    logits = np.mean([torch_logits(teacher, data, device, half=True) for teacher in teachers], axis=0)
    partial = path.with_suffix(".part.npy")
    np.save(partial, logits)
    os.replace(partial, path)
    return logits


def soften(examples: Sequence[Example], logits: NDArray[np.float64], weight: float) -> list[Example]:
    """Mix the teacher's probabilities into known targets; unknown ones become the teacher's.

    Args:
        examples: Requests and answers; a head that does not apply to a text stays unknown.
        logits: The teacher's, float64 of shape (examples, labels), in the same order.
        weight: Share of the teacher in a known target, 0 to 1.
    """
    softened = []
    for item, scores in zip(examples, sigmoid(logits), strict=True):
        target, mask = np.array(item.targets), np.array(item.mask)
        mixed = np.where(mask > 0, (1.0 - weight) * target + weight * scores, scores)
        known = np.maximum(mask, _OF_REQUESTS if item.response is None else _OF_ANSWERS)
        softened.append(
            replace(item, targets=tuple(map(float, mixed * known)), mask=tuple(map(float, known)))
        )
    return softened


def drop_settled(
    examples: Sequence[Example], logits: NDArray[np.float64], share: float, seed: int
) -> list[int]:
    """Choose what to train on: every text that the teacher gets wrong or doubts, and a share of the others.

    A student that starts from its teacher's weights has little to learn from what the teacher knows, and must
    still see some of it so as not to forget it.

    Args:
        examples: Labelled requests and answers.
        logits: The teacher's, float64 of shape (examples, labels), in the same order.
        share: Share to keep of the texts on which no known level differs from the judge's by 0.25 or more.
        seed: Of the draw.

    Returns:
        Positions of the chosen texts, ascending.
    """
    if share == 1.0:
        return list(range(len(examples)))
    targets, mask = np.array([item.targets for item in examples]), np.array([item.mask for item in examples])
    gap = (np.abs(sigmoid(logits) - targets) * mask)[:, _LEVELS].max(axis=1)
    draw = random.Random(f"settled:{seed}")
    return [at for at in range(len(examples)) if draw.random() < share or gap[at] >= _SETTLED_WITHIN]
