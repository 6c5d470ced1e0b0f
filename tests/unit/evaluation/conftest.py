from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from medguard.evaluation.sources import Source, Use, content_digest

Pack = Callable[[Path, Mapping[str, bytes]], bytes]

CONTENTS = {"data/a.txt": b"alpha", "data/deep/b.txt": b"beta"}


@pytest.fixture
def contents() -> dict[str, bytes]:
    return dict(CONTENTS)


@pytest.fixture
def made_source() -> Source:
    return Source(
        name="made",
        owner="someone",
        repository="something",
        commit="0123456789abcdef0123456789abcdef01234567",
        members=("data/*.txt",),
        digest=content_digest(CONTENTS),
        licence="MIT",
        use=Use.EVALUATE,
        terms="A test.",
        citation="None.",
    )


@pytest.fixture
def pack() -> Pack:
    """Write a source archive as a hosting site does: one folder named after the commit, and more files."""

    def write(target: Path, contents: Mapping[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path, data in {"README.md": b"not used", **contents}.items():
                entry = tarfile.TarInfo(f"something-0123/{path}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(buffer.getvalue())
        return buffer.getvalue()

    return write
