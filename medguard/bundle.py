"""A classifier bundle: one folder with graphs, tokenizer, thresholds and the record of how it was made."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medguard.errors import BundleError
from medguard.scores import LABELS

__all__ = [
    "Bundle",
    "BundleConfig",
    "Calibration",
    "FileRecord",
    "OperatingPoint",
    "SpecialTokens",
    "default_bundle_path",
]

SCHEMA_VERSION: Final = 2
DEFAULT_BUNDLE: Final = "mpnet9-v6"
CONFIG_FILE: Final = "classifier.json"

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Slope = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibration(_Frozen):
    """Beta calibration of one logit (Kull et al. 2017), a slope for either side of 0.

    ``sigmoid(above * softplus(logit) - below * softplus(-logit) + offset)``; with equal slopes this is Platt
    scaling, ``sigmoid(slope * logit + offset)``.
    """

    below: Slope = 1.0
    above: Slope = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class OperatingPoint(_Frozen):
    """Thresholds fixed on held-out training data."""

    prompt_threshold: Probability
    response_threshold: Probability
    target_false_positive_rate: Probability
    """Share of held-out benign medical texts that the thresholds may flag."""


class FileRecord(_Frozen):
    """Checksum of one file of the bundle."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=1)]


class SpecialTokens(_Frozen):
    """Tokens of the vocabulary that start, part and pad a window."""

    start: str = "[CLS]"
    separator: str = "[SEP]"
    padding: str = "[PAD]"


class BundleConfig(_Frozen):
    """The content of ``classifier.json``."""

    schema_version: int
    id: Annotated[str, Field(min_length=1)]
    licence: str
    encoder: str
    """Name and licence of the pre-trained encoder."""
    labels: tuple[str, ...]
    """Names of the graph's logits, in order."""
    max_tokens: Annotated[int, Field(ge=16, le=8192)]
    """Window width including special tokens."""
    stride_tokens: Annotated[int, Field(ge=1)]
    """Step between windows."""
    context_tokens: Annotated[int, Field(ge=1)]
    """How much of the request accompanies each window of an answer."""
    token_types: bool
    """Whether the graph takes ``token_type_ids``."""
    special_tokens: SpecialTokens = SpecialTokens()
    calibration: dict[str, Calibration]
    operating_points: dict[str, OperatingPoint]
    graphs: dict[str, str]
    """File name of the graph per device, ``cpu`` and ``gpu``."""
    files: dict[str, FileRecord]
    training: dict[str, Any]
    """Record of the data, seed and settings that made the bundle."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 in hexadecimal of each file by name, and of the configuration but for the training record.

        Results of other files, calibration or thresholds are of another bundle.
        """
        settings = self.model_dump_json(exclude={"files", "training"})
        return {
            **{name: record.sha256 for name, record in self.files.items()},
            CONFIG_FILE: hashlib.sha256(settings.encode()).hexdigest(),
        }

    @model_validator(mode="after")
    def _consistent(self) -> BundleConfig:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version {self.schema_version} is not {SCHEMA_VERSION}")
        if self.labels != LABELS:
            raise ValueError(f"labels differ from the library's: expected {LABELS}")
        if unknown := sorted(set(self.calibration) - set(LABELS)):
            raise ValueError(f"calibration of unknown labels: {', '.join(unknown)}")
        if self.stride_tokens + self.context_tokens + 3 > self.max_tokens:
            raise ValueError("stride_tokens and context_tokens leave no room in max_tokens")
        if missing := sorted({*self.graphs.values(), "tokenizer.json"} - set(self.files)):
            raise ValueError(f"no checksum for {', '.join(missing)}")
        if "balanced" not in self.operating_points:
            raise ValueError("operating point 'balanced' is missing")
        return self


class Bundle:
    """A bundle on disk, its configuration checked at construction and each file when it is read."""

    def __init__(self, path: str | Path) -> None:
        """Read the configuration.

        Raises:
            BundleError: The folder or its ``classifier.json`` is missing or invalid.
        """
        self.path = Path(path)
        self.config = self._read_config()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the recorded checksums: one name for exactly these files."""
        lines = (f"{name} {record.sha256}" for name, record in sorted(self.config.files.items()))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def read(self, name: str) -> bytes:
        """Return the content of a file after checking it against the recorded checksum.

        Raises:
            BundleError: The file is unknown, missing, truncated or altered.
        """
        record = self.config.files.get(name)
        if record is None:
            raise BundleError(
                f"bundle {self.path} has no file {name}; it has {', '.join(sorted(self.config.files))}"
            )
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"cannot read {name} of bundle {self.path}: {error}. Reinstall the bundle."
            ) from error
        if len(content) != record.size_bytes:
            raise BundleError(
                f"{name} of bundle {self.path} has {len(content)} bytes, expected {record.size_bytes}: "
                "the file is truncated or altered. Reinstall the bundle."
            )
        found = hashlib.sha256(content).hexdigest()
        if found != record.sha256:
            raise BundleError(
                f"{name} of bundle {self.path} has sha256 {found}, expected {record.sha256}: "
                "the file was altered. Reinstall the bundle."
            )
        return content

    def verify(self) -> None:
        """Check every recorded file.

        Raises:
            BundleError: The first file that is missing, truncated or altered.
        """
        for name in self.config.files:
            self.read(name)

    def _read_config(self) -> BundleConfig:
        file = self.path / CONFIG_FILE
        try:
            return BundleConfig.model_validate_json(file.read_bytes())
        except OSError as error:
            raise BundleError(
                f"no classifier bundle at {self.path}: cannot read {CONFIG_FILE} ({error.strerror}). "
                "Give the folder that holds it, or reinstall medguard for the bundled one."
            ) from error
        except ValidationError as error:
            raise BundleError(f"{file} is not a valid bundle configuration: {error}") from error


def default_bundle_path() -> Path:
    """Folder of the bundle that ships with the library (package data; in a checkout, ``classifiers/``)."""
    package = Path(__file__).resolve().parent
    installed = package / "_classifiers" / DEFAULT_BUNDLE
    return installed if installed.is_dir() else package.parent / "classifiers" / DEFAULT_BUNDLE
