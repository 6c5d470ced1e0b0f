from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from medguard import Checker, InvalidInputError, Policy, Stage
from medguard.conversation import is_refusal, prompt_readings, without_refused_turns
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import KeywordScorer
from medguard.verdict import Outcome

POLICY = Policy()
SYSTEM, AI = SystemMessage("be kind"), AIMessage("go on")
CALL = AIMessage("", tool_calls=[{"name": "find", "args": {"what": "x"}, "id": "1"}])
RESULT = ToolMessage("found it", tool_call_id="1")
REFUSED = AIMessage(DEFAULT_REFUSAL)
NOTED = AIMessage("no", response_metadata={"medguard": {"allowed": False}})


def turns(*texts: str, answer: BaseMessage = AI) -> list[BaseMessage]:
    """A conversation in which the user says `texts`, the last of them unanswered."""
    return [message for text in texts for message in (HumanMessage(text), answer)][:-1]


@pytest.mark.parametrize(
    ("value", "readings"),
    [
        ("hello", ("hello",)),
        (StringPromptValue(text="hello"), ("hello",)),
        (HumanMessage("hello"), ("hello",)),
        ([SYSTEM, *turns("one")], ("one",)),
        (turns("one", "two"), ("two", "one\n\ntwo", "one\n\ngo on\n\ntwo", "one")),
        (
            ChatPromptValue(messages=turns("one", "two")),
            ("two", "one\n\ntwo", "one\n\ngo on\n\ntwo", "one"),
        ),
        ({"messages": turns("one", "two")}, ("two", "one\n\ntwo", "one\n\ngo on\n\ntwo", "one")),
        (
            {"messages": turns("one", "two"), "question": "beside"},
            ("two\n\nbeside", "one\n\ntwo\n\nbeside", "one\n\ngo on\n\ntwo\n\nbeside", "one"),
        ),
        (
            [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "go on"},
                {"role": "user", "content": [{"type": "text", "text": "two"}]},
            ],
            ("two", "one\n\ntwo", "one\n\ngo on\n\ntwo", "one"),
        ),
        (turns("a", "b", "c"), ("c", "b\n\nc", "a\n\nb\n\nc", "b\n\ngo on\n\nc", "b", "a")),
        ([HumanMessage("a"), HumanMessage("b")], ("a\n\nb",)),
        (
            [HumanMessage("a"), AI, AIMessage("then"), HumanMessage("b")],
            ("b", "a\n\nb", "a\n\ngo on\n\nthen\n\nb", "a"),
        ),
        ([AI, HumanMessage("a")], ("a", "go on\n\na")),
        ([AI, RESULT], ("go on", "found it")),
        ([HumanMessage("a"), AIMessage("Sure,"), AIMessage("first")], ("a\n\nSure,\n\nfirst",)),
        (turns("same", "same"), ("same", "same\n\nsame", "same\n\ngo on")),
        ([HumanMessage("a"), CALL, RESULT], ("a", "a\n\nx", "found it")),
        (
            [HumanMessage("a"), CALL, RESULT, AI, HumanMessage("b")],
            ("b", "a\n\nb", "a\n\ngo on\n\nb", "a", "found it"),
        ),
        ([HumanMessage("a"), FunctionMessage("found it", name="find")], ("a", "found it")),
        ([RESULT], ("found it",)),
        ([SYSTEM], ("",)),
        ([], ("",)),
        ({"question": "a", "context": "b"}, ("a\n\nb",)),
    ],
    ids=repr,
)
def test_readings(value: Any, readings: tuple[str, ...]) -> None:
    assert prompt_readings(value, POLICY) == readings


@pytest.mark.parametrize(
    ("context_turns", "readings"),
    [
        (0, ("d", "go on", "c", "b", "a")),
        (1, ("d", "c\n\nd", "c\n\ngo on\n\nd", "c", "b", "a")),
        (2, ("d", "c\n\nd", "b\n\nc\n\nd", "c\n\ngo on\n\nd", "c", "b", "a")),
    ],
)
def test_context_reaches_as_far_as_the_policy_says(context_turns: int, readings: tuple[str, ...]) -> None:
    assert prompt_readings(turns(*"abcd"), Policy(context_turns=context_turns)) == readings


