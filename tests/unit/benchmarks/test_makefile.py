"""The target that installs peers, with commands that install nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")


def write_command(path: Path, log: Path, status: int) -> None:
    """Make a command that notes its own name, leaves a folder behind as an install does, and ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = log.parent / "peers"
    path.write_text(
        f"#!/bin/sh\nmkdir -p {made}\necho {path.name} >> {log}\nexit {status}\n", encoding="utf-8"
    )
    path.chmod(0o755)


def install(folder: Path, *, pip: int = 0, npm: int = 0) -> tuple[int, list[str]]:
    """Make the target with commands that end with these statuses; gives make's status and what ran."""
    log, venv = folder / "log", folder / "venv"
    log.write_text("", encoding="utf-8")
    for command, status in ((venv / "bin" / "pip", pip), (folder / "bin" / "npm", npm)):
        write_command(command, log, status)
    for stamp in ("bin/python", ".demo", ".dev"):
        (venv / stamp).touch()
    done = subprocess.run(
        ["make", "-C", str(ROOT), f"PEERS={folder}/peers", f"VENV={venv}", f"{folder}/peers/.installed"],  # noqa: S607
        env={**os.environ, "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    return done.returncode, log.read_text(encoding="utf-8").split()


def test_peers_are_installed_once(tmp_path: Path) -> None:
    assert install(tmp_path) == (0, ["pip", "npm"])
    assert install(tmp_path) == (0, [])


def test_an_install_without_npm_goes_on_and_is_tried_again(tmp_path: Path) -> None:
    assert install(tmp_path, npm=127) == (0, ["pip", "npm"])
    assert install(tmp_path) == (0, ["pip", "npm"])
    assert install(tmp_path) == (0, [])


def test_an_install_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    status, ran = install(tmp_path, pip=1)
    assert (status != 0, ran) == (True, ["pip"])
    assert install(tmp_path) == (0, ["pip", "npm"])
