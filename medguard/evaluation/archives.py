"""Get a source's files: from a mirror folder, from the user's cache, or over HTTPS. Verified on each read."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from medguard.errors import DataError, DigestMismatchError, SourceUnavailableError
from medguard.evaluation.sources import Source, content_digest

__all__ = ["MIRROR_VARIABLE", "fetch", "find_archive", "open_source", "read_archive"]

MIRROR_VARIABLE: Final = "MEDGUARD_DATA"
UPSTREAM: Final = "https://github.com"
_TIMEOUT_S: Final = 60.0
_INSTALL: Final = "pip install 'medguard[bench]'"


def open_source(source: Source) -> Mapping[str, bytes]:
    """Return the used files of `source` by path, fetching the archive where it is not at hand.

    Raises:
        SourceUnavailableError: Neither in the mirror nor in the cache, and not fetchable.
        DigestMismatchError: The files differ from what the manifest records.
        DataError: The archive is truncated or no archive.
    """
    archive = find_archive(source)
    if archive is None:
        archive = fetch(source, cache_folder())
    return read_archive(archive, source)


def find_archive(source: Source) -> Path | None:
    """Look for the archive in the mirror and in the cache; None where it is in neither.

    The mirror is the folder that ``MEDGUARD_DATA`` names, else ``../shared/data/upstream`` beside a
    checkout.

    Raises:
        SourceUnavailableError: ``MEDGUARD_DATA`` names no folder.
    """
    named = os.environ.get(MIRROR_VARIABLE)
    if named and not Path(named).is_dir():
        raise SourceUnavailableError(
            f"{MIRROR_VARIABLE} names {named}, which is no folder; "
            "point it at the folder with the pinned archives, or unset it"
        )
    beside_checkout = Path(__file__).resolve().parents[3] / "shared" / "data" / "upstream"
    for folder in (Path(named) if named else beside_checkout, cache_folder()):
        if (archive := folder / source.archive_name).is_file():
            return archive
    return None


def read_archive(archive: Path, source: Source) -> Mapping[str, bytes]:
    """Read the used files from a ``.tar.gz`` and verify them.

    Raises:
        DigestMismatchError: Some file is missing, added or altered.
        DataError: The archive is truncated or no archive.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            for entry in tar:
                # Source archives hold everything in one folder named after the commit.
                _, _, member = entry.name.partition("/")
                if entry.isfile() and source.uses(member):
                    stream = tar.extractfile(entry)
                    contents[member] = stream.read() if stream is not None else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"cannot read {archive} ({type(error).__name__}): it is truncated or no archive. "
            "Delete it and run again to fetch it anew."
        ) from error
    found = content_digest(contents)
    if found != source.digest:
        raise DigestMismatchError(
            f"the {len(contents)} used files of {archive} have digest {found}, the manifest records "
            f"{source.digest} for commit {source.commit}. Delete the archive and run again to fetch it anew."
        )
    return contents


def fetch(source: Source, folder: Path, *, upstream: str = UPSTREAM) -> Path:
    """Download the source archive of the commit, verify it, and only then put it in place.

    Shows a progress bar on a terminal.

    Args:
        source: What to fetch.
        folder: Where the archive goes.
        upstream: Scheme and host that serve the archive.

    Raises:
        SourceUnavailableError: httpx is missing, or no network, or the server does not have it.
        DigestMismatchError: What came differs from what the manifest records; nothing is kept.
        DataError: What came is truncated or no archive; nothing is kept.
    """
    url = f"{upstream}/{source.owner}/{source.repository}/archive/{source.commit}.tar.gz"
    target = folder / source.archive_name
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _download(url, partial, source)
            read_archive(partial, source)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SourceUnavailableError(
            f"cannot store {source.name} in {folder}: {error.strerror}. Free space there or make it "
            f"writable, or point {MIRROR_VARIABLE} at a folder that holds {source.archive_name}."
        ) from error
    return target


def cache_folder() -> Path:
    """Folder of fetched archives under the user's cache directory.

    Raises:
        SourceUnavailableError: platformdirs is missing.
    """
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise SourceUnavailableError(f"datasets need platformdirs: {_INSTALL}") from error
    return user_cache_path("medguard") / "sources"


def _download(url: str, target: Path, source: Source) -> None:
    try:
        import httpx
    except ImportError as error:
        raise SourceUnavailableError(f"fetching {source.name} needs httpx: {_INSTALL}") from error
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("fetching {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_S) as response,
            target.open("wb") as file,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            response.raise_for_status()
            size = response.headers.get("content-length")
            task = progress.add_task(source.name, total=int(size) if size else None)
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.advance(task, len(chunk))
    except httpx.HTTPError as error:
        raise SourceUnavailableError(
            f"cannot fetch {source.name} from {url} ({type(error).__name__}). Check the network, or put "
            f"{source.archive_name} into a folder and point {MIRROR_VARIABLE} at it."
        ) from error
