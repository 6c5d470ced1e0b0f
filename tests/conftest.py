"""What all tests share: the bundled classifier, loaded once, and altered copies of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from medguard import Classifier
from medguard.bundle import default_bundle_path

# Before torch is imported: OpenMP threads that spin while they wait stall each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A slow machine is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

SENTINEL = "zebrafish-sentinel-4711"
"""Stands for user text in tests of what may not leak."""


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier.load(threads=1)


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))


@pytest.fixture
def edit_config(bundle_copy: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Change the copy's classifier.json in place."""

    def edit(change: Callable[[dict[str, Any]], None]) -> Path:
        file = bundle_copy / "classifier.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        change(config)
        file.write_text(json.dumps(config), encoding="utf-8")
        return bundle_copy

    return edit


@pytest.fixture
def replace_file(
    bundle_copy: Path, edit_config: Callable[[Callable[[dict[str, Any]], None]], Path]
) -> Callable[[str, bytes], Path]:
    """Replace a file of the copy and record its checksum, so that only the content is wrong."""

    def replace(name: str, content: bytes) -> Path:
        (bundle_copy / name).write_bytes(content)
        record = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        return edit_config(lambda config: config["files"].update({name: record}))

    return replace