def test_no_turn_is_too_far_back_to_be_judged_alone() -> None:
    """Else whoever sends a conversation would put the request first and forge answers after it."""
    said = ["the request", *(f"chatter {number}" for number in range(20)), "now answer what I asked first"]
    assert "the request" in prompt_readings(turns(*said), POLICY)


def test_a_context_longer_than_the_policy_allows_is_left_out() -> None:
    readings = prompt_readings(turns("x" * 50, "y" * 50, "z" * 30), Policy(max_chars=100))
    yz = "y" * 50 + "\n\n" + "z" * 30
    assert readings == ("z" * 30, yz, f"{'y' * 50}\n\ngo on\n\n{'z' * 30}", "y" * 50, "x" * 50)


def test_a_last_turn_longer_than_the_policy_allows_is_left_for_the_checker_to_refuse() -> None:
    assert prompt_readings(turns("a", "x" * 50), Policy(max_chars=10))[0] == "x" * 50


class TestTheLastAnswer:
    """It may be forged, for the model to go on from."""

    def test_one_reading_tells_it_whatever_came_before(self) -> None:
        before = turns(*"abcdef", "g")
        forged = [*before, AIMessage("forged"), HumanMessage("go on")]
        readings = prompt_readings(forged, POLICY)
        assert [text for text in readings if "forged" in text] == ["g\n\nforged\n\ngo on"]

    @pytest.mark.parametrize("silent", [AIMessage(""), AIMessage(" \n"), AIMessage([])])
    def test_an_empty_one_does_not_hide_the_one_before(self, silent: AIMessage) -> None:
        forged = [HumanMessage("a"), AIMessage("forged"), HumanMessage("b"), silent, HumanMessage("c")]
        assert "a\n\nforged\n\nc" in prompt_readings(forged, POLICY)

    def test_nor_does_the_beginning_of_the_next(self) -> None:
        forged = [HumanMessage("a"), AIMessage("forged"), HumanMessage("b"), AIMessage("Sure,")]
        assert "a\n\nforged\n\nb\n\nSure," in prompt_readings(forged, POLICY)

    def test_a_tool_between_does_not_hide_it(self) -> None:
        call = AIMessage("forged", tool_calls=CALL.tool_calls)
        assert "a\n\nforged\n\nx" in prompt_readings([HumanMessage("a"), call, RESULT], POLICY)

    @pytest.mark.parametrize(
        ("max_chars", "told"),
        [
            (42, ("q" * 10, "f" * 20, "n" * 8)),
            (41, ("f" * 20, "n" * 8)),
            (29, ("f" * 20,)),
            (20, ("f" * 20,)),
        ],
    )
    def test_beside_too_long_a_question_it_is_read_alone(self, max_chars: int, told: tuple[str, ...]) -> None:
        forged = [HumanMessage("q" * 10), AIMessage("f" * 20), HumanMessage("n" * 8)]
        readings = prompt_readings(forged, Policy(max_chars=max_chars))
        assert [text for text in readings if "f" in text] == ["\n\n".join(told)]

    def test_too_long_a_one_is_read_in_pieces_and_the_last_with_what_the_user_says_now(self) -> None:
        forged = [HumanMessage("q"), AIMessage("0123456789"), HumanMessage("n")]
        readings = prompt_readings(forged, Policy(max_chars=6))
        assert readings[2:] == ("012345", "345678", "6789", "q")  # no room for what the user says
        assert prompt_readings(forged, Policy(max_chars=7))[2:] == ("0123456", "456789", "q")
        assert prompt_readings(forged, Policy(max_chars=9))[2:] == ("012345678", "56789\n\nn", "q")
        assert prompt_readings(forged, Policy(max_chars=9, context_turns=0))[1:3] == ("012345678", "56789")

    @pytest.mark.parametrize("max_chars", [1, 2, 3, 500, 999])
    @pytest.mark.parametrize("length", [1000, 1001, 1700])
    def test_no_part_of_a_long_one_is_unread_or_over_the_limit(self, max_chars: int, length: int) -> None:
        answer = "".join(chr(0x4E00 + index) for index in range(length))  # no character twice
        chat = [HumanMessage("a"), AIMessage(answer), HumanMessage("b")]
        readings = prompt_readings(chat, Policy(max_chars=max_chars))
        assert all(len(text) <= max_chars for text in readings)
        assert set(answer) <= set("".join(readings))
        if max_chars >= 500:  # else there is room for one word, not for a sentence
            sentences = [answer[start : start + 200] for start in range(length - 199)]
            assert all(any(sentence in text for text in readings) for sentence in sentences)

    def test_after_a_long_one_nothing_fails(self) -> None:
        answer = f"{'Eat plenty of fruit. ' * 30}{' ' * 900}Drink water.{' ' * 900}"
        chat = [HumanMessage("What should I eat?"), AIMessage(answer), HumanMessage("Thanks!")]
        checker = Checker(policy=Policy(max_chars=300), classifier=KeywordScorer([]))
        verdicts = checker.judge(Stage.PROMPT, prompt_readings(chat, checker.policy))
        assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}

    def test_one_that_the_guard_has_passed_is_not_read_again_after_its_tools(self) -> None:
        asked: list[str] = []
        conversation = [HumanMessage("b"), CALL, RESULT]
        before = [HumanMessage("a"), AI]
        assert prompt_readings(conversation, POLICY, is_checked="b\n\nx".__eq__) == ("b", "found it")
        readings = prompt_readings([*before, *conversation], POLICY, is_checked="b\n\nx".__eq__)
        assert readings == ("b", "a\n\nb", "a", "found it")
        assert "b\n\nx" in prompt_readings(conversation, POLICY, is_checked=asked.append)
        assert asked == ["b\n\nx"]

    @pytest.mark.parametrize("more", [HumanMessage("go on"), AIMessage("Sure,")])
    def test_unless_more_has_been_said_since(self, more: BaseMessage) -> None:
        conversation = [HumanMessage("b"), CALL, RESULT, more]
        readings = prompt_readings(conversation, POLICY, is_checked=lambda _: True)
        assert any("x" in text.split() for text in readings)


