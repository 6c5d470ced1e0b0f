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
    [
        *("", "localhost:8000", "ftp://host", "http://", "http://user:pass@host", "http://h?key=1"),
        *("http://h#x", "http://h:99999/v1", "http://h:80a/v1", "http://h:0", "http://[::1/v1"),
        *("http://h\n/v1", "http://xn--/v1"),
    ],
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
        {"token": "secret\n"},
        {"upstream_key": ""},
        {"upstream_key": "secret\n"},
        {"upstream_key": " secret"},
        {"upstream_key": "secrét"},
        {"upstream_key": "sec\x07ret"},
    ],
)
def test_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))) as caught:
        Settings(upstream="http://host", **wrong)
    assert "sec" not in str(caught.value)


def test_keys_do_not_show() -> None:
    shown = repr(Settings(upstream="http://host", token="secret-1", upstream_key="secret-2"))  # noqa: S106
    assert "secret" not in shown
