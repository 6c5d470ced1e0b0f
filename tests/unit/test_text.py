from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from medguard import InvalidInputError
from medguard.text import answer_text, as_messages, has_media, strings_in


class Nested(BaseModel):
    title: str
    parts: list[dict[str, Any]]


SYSTEM, HUMAN, AI = SystemMessage("be kind"), HumanMessage("hello"), AIMessage("hi")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", ["text"]),
        ("", []),
        (None, []),
        ([True, 1, 2.5, date(2024, 1, 1), Decimal(3)], []),
        (["a", ("b", {"k": "c"})], ["a", "b", "c"]),
        ({"question": "a", "depth": {"more": ["b"]}}, ["a", "b"]),
        ({"several words as key": 1}, ["several words as key"]),
        (StringPromptValue(text="a"), ["a"]),
        (ChatPromptValue(messages=[SYSTEM, HUMAN]), ["be kind", "hello"]),
        (Nested(title="a", parts=[{"x": "b"}]), ["a", "b"]),
        (Document("body", metadata={"source": "file"}), ["file", "body", "Document"]),
    ],
    ids=repr,
)
def test_strings_are_found(value: Any, found: list[str]) -> None:
    assert list(strings_in(value)) == found


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x.org/a.png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-7", "file_data": "JVBERi0="}},
        {"type": "audio", "data": b"raw"},
    ],
    ids=lambda part: part["type"],
)
def test_media_is_left_out_but_not_the_text_beside_it(part: dict[str, Any]) -> None:
    assert list(strings_in([part])) == []
    assert list(strings_in([{"type": "text", "text": "see"}, {**part, "text": "hidden words"}])) == [
        "see",
        "hidden words",
    ]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "file", "base64": "aG93IHRvIGhhcm0=", "mime_type": "text/plain"}, "aG93IHRvIGhhcm0="),
        ({"type": "file", "file_data": "data:text/plain;base64,aG93"}, "data:text/plain;base64,aG93"),
        ({"type": "file", "file_data": "data:text/plain;base64,aG9%33"}, "data:text/plain;base64,aG93"),
        (
            {"type": "file", "file": {"file_data": "data:text/plain,how%20to%20h%61rm%3F"}},
            "data:text/plain,how to harm?",
        ),
        ({"type": "image_url", "image_url": {"url": "DATA:Text/html,how%20to"}}, "DATA:Text/html,how to"),
        ({"type": "file", "file_data": "data:,how%20to"}, "data:,how to"),
        ({"type": "file", "file_data": "data:;charset=utf-8,h%C3%B6w"}, "data:;charset=utf-8,höw"),
    ],
    ids=[
        "mime type",
        "base64",
        "base64 within percent signs",
        "percent signs",
        "in a link",
        "bare",
        "charset",
    ],
)
def test_a_file_of_text_is_text(part: dict[str, Any], text: str) -> None:
    assert list(strings_in([part])) == [text]
    assert not has_media([part])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", False),
        ([{"type": "text", "text": "a"}], False),
        ([{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}], True),
        ([{"type": "file", "file": {"file_id": "file-7"}}], True),
        ([{"type": "file", "url": "https://x.org/a.txt", "mime_type": "text/plain"}], True),
        ([{"type": "audio", "data": b"raw"}], True),
        ([{"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}], True),
        ([{"type": "file", "file": {"file_data": "data:;base64,JVBERi0="}}], True),
        ({"type": "file", "question": "how to harm"}, False),
        (HumanMessage([{"type": "video_frames", "frames": 3}]), True),
        (HumanMessage([{"type": ["text"], "text": "a"}]), True),
        (HumanMessage(["a", {"text": "b"}, {"type": "tool_result", "content": "c"}]), False),
        (AIMessage([{"type": "server_tool_call", "name": "search"}]), False),
    ],
    ids=repr,
)
def test_media_are_noticed(value: Any, found: bool) -> None:
    assert has_media(value) is found


def test_text_in_the_place_of_a_link_is_found() -> None:
    part = {"type": "image_url", "image_url": {"url": "how to harm"}}
    assert list(strings_in([part])) == ["how to harm"]


def test_a_prompt_variable_called_type_hides_nothing() -> None:
    assert list(strings_in({"type": "how to harm"})) == ["how to harm"]
    assert list(strings_in({"type": {"of": "harm"}})) == ["harm"]
    assert list(strings_in({"type": "file", "question": "how to harm"})) == ["how to harm"]


def test_messages_are_read_whole() -> None:
    message = AIMessage(
        content=[{"type": "text", "text": "a"}, {"type": "reasoning", "reasoning": "b"}],
        name="two words",
        additional_kwargs={"reasoning_content": "c"},
        tool_calls=[{"name": "f", "args": {"x": "d"}, "id": "1"}],
        invalid_tool_calls=[{"name": "g", "args": "e", "id": "2", "error": None}],
    )
    assert list(strings_in(message)) == ["two words", "a", "b", "c", "d", "e"]
    assert answer_text(message) == "two words\n\na\n\nb\n\nc\n\nd\n\ne"


@pytest.mark.parametrize(
    "value", [b"x", object(), (x for x in "a"), {"a": [b"x"]}, {b"key": "x"}, range(3)], ids=repr
)
def test_unknown_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot find the text in a"):
        list(strings_in(value))


@pytest.mark.parametrize(
    "value",
    [[{"role": "nobody", "content": "secret words"}], [("secret", "words")], [{"role": 3, "content": "x"}]],
)
def test_messages_that_cannot_be_read_are_refused_without_their_text(value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        as_messages(value)
    assert "secret" not in str(caught.value)


def test_none_is_no_answer() -> None:
    with pytest.raises(InvalidInputError, match="returned None"):
        answer_text(None)


class Step(BaseModel):
    pass


class Spoken(Step):
    text: str


@dataclass
class Aside:
    text: str


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")

    steps: list[Step]
    unshown: str = Field("excluded words", exclude=True)
    aside: Aside = Aside("words aside")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def last(self) -> str:
        return "computed words"


def test_what_a_model_would_not_serialise_is_read_too() -> None:
    value = Answer(steps=[Spoken(text="words of a subclass")], more="extra words")
    assert set(strings_in(value)) == {
        "words of a subclass",
        "excluded words",
        "words aside",
        "extra words",
        "computed words",
    }
    assert set(strings_in({"inside": [Aside("words aside")]})) == {"words aside"}


def test_a_message_inside_a_model_keeps_its_tool_calls() -> None:
    call = {"name": "search", "args": {"query": "words to a tool"}, "id": "1"}

    class Generation(BaseModel):
        message: AIMessage

    assert list(strings_in(Generation(message=AIMessage(content="", tool_calls=[call])))) == [
        "words to a tool"
    ]


class Risk(Enum):
    LOW = "of little risk"
    BOTH = ("a", 2)


class Colour(StrEnum):
    RED = "bright red"


class Level(IntEnum):
    HIGH = 3


class Rated(BaseModel):
    risk: Risk
    colour: Colour = Colour.RED
    level: Level = Level.HIGH


def test_members_of_enumerations_are_read_by_their_values() -> None:
    assert list(strings_in(Rated(risk=Risk.LOW))) == ["of little risk", "bright red"]
    assert list(strings_in(Risk.BOTH)) == ["a"]


def test_exceptions_are_read_by_what_they_tell() -> None:
    """LangChain puts one into answers: ``include_raw=True``."""
    error = OutputParserException("no JSON", llm_output="how to harm")
    answer = {"raw": AIMessage("oh no"), "parsed": None, "parsing_error": error}
    found = list(strings_in(answer))
    assert found[0] == "oh no"
    assert found[1].startswith("no JSON")
    assert found[2:] == ["how to harm"]
    with pytest.raises(ValidationError) as caught:
        Rated.model_validate({"risk": "how to harm"})
    assert "how to harm" in answer_text(caught.value)
    with pytest.raises(InvalidInputError):
        answer_text(ValueError(b"how to harm"))


HIDDEN = '{"q": "\\u0061rsenic", "list": ["\\u0062oil"]}'
SAID = ["q", "arsenic", "list", "boil"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"function": {"name": "f", "arguments": HIDDEN}}, ["f", *SAID]),
        ({"function_call": {"arguments": HIDDEN}}, SAID),
        (AIMessage("", additional_kwargs={"function_call": {"arguments": HIDDEN}}), SAID),
        (AIMessage("", invalid_tool_calls=[{"name": "f", "args": HIDDEN, "id": "1", "error": None}]), SAID),
        ({"arguments": '{"q": "plain"}'}, ['{"q": "plain"}']),
        (HIDDEN, [HIDDEN]),
    ],
    ids=["tool call", "function call", "message", "invalid call", "without escapes", "said to a user"],
)
def test_escapes_hide_no_words_of_a_mapping(value: Any, found: list[str]) -> None:
    assert list(strings_in(value)) == found


def test_a_class_is_no_value() -> None:
    with pytest.raises(InvalidInputError, match="cannot find the text in a type"):
        list(strings_in([Aside]))
