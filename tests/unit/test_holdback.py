"""The hold-back by itself: what it releases, and how much it makes the guard read."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.decision import skipped
from medguard.holdback import HoldBack, StreamWindow
from medguard.normalize import decode_base64_runs
from medguard.verdict import Action, Outcome, Stage, Verdict

MARK = "bad"


def verdict(window: StreamWindow, action: Action = Action.BLOCK) -> Verdict:
    if MARK not in window.text:
        return skipped(Stage.RESPONSE)
    return Verdict(
        allowed=False, action=action, outcome=Outcome.TRIPPED, stage=Stage.RESPONSE, score=1.0, threshold=0.5
    )


def run(
    chunks: list[str], window: int, stride: int, action: Action = Action.BLOCK
) -> tuple[str, list[StreamWindow]]:
    """What leaves of a stream of `chunks`, and the windows that were judged."""
    hold: HoldBack[str] = HoldBack(window, stride, redaction="#")
    left, judged = "", []
    for windows in (*(hold.feed(chunk, chunk) for chunk in chunks), None):
        for item in hold.finish() if windows is None else windows:
            judged.append(item)
            left += "".join(piece.text for piece in hold.settle(item, verdict(item, action)))
    return left, judged


chunkings = st.lists(st.text(alphabet="abd \n", max_size=12), max_size=30)
sizes = st.integers(1, 15).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window)))


@given(chunks=chunkings, size=sizes)
def test_nothing_from_the_first_blocked_window_onward_leaves_and_all_else_does(
    chunks: list[str], size: tuple[int, int]
) -> None:
    text = "".join(chunks)
    left, judged = run(chunks, *size)
    blocked = [window.start for window in judged if MARK in window.text]
    assert left == (text[: blocked[0]] if blocked else text)


@given(chunks=chunkings, size=sizes)
def test_no_mark_is_ever_whole_in_what_leaves(chunks: list[str], size: tuple[int, int]) -> None:
    window, stride = size
    if window - stride >= len(MARK):
        assert MARK not in run(chunks, window, stride)[0]


@given(chunks=chunkings, size=sizes)
def test_windows_are_the_same_however_the_text_is_cut(chunks: list[str], size: tuple[int, int]) -> None:
    clean = "".join(chunks).replace(MARK, "")
    _, cut = run(list(clean), *size)
    _, whole = run([clean] if clean else [], *size)
    assert cut == whole


@pytest.mark.parametrize("length", [1000, 2000, 4000, 8000])
def test_the_guard_reads_no_character_more_often_than_windows_overlap(length: int) -> None:
    _, judged = run(["x"] * length, 400, 200)
    assert sum(len(window.text) for window in judged) <= 2 * length


@given(chunks=chunkings)
def test_redaction_removes_the_mark_and_goes_on(chunks: list[str]) -> None:
    left, _ = run(chunks, 8, 4, Action.REDACT)
    assert MARK not in left
    if MARK not in "".join(chunks):
        assert left == "".join(chunks)


@pytest.mark.parametrize("lead", range(4))
@pytest.mark.parametrize("stride", [196, 197, 198, 199])
def test_every_window_of_an_encoded_answer_can_be_read(lead: int, stride: int) -> None:
    answer = "keep the vial in the fridge until it is used; wash your hands, and check the name. " * 20
    encoded = "x" * lead + base64.b64encode(answer.encode()).decode()
    hold: HoldBack[None] = HoldBack(400, stride)
    for window in [*hold.feed(None, encoded), *hold.finish()]:
        (read,) = decode_base64_runs(window.text)
        assert answer[window.start * 3 // 4 + 3 : window.end * 3 // 4 - 6] in read


def test_what_follows_a_redacted_window_leaves() -> None:
    left, _ = run(["bad" + "a" * 40], 8, 4, Action.REDACT)
    assert left.startswith("#a")
    assert left.endswith("aaaa")
    assert len(left) >= 30


def test_chunks_without_text_keep_their_place() -> None:
    hold: HoldBack[int] = HoldBack(4, 2)
    assert hold.feed(1, "ab") == []
    assert hold.feed(2, "") == []
    assert hold.feed(3, "c") == []
    (last,) = hold.finish()
    assert [piece.chunk for piece in hold.settle(last, skipped(Stage.RESPONSE))] == [1, 2, 3]


def test_windows_are_settled_once_and_in_order() -> None:
    hold: HoldBack[str] = HoldBack(2, 1)
    first, second = hold.feed("x", "abcd")
    with pytest.raises(ValueError, match="in order"):
        hold.settle(second, skipped(Stage.RESPONSE))
    hold.settle(first, skipped(Stage.RESPONSE))
    with pytest.raises(ValueError, match="in order"):
        hold.settle(first, skipped(Stage.RESPONSE))


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (1, 0), (2, 3)])
def test_lengths_out_of_range_are_refused(window: int, stride: int) -> None:
    with pytest.raises(ValueError, match="1 <= stride <= window"):
        HoldBack(window, stride)
