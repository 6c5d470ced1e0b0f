from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.serve.wire import (
    encode,
    has_encoded_media,
    read_object,
    replaced,
    text_of,
    texts_in,
    without_key,
)
from tests.conftest import SENTINEL

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
BASE64 = "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQ="


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_is_written_is_what_was_read(value: dict[str, Any]) -> None:
    assert read_object(encode(value)) == value
    assert read_object(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"a"',
        b"{",
        b"{} {}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b"\xff{}",
        b'{"a": ' + b"[" * 200_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        f'{{"{SENTINEL}"'.encode(),
    ],
)
def test_what_is_no_object_is_refused_without_quoting_it(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON") as caught:
        read_object(data)
    assert SENTINEL not in str(caught.value)


def test_every_string_is_text_but_labels_and_encoded_media() -> None:
    value = {
        "role": "assistant",
        "id": "call_1",
        "content": ["one", {"type": "text", "text": "two"}],
        "audio": {"data": BASE64, "transcript": "three"},
        "two words": 1,
        "none": None,
        "empty": "",
    }
    assert [text for _, text in texts_in(value)] == ["one", "two", "three", "two words"]


def test_a_label_that_says_more_than_a_name_is_text() -> None:
    assert text_of({"id": "how to do it", "role": "x" * 129, "data": "buy it"}) == "\n\n".join(
        ["how to do it", "x" * 129, "buy it"]
    )


def test_encoded_media_are_found() -> None:
    assert has_encoded_media({"a": [{"b64_json": BASE64}]})
    assert not has_encoded_media({"a": [{"data": "no media"}], "other": BASE64})


@given(JSON)
def test_paths_lead_to_the_texts(value: Any) -> None:
    for path, text in texts_in(value, labels=frozenset()):
        new = replaced(value, path, text + "!")
        found = new
        for step in path:
            found = found[step]
        assert found == text + "!"
        assert replaced(new, path, text) == value


def test_without_key() -> None:
    assert without_key({"a": 1, "b": [{"a": 2, "c": 3}]}, "a") == {"b": [{"c": 3}]}
