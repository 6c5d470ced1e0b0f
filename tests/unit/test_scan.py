from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.checker import Checker
from medguard.errors import DataError, ProviderError
from medguard.policy import OnError, Policy
from medguard.scan import Row, judge_records, scan
from medguard.scan_input import BadLine, Record
from medguard.testing import FailingScorer, KeywordScorer
from medguard.verdict import Action, Stage


def checker(policy: Policy | None = None) -> Checker:
    return Checker(policy=policy, classifier=KeywordScorer({"arsenic": 0.9, "bleach": 0.6}))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
records = st.builds(
    Record,
    line=st.integers(1, 10**9),
    id=st.none() | st.integers() | texts,
    prompt=texts | st.just("arsenic"),
    response=st.none() | texts | st.just("bleach"),
)
items = st.lists(records | st.builds(BadLine, line=st.integers(1, 10**9), error=st.just("bad")), max_size=40)


class TestOrder:
    @given(items, st.integers(1, 9), st.integers(1, 200))
    def test_one_row_per_item_in_order(
        self, given_items: list[Record | BadLine], chunk_lines: int, chunk_chars: int
    ) -> None:
        rows = list(scan(given_items, checker(), chunk_lines=chunk_lines, chunk_chars=chunk_chars))
        assert [(row.line, row.id) for row in rows] == [(item.line, item.id) for item in given_items]
        for item, row in zip(given_items, rows, strict=True):
            if isinstance(item, BadLine):
                assert row == Row(line=item.line, id=item.id, bad_line="bad")
                continue
            assert row.prompt is not None
            if item.prompt.strip():
                assert row.prompt.score == (
                    0.9 if "arsenic" in item.prompt else 0.6 if "bleach" in item.prompt else 0.0
                )
            else:
                assert row.prompt.failed
            assert (row.response is None) == (item.response is None)

    @given(items, st.integers(1, 9))
    def test_chunks_do_not_change_the_verdicts(
        self, given_items: list[Record | BadLine], chunk_lines: int
    ) -> None:
        whole = [row.to_dict() for row in scan(given_items, checker())]
        assert [row.to_dict() for row in scan(given_items, checker(), chunk_lines=chunk_lines)] == whole

    def test_like_lengths_are_batched_together(self) -> None:
        scorer = KeywordScorer(["arsenic"])
        given_items = [Record(line=n, prompt="x" * (1 + n % 2 * 999)) for n in range(1, 257)]
        list(scan(given_items, Checker(classifier=scorer)))
        lengths = [{len(text) for text in prompts} for prompts, _ in scorer.calls]
        assert lengths == [{1}, {1000}]


class TestBoundedMemory:
    @staticmethod
    def endless(pulled: list[int], prompt: str) -> Iterator[Record]:
        for line in range(1, 10**9):
            pulled.append(line)
            yield Record(line=line, prompt=prompt)

    def test_rows_come_before_the_input_ends_and_at_most_a_chunk_is_pulled_ahead(self) -> None:
        pulled: list[int] = []
        rows = scan(self.endless(pulled, "hello"), checker(), chunk_lines=64)
        for expected in range(1, 1001):
            assert next(rows).line == expected
            assert len(pulled) - expected < 64

    def test_long_texts_end_a_chunk_early(self) -> None:
        pulled: list[int] = []
        next(scan(self.endless(pulled, "x" * 1000), checker(), chunk_lines=512, chunk_chars=10_000))
        assert len(pulled) <= 10

    def test_the_default_chunk_is_bounded(self) -> None:
        pulled: list[int] = []
        next(scan(self.endless(pulled, "hello"), checker()))
        assert len(pulled) == 512


class TestFatal:
    def test_strict_names_the_first_bad_line_after_the_rows_before_it(self) -> None:
        rows = scan(
            [Record(line=1, prompt="a"), BadLine(line=2, error="not JSON"), Record(line=3, prompt="b")],
            checker(),
            strict=True,
        )
        assert next(rows).line == 1
        with pytest.raises(DataError, match=r"^line 2: not JSON$"):
            next(rows)

    def test_strict_stops_at_text_that_cannot_be_judged(self) -> None:
        with pytest.raises(DataError, match=r"^line 1: InvalidInputError: .* empty"):
            list(scan([Record(line=1, prompt="")], checker(), strict=True))

    def test_what_was_read_before_a_fatal_error_is_still_judged(self) -> None:
        def broken() -> Iterator[Record]:
            yield Record(line=1, prompt="a")
            raise DataError("the disk is gone")

        rows = scan(broken(), checker())
        assert next(rows).line == 1
        with pytest.raises(DataError, match="the disk is gone"):
            next(rows)


