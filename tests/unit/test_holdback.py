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
    chunks: list[str], window: int, stride: int, action: Action = Action.BLOCK, *, context: int = 0
) -> tuple[str, list[StreamWindow]]:
    """What leaves of a stream of `chunks`, and the windows that were judged."""
    hold: HoldBack[str] = HoldBack(window, stride, context_chars=context, redaction="#")
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


@given(chunks=chunkings, size=sizes, context=st.integers(0, 20))
def test_a_window_is_read_with_what_came_before_it(
    chunks: list[str], size: tuple[int, int], context: int
) -> None:
    text = "".join(chunks).replace("b", "a")
    left, judged = run(list(text), *size, context=context)
    assert left == text
    assert [window.text for window in judged] == [
        text[max(0, window.start - context) : window.end] for window in judged
    ]
    whole, _ = run([text], *size, context=context)
    assert whole == text


@given(chunks=chunkings, size=sizes, context=st.integers(1, 20))
def test_context_never_lets_more_out(chunks: list[str], size: tuple[int, int], context: int) -> None:
    left, _ = run(chunks, *size, context=context)
    assert run(chunks, *size)[0].startswith(left)


def test_what_was_removed_is_no_context() -> None:
    hold: HoldBack[str] = HoldBack(4, 4, context_chars=8, redaction="#")
    left = ""
    for letter in ["aaaa", "abad", *("a" * 16), None]:
        for window in hold.finish() if letter is None else hold.feed(letter, letter):
            left += "".join(piece.text for piece in hold.settle(window, verdict(window, Action.REDACT)))
    assert left == "aaaa#" + "a" * 16


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r'{"a": "so\nbad"}', '{"a": "so\nbad"}'),
        (r'{"a": "so\t\u0062ad"}', '{"a": "so\nbad"}'),
        (r'{"a": "{\"b\": \"so\\nbad', '{"a": "{\\"b\\": \\"so\\\nbad'),
        (r"b\u0061d", "bad"),
    ],
    ids=["line break", "both", "JSON in JSON", "letter"],
)
def test_text_with_escapes_is_judged_as_it_is_and_without(text: str, said: str) -> None:
    left, judged = run([text], 40, 20)
    assert [(window.start, window.end, window.text) for window in judged] == [
        (0, len(text), text),
        (0, len(text), said),
    ]
    assert left == ""
    harmless = text.replace("ad", "id").replace("61", "69")
    assert run([harmless], 40, 20)[0] == harmless


@pytest.mark.parametrize("text", ["so bid", 'a "quoted" word', "C:\\dir\\3", "one\ntwo", r"\alpha = 1\%"])
def test_other_text_is_judged_once(text: str) -> None:
    assert [window.text for window in run([text], 40, 20)[1]] == [text]


@given(
    lead=st.text(alphabet=["a", " ", "\\", '"', "n", "u", "0"], max_size=30),
    end=st.text(alphabet="a .", max_size=30),
    cut=st.integers(1, 9),
    redacts=st.booleans(),
)
@pytest.mark.parametrize("mark", [r"b\u0061d", r"\nb\u0061\u0064", r"\u0062\u0061\u0064"])
def test_no_escaped_mark_is_ever_whole_in_what_leaves(
    mark: str, lead: str, end: str, cut: int, redacts: bool
) -> None:
    text = f"{lead} {mark} {end}"
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    assert mark not in run(chunks, 60, 30, Action.REDACT if redacts else Action.BLOCK)[0]


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
