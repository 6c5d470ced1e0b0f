from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from medguard.errors import MedGuardError
from training import weights


def split_archive(folder: Path, names: list[str]) -> list[Path]:
    with zipfile.ZipFile(folder / "whole.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name * 100)
    content = (folder / "whole.zip").read_bytes()
    parts = []
    for number, start in enumerate(range(0, len(content), 400), start=1):
        parts.append(folder / f"whole.zip.{number:03d}")
        parts[-1].write_bytes(content[start : start + 400])
    return parts


NEEDED = ["enc/config.json", "enc/tokenizer.json", "enc/model.safetensors"]


def test_parts_are_joined_and_what_is_needed_unpacked(tmp_path: Path) -> None:
    parts = split_archive(tmp_path, [*NEEDED, "enc/1_Pooling/config.json", "enc/README.md"])
    folder = weights._assemble(parts, tmp_path / "encoders" / "enc")
    assert sorted(path.name for path in folder.iterdir()) == sorted(name[4:] for name in NEEDED)
    assert (folder / "config.json").read_text() == "enc/config.json" * 100
    assert [path.name for path in folder.parent.iterdir()] == ["enc"]


def test_an_archive_that_lacks_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    parts = split_archive(tmp_path, NEEDED[:2])
    with pytest.raises(MedGuardError, match=r"hold no model\.safetensors"):
        weights._assemble(parts, tmp_path / "encoders" / "enc")
    assert not (tmp_path / "encoders" / "enc").exists()


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "CACHE", tmp_path)
    monkeypatch.setitem(weights.ENCODERS, "absent", weights._Source(("no-such-package",), "make encoders"))
    with pytest.raises(MedGuardError, match="needs no-such-package: make encoders"):
        weights.encoder_folder("absent")
