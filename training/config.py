"""Settings of a training run, read from TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DataConfig", "LossConfig", "OptimiserConfig", "TrainingConfig", "WindowConfig"]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Strict):
    """How much of which source is used."""

    holdout_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    medquad_questions: Annotated[int, Field(ge=0)]
    everyday_requests: Annotated[int, Field(ge=0)]
    medquad_answers: Annotated[int, Field(ge=0)]
    restyled_weight: Annotated[float, Field(gt=0.0)]
    """Weight of a rephrased request in the loss, beside 1 for all else."""
    prompt_dropout: Fraction
    limit: Annotated[int, Field(ge=1)] | None = None
    """Keep only this many examples of each source (for tests)."""


class OptimiserConfig(_Strict):
    """AdamW with linear warm-up and decay (Loshchilov and Hutter 2019)."""

    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0.0)]
    head_learning_rate: Annotated[float, Field(gt=0.0)]
    """Of the fresh head, which starts from nothing."""
    weight_decay: Annotated[float, Field(ge=0.0)]
    warmup_fraction: Fraction
    batch_size: Annotated[int, Field(ge=1)]
    max_grad_norm: Annotated[float, Field(gt=0.0)]
    checkpoint_steps: Annotated[int, Field(ge=1)]


class LossConfig(_Strict):
    """Weights of the heads in the sum of binary cross-entropies."""

    request: float
    principles: float
    general: float
    answer: float


class WindowConfig(_Strict):
    """Windows of the bundle, also the maximum length in training, in tokens."""

    max_tokens: int
    stride_tokens: int
    context_tokens: int


class TrainingConfig(_Strict):
    """Everything that a run depends on beside the data."""

    id: str
    encoder: str
    encoder_licence: str
    seed: int
    data: DataConfig
    optimiser: OptimiserConfig
    loss: LossConfig
    windows: WindowConfig
    operating_points: dict[str, Fraction]

    @classmethod
    def from_toml(cls, path: Path) -> TrainingConfig:
        """Read and validate a settings file (`pydantic.ValidationError` lists what is wrong)."""
        return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
