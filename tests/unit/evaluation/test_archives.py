from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medguard.errors import DataError, DigestMismatchError, SourceUnavailableError
from medguard.evaluation import archives
from medguard.evaluation.sources import Source

Pack = Callable[[Path, Mapping[str, bytes]], bytes]
Serve = Callable[[bytes, int], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a real server on the loopback that answers every request alike."""
    servers: list[ThreadingHTTPServer] = []

    def start(body: bytes, status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requested.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Keep the test's output clean."""

        requested: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.requested = requested  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_reads_only_the_used_members(
    tmp_path: Path, made_source: Source, pack: Pack, contents: dict[str, bytes]
) -> None:
    pack(tmp_path / "a.tar.gz", contents)
    assert archives.read_archive(tmp_path / "a.tar.gz", made_source) == contents


@pytest.mark.parametrize(
    "change",
    [{"data/a.txt": b"altered"}, {"data/new.txt": b"added"}],
    ids=["altered", "added"],
)
def test_altered_content_is_a_digest_mismatch(
    tmp_path: Path, made_source: Source, pack: Pack, contents: dict[str, bytes], change: dict[str, bytes]
) -> None:
    pack(tmp_path / "a.tar.gz", contents | change)
    with pytest.raises(DigestMismatchError, match=r"manifest records .* Delete the archive"):
        archives.read_archive(tmp_path / "a.tar.gz", made_source)


def test_missing_member_is_a_digest_mismatch(tmp_path: Path, made_source: Source, pack: Pack) -> None:
    pack(tmp_path / "a.tar.gz", {"data/a.txt": b"alpha"})
    with pytest.raises(DigestMismatchError, match="the 1 used files"):
        archives.read_archive(tmp_path / "a.tar.gz", made_source)


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_truncated_archive_says_what_to_do(
    tmp_path: Path, made_source: Source, pack: Pack, contents: dict[str, bytes], keep: int
) -> None:
    whole = pack(tmp_path / "a.tar.gz", contents)
    assert len(whole) > 60
    (tmp_path / "a.tar.gz").write_bytes(whole[:keep])
    with pytest.raises(DataError, match="truncated or no archive"):
        archives.read_archive(tmp_path / "a.tar.gz", made_source)


def test_no_archive_at_all(tmp_path: Path, made_source: Source) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="truncated or no archive"):
        archives.read_archive(tmp_path / "a.tar.gz", made_source)


def test_mirror_variable_is_looked_at_first(
    tmp_path: Path,
    made_source: Source,
    pack: Pack,
    contents: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack(tmp_path / made_source.archive_name, contents)
    monkeypatch.setenv(archives.MIRROR_VARIABLE, str(tmp_path))
    assert archives.find_archive(made_source) == tmp_path / made_source.archive_name
    assert archives.open_source(made_source) == contents


def test_mirror_variable_that_names_no_folder(
    tmp_path: Path, made_source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(archives.MIRROR_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(SourceUnavailableError, match="which is no folder"):
        archives.find_archive(made_source)


def test_fetch_stores_a_verified_archive(
    tmp_path: Path, made_source: Source, pack: Pack, contents: dict[str, bytes], serve: Serve
) -> None:
    url = serve(pack(tmp_path / "upstream.tar.gz", contents), 200)
    stored = archives.fetch(made_source, tmp_path / "cache", upstream=url)
    assert stored == tmp_path / "cache" / made_source.archive_name
    assert archives.read_archive(stored, made_source) == contents
    assert os.listdir(tmp_path / "cache") == [made_source.archive_name]


def test_fetch_keeps_nothing_of_altered_content(
    tmp_path: Path, made_source: Source, pack: Pack, serve: Serve
) -> None:
    url = serve(pack(tmp_path / "upstream.tar.gz", {"data/a.txt": b"evil"}), 200)
    with pytest.raises(DigestMismatchError):
        archives.fetch(made_source, tmp_path / "cache", upstream=url)
    assert os.listdir(tmp_path / "cache") == []


def test_fetch_of_a_commit_that_is_gone(tmp_path: Path, made_source: Source, serve: Serve) -> None:
    with pytest.raises(SourceUnavailableError, match=rf"cannot fetch made .*{archives.MIRROR_VARIABLE}"):
        archives.fetch(made_source, tmp_path / "cache", upstream=serve(b"gone", 404))
    assert os.listdir(tmp_path / "cache") == []


def test_no_network(tmp_path: Path, made_source: Source) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SourceUnavailableError, match="Check the network"):
            archives.fetch(made_source, tmp_path / "cache", upstream=url)


def test_a_cache_that_cannot_be_written(tmp_path: Path, made_source: Source, serve: Serve) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SourceUnavailableError, match="cannot store made"):
        archives.fetch(made_source, tmp_path / "file" / "cache", upstream=serve(b"", 200))