class TestRefusedTurns:
    @pytest.mark.parametrize("refusal", [REFUSED, NOTED, AIMessage(f"Sure. First, {DEFAULT_REFUSAL}")])
    def test_they_are_neither_judged_nor_shown(self, refusal: AIMessage) -> None:
        conversation = [SYSTEM, HumanMessage("harm"), refusal, HumanMessage("thanks"), AI, HumanMessage("b")]
        answered = "thanks\n\ngo on\n\nb"
        assert prompt_readings(conversation, POLICY) == ("b", "thanks\n\nb", answered, "thanks")
        kept = [conversation[0], *conversation[3:]]
        assert without_refused_turns(conversation, POLICY) == kept
        assert without_refused_turns({"messages": conversation, "k": 1}, POLICY) == {"messages": kept, "k": 1}
        prompt = without_refused_turns(ChatPromptValue(messages=conversation), POLICY)
        assert prompt == ChatPromptValue(messages=kept)

    def test_openai_dicts_stay_dicts(self) -> None:
        conversation = [
            {"role": "user", "content": "harm"},
            {"role": "assistant", "content": DEFAULT_REFUSAL},
            {"role": "user", "content": "next"},
        ]
        assert prompt_readings(conversation, POLICY) == ("next",)
        assert without_refused_turns(conversation, POLICY) == conversation[-1:]

    def test_with_their_tool_calls_and_results(self) -> None:
        conversation = [HumanMessage("harm"), CALL, RESULT, NOTED, HumanMessage("next")]
        assert prompt_readings(conversation, POLICY) == ("next",)
        assert without_refused_turns(conversation, POLICY) == conversation[-1:]

    def test_a_refusal_that_is_not_the_last_word_hides_nothing(self) -> None:
        conversation = [HumanMessage("harm"), REFUSED, AIMessage("but well:"), HumanMessage("go on")]
        assert "harm" in prompt_readings(conversation, POLICY)
        assert without_refused_turns(conversation, POLICY) is conversation

    def test_the_turn_that_wants_an_answer_always_counts(self) -> None:
        conversation = [HumanMessage("harm"), REFUSED]
        assert prompt_readings(conversation, POLICY)[0].startswith("harm")
        assert without_refused_turns(conversation, POLICY) is conversation

    @pytest.mark.parametrize("value", ["text", HumanMessage("a"), {"question": "a"}, turns("a", "b")])
    def test_without_any_the_input_is_returned_itself(self, value: Any) -> None:
        assert without_refused_turns(value, POLICY) is value


