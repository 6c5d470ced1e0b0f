"""Settings of a training run, read from TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CascadeConfig",
    "DataConfig",
    "LossConfig",
    "MiddleConfig",
    "OptimiserConfig",
    "PoolConfig",
    "TeacherConfig",
    "TrainingConfig",
    "WindowConfig",
]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Strict):
    """How much of which source is used."""

    holdout_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    medquad_questions: Count
    everyday_requests: Count
    safe_answers: Count
    medquad_answers: Count
    framed_requests: Count
    """Requests shown once more inside a frame of ``data/frames.toml``."""
    frames: Annotated[int, Field(ge=1)]
    """Take the first so many frames."""
    noisy_requests: Count
    """Requests shown once more with typing errors or random words, without spaces, or many times over."""
    buried_requests: Count
    """Requests shown once more within passages of MedQuAD, and passages alone."""
    prompt_dropout: Fraction
    """Share of answers shown without their request."""
    leave_out: tuple[str, ...] = ()
    """Names of sources to do without. A tuple, for the settings in the order of the file name a run."""
    borderline: Fraction = 0.0
    """Target of ``request_harm>=2`` for a borderline request, in training."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Keep only this many examples of each source (for tests)."""


class PoolConfig(_Strict):
    """How many unlabelled texts the teacher scores for the student."""

    llama3_requests: Count
    medquad_questions: Count
    dialogues: Count
    framed_requests: Count
    dialogue_answers: Count


class TeacherConfig(_Strict):
    """Whose scores a student learns, and from which weights it starts."""

    settings: str
    """Name of the teacher's settings file beside this one, without the suffix."""
    seeds: tuple[int, ...] = ()
    """Trained once with each seed; the student starts from the first and learns the mean of all logits. None
    given: trained once, with the seed of its settings."""
    weight: Annotated[float, Field(ge=0.0, le=1.0)]
    """Share of the teacher's score in the target of a labelled text; the judge's label is the rest."""
    show_settled: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share to train on of the labelled texts whose level the teacher gives as the judge did."""
    pool: PoolConfig


class CascadeConfig(_Strict):
    """When the layers above the exit are left out."""

    miss_rate: Fraction
    """Share of the held-out harmful requests that the exit may settle as benign."""


class MiddleConfig(_Strict):
    """A head between the exit and the last layer, averaged into the logits of requests."""

    layer: Annotated[int, Field(ge=1)]
    share: Fraction
    """Weight of the middle head in the mean; the last layer's is the rest."""


class OptimiserConfig(_Strict):
    """AdamW with linear warm-up and decay (Loshchilov and Hutter 2019)."""

    epochs: Annotated[int, Field(ge=1)]
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """End after so many steps, before the epochs do; None for all of them."""
    learning_rate: Annotated[float, Field(gt=0.0)]
    head_learning_rate: Annotated[float, Field(gt=0.0)]
    """Of the fresh head, which starts from nothing."""
    weight_decay: Annotated[float, Field(ge=0.0)]
    warmup_fraction: Fraction
    batch_size: Annotated[int, Field(ge=1)]
    max_grad_norm: Annotated[float, Field(gt=0.0)]
    checkpoint_steps: Annotated[int, Field(ge=1)]
    freeze_words: bool = False
    """Leave the table of words as it was pre-trained, so that words not in training keep their meaning."""
    only_middle_head: bool = False
    """Leave everything but the middle head as the teacher's weights have it."""


class LossConfig(_Strict):
    """Weights of the heads in the sum of binary cross-entropies."""

    request: float
    principles: float
    general: float
    answer: float
    exit: float = 0.0
    """Weight of the exit's loss beside the last layer's."""
    middle: float = 0.0
    """Weight of the middle head's loss beside the last layer's."""


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
    layers: Annotated[int, Field(ge=1)] | None = None
    """Keep the encoder's first so many layers; None keeps all."""
    exit_layer: Annotated[int, Field(ge=1)] | None = None
    """Layer after which a second head learns the same, for a student that keeps the layers up to there or for
    a cascade."""
    cascade: CascadeConfig | None = None
    """Let the exit settle requests that are clearly benign; None runs every layer for every text."""
    middle: MiddleConfig | None = None
    """Let a layer between the exit and the last have its say; None for the last layer alone."""
    feed_forward_width: Annotated[int, Field(ge=1)] | None = None
    """Neurons to keep in every feed-forward layer; None keeps all."""
    teacher: TeacherConfig | None = None
    gpu_graph: bool = True
    """Whether the bundle holds an fp16 graph for GPUs too."""
    seed: int
    data: DataConfig
    optimiser: OptimiserConfig
    loss: LossConfig
    windows: WindowConfig
    operating_points: dict[str, Fraction]
    history: str = ""
    """What the released weights went through beside these settings, in sentences for the model card."""

    def with_seed(self, seed: int) -> TrainingConfig:
        """The same settings with another seed, as a run of its own."""
        return self.model_copy(update={"id": f"{self.id}-{seed}", "seed": seed})

    @classmethod
    def from_toml(cls, path: Path) -> TrainingConfig:
        """Read and validate a settings file (`pydantic.ValidationError` lists what is wrong)."""
        return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
