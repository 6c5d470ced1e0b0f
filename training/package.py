"""Pack graphs, tokenizer, thresholds and the training record into a bundle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from medguard.bundle import (
    CONFIG_FILE,
    SCHEMA_VERSION,
    BundleConfig,
    Calibration,
    FileRecord,
    OperatingPoint,
)
from medguard.scores import LABELS
from training.config import TrainingConfig
from training.encoder import GuardModel
from training.export import CPU_GRAPH, GPU_GRAPH

__all__ = ["write_config"]


def write_config(
    folder: Path,
    config: TrainingConfig,
    calibration: dict[str, Calibration],
    operating_points: dict[str, OperatingPoint],
    training: dict[str, Any],
    model: GuardModel,
) -> BundleConfig:
    """Write ``classifier.json`` for the files that lie in `folder`.

    Raises:
        pydantic.ValidationError: The parts do not make a valid bundle.
    """
    graphs = {"cpu": CPU_GRAPH} | ({"gpu": GPU_GRAPH} if config.gpu_graph else {})
    files = {name: _record(folder / name) for name in (*graphs.values(), "tokenizer.json")}
    bundle = BundleConfig(
        schema_version=SCHEMA_VERSION,
        id=config.id,
        licence="Apache-2.0",
        encoder=f"{config.encoder} ({config.encoder_licence})",
        labels=LABELS,
        max_tokens=config.windows.max_tokens,
        stride_tokens=config.windows.stride_tokens,
        context_tokens=config.windows.context_tokens,
        token_types=model.has_token_types,
        special_tokens=model.special_tokens,
        calibration=calibration,
        operating_points=operating_points,
        graphs=graphs,
        files=files,
        training=training,
    )
    (folder / CONFIG_FILE).write_text(
        json.dumps(bundle.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return bundle


def _record(path: Path) -> FileRecord:
    content = path.read_bytes()
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