def test_refusals_are_known_by_every_template_of_the_policy() -> None:
    policy = Policy(
        refusals={"principle_8": {"de": "Nein ({category}). Hilfe: {crisis_line}", "default": "No."}},
        crisis_line="112",
    )
    words = "Nein (responsibility to the patient as paramount). Hilfe: 112"
    assert is_refusal(AIMessage(f"{words}\n"), policy)
    assert is_refusal(AIMessage([{"type": "text", "text": "No."}]), policy)
    assert is_refusal(REFUSED, policy)
    assert not is_refusal(AIMessage("Nein (). Hilfe: 113"), policy)
    assert not is_refusal(HumanMessage("No."), policy)
    allowed = AIMessage("yes", response_metadata={"medguard": {"allowed": True}})
    assert not is_refusal(allowed, policy)


class TestWhatThePolicyAdds:
    def test_system_prompts(self) -> None:
        assert prompt_readings([SYSTEM, HumanMessage("a")], Policy(check_system=True)) == ("a", "be kind")

    def test_tool_results_can_be_left_out(self) -> None:
        policy = Policy(check_tool_results=False)
        block = {"type": "tool_result", "tool_use_id": "1", "content": "found it"}
        human = HumanMessage([block, {"type": "text", "text": "b"}])
        assert prompt_readings([HumanMessage("a"), CALL, RESULT], policy) == ("a", "a\n\nx")
        assert prompt_readings([human], policy) == ("b",)
        assert prompt_readings([human], POLICY) == ("b", "found it")

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": "https://x.org/a.png"}},
            {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
            {"type": "document", "source": {"type": "base64", "data": "JVBERi0="}},
            {"type": "text-plain", "url": "https://x.org/a.txt"},
            {"type": "something-new", "value": 1},
        ],
        ids=lambda part: part["type"],
    )
    def test_media(self, part: dict[str, Any]) -> None:
        message = HumanMessage([{"type": "text", "text": "see"}, part])
        assert prompt_readings([message], POLICY)[0].startswith("see")
        blocking = Policy(media="block")
        for value in ([message], message, {"messages": [message]}, ChatPromptValue(messages=[message])):
            with pytest.raises(InvalidInputError, match="media or files"):
                prompt_readings(value, blocking)
        with pytest.raises(InvalidInputError, match="media or files"):
            prompt_readings([message, AI, HumanMessage("b")], blocking)
        assert prompt_readings(turns("a"), blocking) == ("a",)
        assert prompt_readings("a", blocking) == ("a",)

    def test_an_image_alone_leaves_the_turn_before_it(self) -> None:
        image = HumanMessage([{"type": "image", "url": "https://x.org/a.png"}])
        assert prompt_readings([HumanMessage("a"), AI, image], POLICY) == ("a", "a\n\ngo on")


def test_what_cannot_be_read_is_refused_without_its_text() -> None:
    with pytest.raises(InvalidInputError) as caught:
        prompt_readings([{"role": "nobody", "content": "secret words"}], POLICY)
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidInputError):
        prompt_readings([HumanMessage([{"type": "text", "text": b"secret"}])], POLICY)
