"""Settings of a benchmark run, read from YAML: strict, so that a mistyped name is an error.

    output: runs/first
    suites: [med-harm-gpt4, {name: med-harm-llama3, sample: 2000}]
    subjects: [smollm2]
    judge: recorded:labels.jsonl
    guards: [medguard]

Paths are taken from the working directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from medguard.errors import DataError

__all__ = ["JudgeConfig", "RayConfig", "RunConfig", "SuiteConfig", "read_settings"]

Count = Annotated[int, Field(ge=1, strict=True)]
Name = Annotated[StrictStr, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SuiteConfig(_Model):
    """A suite, and how much of it."""

    name: Name
    """Name of a suite, or path of a JSONL file."""
    limit: Count | None = None
    """First requests alone; over the run's own."""
    sample: Count | None = None
    """Requests drawn at random; over the run's own."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        _refuse_both(self.limit, self.sample)
        return self


class JudgeConfig(_Model):
    """A judge, and the settings of an LLM judge."""

    spec: Name
    """As `medguard.evaluation.bench.judges.load_judge` takes it."""
    settings: dict[str, Any] | None = None
    """Fields of `medguard.evaluation.bench.judges.LlmSettings`."""


class RayConfig(_Model):
    """How the Ray engine works."""

    address: Name | None = None
    """Cluster to join; None starts one on this machine, unless the process has joined one."""
    workers: Annotated[int, Field(ge=1, le=4096, strict=True)] = 2
    """Workers of each stage."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """Processors that a worker takes."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that a worker takes."""


class RunConfig(_Model):
    """One run: what is measured, by whom, and where it is kept."""

    output: Path | None = None
    """Run folder. It holds the texts of requests and answers."""
    suites: Annotated[tuple[SuiteConfig, ...], Field(min_length=1)]
    subjects: tuple[Name, ...] = ()
    """As `medguard.evaluation.bench.subjects.load_subject` takes them; none to run guards alone."""
    judge: JudgeConfig | None = None
    guards: tuple[Name, ...] = ()
    """As `medguard.evaluation.bench.guards.load_guard` takes them; each is applied to the stored answers."""
    limit: Count | None = None
    """First requests of each suite alone."""
    sample: Count | None = None
    """Requests drawn of each suite at random."""
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    """Of the sample."""
    retry_failures: bool = True
    """Whether calls that failed in an earlier run of this folder are made again."""
    subject_batch: Annotated[int, Field(ge=1, le=4096, strict=True)] = 32
    """Requests per call of a subject."""
    judge_batch: Annotated[int, Field(ge=1, le=4096, strict=True)] = 64
    guard_batch: Annotated[int, Field(ge=1, le=4096, strict=True)] = 64
    engine: Literal["local", "ray"] = "local"
    ray: RayConfig = RayConfig()

    @field_validator("suites", mode="before")
    @classmethod
    def _names_are_suites(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"name": item} if isinstance(item, str) else item for item in value)
        return value

    @field_validator("judge", mode="before")
    @classmethod
    def _name_is_judge(cls, value: Any) -> Any:
        return {"spec": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _refuse_both(self.limit, self.sample)
        if not self.subjects and not self.guards:
            raise ValueError("expected subjects, guards or both, found neither")
        if self.judge is not None and self.judge.spec != "none" and not self.subjects:
            raise ValueError("a judge needs subjects, whose answers it judges")
        return self

    @classmethod
    def from_mapping(cls, values: Any) -> RunConfig:
        """Check settings.

        Raises:
            DataError: A setting is unknown, missing or of no use; the message says which.
        """
        if not isinstance(values, dict):
            raise DataError(f"expected settings of a run by name, found {type(values).__name__}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            raise DataError(f"settings of the run: {wrong}") from None

    @classmethod
    def from_yaml(cls, path: Path) -> RunConfig:
        """Read settings from a file.

        Raises:
            DataError: The file cannot be read, is no YAML, or a setting is wrong.
        """
        return cls.from_mapping(read_settings(path))


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings, not checked yet.

    Raises:
        DataError: The file cannot be read, or is not a mapping in YAML.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise DataError(f"{path} is not YAML{where}") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise DataError(f"{path}: expected settings by name")
    return values


def _refuse_both(limit: int | None, sample: int | None) -> None:
    if limit is not None and sample is not None:
        raise ValueError("limit and sample exclude each other")