class TestRows:
    def row(self, policy: Policy | None = None, **fields: str | None) -> dict[str, object]:
        (row,) = scan([Record(line=4, id="a", **fields)], checker(policy))  # type: ignore[arg-type]
        return row.to_dict()

    def test_a_prompt_alone(self) -> None:
        assert self.row(prompt="hello") == {
            "id": "a",
            "allowed": True,
            "action": "allow",
            "stage": "prompt",
            "prompt_score": 0.0,
            "principles": {str(number): 0.0 for number in range(1, 10)},
        }

    def test_a_blocked_prompt_decides_and_its_answer_is_still_judged(self) -> None:
        row = self.row(prompt="arsenic?", response="no")
        assert (row["allowed"], row["action"], row["stage"]) == (False, "block", "prompt")
        assert (row["prompt_score"], row["response_score"], row["response_allowed"]) == (0.9, 1.0, True)

    def test_else_the_answer_decides(self) -> None:
        row = self.row(prompt="hello", response="take bleach")
        assert (row["allowed"], row["action"], row["stage"]) == (False, "block", "response")
        assert row["response_score"] == pytest.approx(1 + 4 * 0.6)
        assert row["principles"] == {str(number): 0.6 if number == 8 else 0.0 for number in range(1, 10)}

    def test_an_answer_without_text_is_skipped(self) -> None:
        row = self.row(prompt="hello", response="")
        assert (row["stage"], row["response_score"], row["response_allowed"]) == ("prompt", None, True)

    def test_a_bad_line_is_blocked_without_a_stage(self) -> None:
        (row,) = scan([BadLine(line=9, error="no field 'prompt'")], checker())
        assert row.to_dict() == {
            "id": None,
            "line": 9,
            "allowed": False,
            "action": "block",
            "stage": None,
            "error": "no field 'prompt'",
        }

    @pytest.mark.parametrize("prompt", ["", " \n", "x" * 11])
    def test_text_that_cannot_be_judged_is_blocked_with_an_error(self, prompt: str) -> None:
        row = self.row(Policy(max_chars=10), prompt=prompt)
        assert (row["allowed"], row["action"], row["line"]) == (False, "block", 4)
        assert row["prompt_score"] is None
        assert row["principles"] == {}
        assert "Error" in str(row["error"])

    def test_an_answer_that_cannot_be_judged_is_blocked_with_an_error(self) -> None:
        row = self.row(Policy(max_chars=10), prompt="hello", response="x" * 11)
        assert (row["allowed"], row["stage"], row["response_allowed"]) == (False, "response", False)
        assert "InputTooLargeError" in str(row["error"])

    def test_failing_open_is_the_policy_s_choice_and_still_an_error(self) -> None:
        row = self.row(Policy(on_error=OnError.ALLOW), prompt="")
        assert row["allowed"] is True
        assert "error" in row

    def test_a_broken_classifier_blocks_every_line_by_name_of_its_error_only(self) -> None:
        broken = Checker(classifier=FailingScorer(ValueError("secret")))
        rows = list(scan([Record(line=1, prompt="secret", response="secret")], broken))
        assert [row.allowed for row in rows] == [False]
        assert "secret" not in rows[0].to_json()

    def test_policies_that_leave_a_stage_out(self) -> None:
        no_prompt = self.row(
            Policy(stages=frozenset({Stage.RESPONSE})), prompt="arsenic", response="take bleach"
        )
        assert (no_prompt["prompt_score"], no_prompt["stage"], no_prompt["allowed"]) == (
            None,
            "response",
            False,
        )
        no_response = self.row(
            Policy(stages=frozenset({Stage.PROMPT})), prompt="hello", response="take bleach"
        )
        assert (no_response["stage"], no_response["allowed"]) == ("prompt", True)
        assert no_response["response_score"] is None

    def test_other_actions_are_told(self) -> None:
        row = self.row(Policy(action=Action.ANNOTATE), prompt="arsenic")
        assert (row["allowed"], row["action"]) == (True, "annotate")

    def test_answers_are_judged_in_the_light_of_their_own_prompts(self) -> None:
        scorer = KeywordScorer(["arsenic"])
        judge_records(
            [
                Record(line=1, prompt="first", response="a longer answer"),
                Record(line=2, prompt="second"),
                Record(line=3, prompt="third", response="short"),
            ],
            Checker(classifier=scorer),
        )
        assert scorer.calls[-1] == (["third", "first"], ["short", "a longer answer"])

    def test_raise_is_left_to_the_caller(self) -> None:
        with pytest.raises(ProviderError):
            judge_records(
                [Record(line=1, prompt="x")],
                Checker(policy=Policy(on_error=OnError.RAISE), classifier=FailingScorer()),
            )

    def test_json_is_one_line_of_ascii(self) -> None:
        line = Row(line=1, id="é\n\u2028", bad_line="x").to_json()
        assert line.isascii()
        assert "\n" not in line
        assert json.loads(line)["id"] == "é\n\u2028"
