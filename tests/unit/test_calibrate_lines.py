from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from medguard import Checker, MedGuard, Policy
from medguard.cli.calibrate_lines import ScoredLine, score_lines
from medguard.errors import DataError
from medguard.scan_input import InputFormat
from medguard.scores import Scores
from medguard.streamed import StreamedChecker
from medguard.testing import FailingScorer, KeywordScorer, make_scores
from medguard.verdict import Stage
from tests.conftest import SENTINEL

ASK = "What helps with gout?"
TALK = [
    {"role": "system", "content": "You are a nurse."},
    {"role": "user", "content": "Is arsenic in rice?"},
    {"role": "assistant", "content": "A little is."},
    {"role": "user", "content": "How much, then?"},
]


class ShareOfX(KeywordScorer):
    """Scores a text by the share of its characters that are x."""

    def __init__(self) -> None:
        super().__init__([])

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        texts = prompts if responses is None else responses
        return [make_scores(text.count("x") / len(text), has_answer=responses is not None) for text in texts]


def scored(
    *records: dict[str, Any], checker: Checker | None = None, input_format: InputFormat = InputFormat.JSONL
) -> list[ScoredLine]:
    stream = BytesIO(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    checker = Checker(classifier=KeywordScorer({"arsenic": 0.9})) if checker is None else checker
    return score_lines(stream, input_format, checker, lambda _: None)


def judged(scorer: KeywordScorer, stage: Stage) -> list[tuple[str, str | None]]:
    """Every text that was judged at a stage, with its context, in order of the alphabet."""
    pairs = [
        (prompt, None if responses is None else responses[index])
        for prompts, responses in scorer.calls
        for index, prompt in enumerate(prompts)
    ]
    return sorted(pair for pair in pairs if (pair[1] is None) is (stage is Stage.PROMPT))


class TestStreamed:
    def test_the_worst_window_counts(self) -> None:
        answer = "a" * 500 + "x" * 300 + "a" * 500
        (whole,) = scored({"prompt": ASK, "response": answer}, checker=Checker(classifier=ShareOfX()))
        (line,) = scored({"prompt": ASK, "response": answer}, checker=StreamedChecker(classifier=ShareOfX()))
        assert whole.scores[Stage.RESPONSE] == pytest.approx(300 / 1300)
        # The window from 400 to 800 with the 300 before it; the last 300 are x.
        assert line.scores[Stage.RESPONSE] == pytest.approx(300 / 700)
        assert line.scores[Stage.PROMPT] == whole.scores[Stage.PROMPT]

    @pytest.mark.parametrize(
        "answer",
        [
            "Rest.",
            "word " * 80,
            "word " * 81,
            "Some 90 words. " * 70,
            "a &#107; b " * 90,
            f"{'a ' * 150}{' ' * 900}b",
        ],
    )
    @pytest.mark.parametrize("policy", [Policy(), Policy(stream_window_chars=90, stream_stride_chars=70)])
    def test_what_is_judged_is_what_a_guard_judges_of_a_stream(self, answer: str, policy: Policy) -> None:
        def model(prompt: str) -> Iterator[str]:
            for start in range(0, len(answer), 7):
                yield answer[start : start + 7]

        guarding, calibrating = KeywordScorer([]), KeywordScorer([])
        list(MedGuard(model, policy=policy, classifier=guarding).stream(ASK))
        checker = StreamedChecker(policy=policy, classifier=calibrating)
        scored({"prompt": ASK, "response": answer}, checker=checker)
        assert judged(calibrating, Stage.RESPONSE) == judged(guarding, Stage.RESPONSE)

    def test_lines_keep_their_own_scores(self) -> None:
        answers = ["a" * 900, "x" + "a" * 900, "x" * 900, " ", "a"]
        records = [{"prompt": ASK, "response": answer} for answer in answers]
        lines = scored(*records, {"prompt": ASK}, checker=StreamedChecker(classifier=ShareOfX()))
        assert [line.scores.get(Stage.RESPONSE) for line in lines] == [0.0, 1 / 400, 1.0, None, 0.0, None]

    def test_a_window_that_cannot_be_judged_ends_the_run(self) -> None:
        checker = StreamedChecker(
            policy=Policy(stages=frozenset({Stage.RESPONSE})), classifier=FailingScorer()
        )
        with pytest.raises(DataError, match="line 1: RuntimeError"):
            scored({"prompt": ASK, "response": SENTINEL * 50}, checker=checker)


class TestConversations:
    @pytest.mark.parametrize("policy", [Policy(), Policy(context_turns=0), Policy(check_system=True)])
    def test_what_is_judged_is_what_a_guard_judges(self, policy: Policy) -> None:
        guarding, calibrating = KeywordScorer([]), KeywordScorer([])
        model = FakeListChatModel(responses=["A pinch."])
        MedGuard(model, policy=policy, classifier=guarding).invoke(TALK)
        checker = Checker(policy=policy, classifier=calibrating)
        scored({"messages": TALK, "response": "A pinch."}, checker=checker)
        assert judged(calibrating, Stage.PROMPT) == judged(guarding, Stage.PROMPT)
        assert judged(calibrating, Stage.RESPONSE) == judged(guarding, Stage.RESPONSE)

    def test_the_worst_reading_counts_where_the_last_turn_is_harmless(self) -> None:
        talk, alone = scored({"messages": TALK}, {"prompt": str(TALK[-1]["content"])})
        assert (talk.scores, talk.is_conversation) == ({Stage.PROMPT: 0.9}, True)
        assert (alone.scores, alone.is_conversation) == ({Stage.PROMPT: 0.0}, False)

    def test_lines_of_all_kinds_go_together(self) -> None:
        lines = scored(
            {"prompt": "The word messages is no field.", "messages": None, "harmful": True},
            {"messages": TALK, "harmful": True, "response": "arsenic"},
            {"prompt": "arsenic", "of": {"messages": 1}},
            {"messages": TALK[:2], "id": 7, "harmful": False},
        )
        assert [line.harmful for line in lines] == [True, True, False, False]
        assert [line.is_conversation for line in lines] == [False, True, False, True]
        assert [line.scores.get(Stage.PROMPT) for line in lines] == [0.0, 0.9, 0.9, 0.9]
        assert [line.scores.get(Stage.RESPONSE) for line in lines] == [None, 0.9, None, None]

    def test_a_conversation_of_one_turn_repeats_the_prompt(self) -> None:
        prompt, one, longer = scored(
            {"prompt": "is arsenic in rice"}, {"messages": TALK[:2]}, {"messages": TALK}
        )
        assert prompt.key == one.key != longer.key

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ({"messages": TALK, "prompt": SENTINEL}, "'prompt' or a field 'messages', found both"),
            ({"messages": SENTINEL}, "field 'messages': expected a list of objects with role and content"),
            ({"messages": []}, "field 'messages': expected a list"),
            ({"messages": [{"text": SENTINEL}]}, "field 'messages': expected a list"),
            ({"messages": [{"role": SENTINEL, "content": SENTINEL}]}, "field 'messages': .* cannot be read"),
            ({"messages": TALK[:3]}, "give it as the field 'response'"),
            ({"messages": TALK, "response": 5}, "field 'response': expected a string"),
            ({"messages": TALK, "harmful": SENTINEL}, "field 'harmful': expected true or false"),
            ({"messages": [{"role": "user", "content": " "}]}, "InvalidInputError"),
            ({"talk": TALK}, "no field 'prompt'"),
        ],
    )
    def test_what_cannot_be_read_is_named_and_not_quoted(self, record: dict[str, Any], reason: str) -> None:
        with pytest.raises(DataError, match=f"^line 2: .*{reason}") as caught:
            scored({"prompt": ASK}, record, {"prompt": ASK})
        assert SENTINEL not in str(caught.value)

    def test_media_that_the_policy_blocks_end_the_run(self) -> None:
        parts = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": "https://a.b/c"}}]
        checker = Checker(policy=Policy.from_mapping({"media": "block"}), classifier=KeywordScorer([]))
        with pytest.raises(DataError, match="line 1: field 'messages'"):
            scored({"messages": [{"role": "user", "content": parts}]}, checker=checker)
