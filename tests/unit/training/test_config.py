from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "training" / "configs").glob("*.toml"))
DUMP = (
    "import sys; from pathlib import Path; from training.config import TrainingConfig; "
    "print(TrainingConfig.from_toml(Path(sys.argv[1])).model_dump_json())"
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_read_the_same_in_every_process(path: Path) -> None:
    """Checkpoints are bound to them."""
    dumps = {
        subprocess.run(
            [sys.executable, "-c", DUMP, str(path)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(dumps) == 1
