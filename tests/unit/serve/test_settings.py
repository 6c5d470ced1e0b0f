from __future__ import annotations

from typing import Any

import pytest

from medguard.serve import Settings


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("https://api.example.org/v1/", "https://api.example.org/v1"),
        ("https://example.org/models/v1", "https://example.org/models/v1"),
    ],
)
def test_the_upstream_s_base_url(given: str, read: str) -> None:
    assert Settings(upstream=given).upstream == read


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host", "http://", "http://user:pass@host", "http://h?key=1", "http://h#x"],
)
def test_other_urls(url: str) -> None:
    with pytest.raises(ValueError, match="upstream") as caught:
        Settings(upstream=url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_request_bytes": 0},
        {"read_timeout_s": 0.0},
        {"write_timeout_s": float("nan")},
        {"check_threads": 0},
        {"token": " "},
    ],
)
def test_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(upstream="http://host", **wrong)


def test_keys_do_not_show() -> None:
    shown = repr(Settings(upstream="http://host", token="secret-1", upstream_key="secret-2"))  # noqa: S106
    assert "secret" not in shown
