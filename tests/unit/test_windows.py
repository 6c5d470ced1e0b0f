from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.windows import fit_context, spans


@given(st.data())
def test_windows_cover_every_token_and_keep_to_size_and_stride(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 500))
    size = data.draw(st.integers(1, 100))
    stride = data.draw(st.integers(1, size))
    windows = spans(length, size, stride)
    covered = {token for start, end in windows for token in range(start, end)}
    assert covered == set(range(length))
    width = min(size, length)
    assert all(end - start == width for start, end in windows)
    assert windows[-1][1] == length
    starts = [start for start, _ in windows]
    steps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(step == stride for step in steps[:-1])
    assert all(1 <= step <= stride for step in steps[-1:])


@pytest.mark.parametrize(
    ("length", "size", "stride"), [(0, 4, 2), (5, 0, 1), (5, 4, 0), (5, 4, 5), (-1, 4, 2)]
)
def test_impossible_windows_are_refused(length: int, size: int, stride: int) -> None:
    with pytest.raises(ValueError, match="need length"):
        spans(length, size, stride)


@given(st.lists(st.integers(), max_size=200), st.integers(1, 100))
def test_context_keeps_head_and_tail(tokens: list[int], size: int) -> None:
    context = fit_context(tokens, size)
    assert len(context) == min(size, len(tokens))
    tail = size // 3
    if len(tokens) > size:
        assert context[: size - tail] == tokens[: size - tail]
        assert context[size - tail :] == tokens[len(tokens) - tail :]
    else:
        assert context == tokens
