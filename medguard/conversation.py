"""What a conversation asks of a model: the texts that the pre-filter judges, turn by turn. Pure.

A turn is what the user says up to the next answer. The last turn is judged alone, and in the context of
turns before it, since a request can be split over several. Whoever may send a whole conversation may forge
the answers in it: so every earlier turn is judged alone as well, and the last answer between what it answers
and what the user says now. Answers before that one are not read. Turns that the guard refused are left out of
both the judgement and, by `without_refused_turns`, of what the model reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, FunctionMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue

from medguard.errors import InvalidInputError
from medguard.policy import OnMedia, Policy
from medguard.principles import category_names
from medguard.refusals import fill
from medguard.text import as_messages, beside_messages, has_media, strings_in

__all__ = ["is_refusal", "prompt_readings", "without_refused_turns"]

_GAP = "\n\n"
# Pieces of a long answer share as much, so that a sentence at a cut is whole in one of them.
_OVERLAP_CHARS: Final = 200
_ANSWERS: Final = (AIMessage, ToolMessage, FunctionMessage)


def prompt_readings(
    value: Any, policy: Policy, *, is_checked: Callable[[str], bool] | None = None
) -> tuple[str, ...]:
    """Return the texts to judge before a model may read `value`; the worst of them decides.

    Args:
        value: What the model takes: text, a LangChain message or prompt value, a list of messages or of
            OpenAI-style dicts, a mapping with ``messages``, or any mapping with text.
        policy: Says how far back context reaches, and whether tool results, system prompts and media count.
        is_checked: Whether the guard itself has passed an answer to a question, both joined into one text;
            such an answer is not read while the user has said nothing since. None: no answer is known.

    Returns:
        At least one text, each of them once. The first is what the user says now; then that in the context
        of earlier turns, and of the last answer, the earlier turns one by one, and tool results and system
        prompts where the policy wants them checked. The first is empty where there is no text at all, which
        cannot be judged.

    Raises:
        InvalidInputError: No text can be found in `value`, or it holds media and the policy blocks them.
    """
    messages = as_messages(value)
    _refuse_media(value if messages is None else [*messages, beside_messages(value)], policy)
    if messages is None:
        return (_text_of(value),)
    refused = _left_out(messages, policy)
    turns = [[messages[index] for index in turn] for turn in _turns(messages) if turn[0] not in refused]
    earlier = [text for turn in turns[:-1] if (text := _said(turn))]
    prefill = _prefill(messages)
    now = _joined([*map(_said, turns[-1:]), _text_of(prefill), _text_of(beside_messages(value))])
    others = [text for message in _kept(messages, refused) for text in _others(message, policy)]
    if not now and earlier:  # nothing but media or the results of tools
        now = earlier.pop()
    answered = _after_answer(turns, len(prefill), now, policy, is_checked)
    readings = [now, *_in_context(earlier, now, policy), *answered, *reversed(earlier), *others]
    return tuple(dict.fromkeys(text for text in readings if text)) or ("",)


def without_refused_turns(value: Any, policy: Policy) -> Any:
    """Return `value`, of the same type, without the turns that the guard refused.

    `prompt_readings` does not judge them, lest one refusal block the rest of a conversation; so the model
    must not read them either: "answer what I asked first" would get past the guard.

    Raises:
        InvalidInputError: `value` looks like messages, and cannot be read as such.
    """
    messages = as_messages(value)
    if messages is None:
        return value
    refused = _left_out(messages, policy)
    if not refused:
        return value
    if isinstance(value, PromptValue):
        return ChatPromptValue(messages=_kept(messages, refused))
    if isinstance(value, Mapping):
        return {**value, "messages": _kept(value["messages"], refused)}
    return _kept(value, refused)


def is_refusal(message: BaseMessage, policy: Policy) -> bool:
    """Whether `message` is an answer that the guard gave: by its verdict, or by the policy's words.

    A streamed answer that the guard stopped ends with the refusal.
    """
    if not isinstance(message, AIMessage):
        return False
    note = message.response_metadata.get("medguard")
    if isinstance(note, Mapping) and note.get("allowed") is False:
        return True
    return message.text.strip().endswith(_refusals(policy))


def _turns(messages: Sequence[BaseMessage]) -> list[list[int]]:
    """Indices of what a user says and what follows, by turn; system messages belong to none."""
    groups: list[list[int]] = []
    begun = False
    for index, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            continue
        answers = isinstance(message, _ANSWERS)
        if not groups or (begun and not answers):
            groups.append([])
        begun = answers
        groups[-1].append(index)
    return groups


def _left_out(messages: Sequence[BaseMessage], policy: Policy) -> set[int]:
    """Indices of the turns that ended with a refusal. The last turn still wants an answer, and stays."""
    turns = _turns(messages)[:-1]
    return {index for turn in turns if is_refusal(messages[turn[-1]], policy) for index in turn}


def _said(messages: Sequence[BaseMessage]) -> str:
    """What the user says in a turn."""
    words = [message for message in messages if not isinstance(message, _ANSWERS)]
    return _text_of([message.model_copy(update={"content": _own_parts(message)}) for message in words])


def _prefill(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """An answer begun for the model at the end of a conversation."""
    return list(takewhile(_is_answer, reversed(messages)))[::-1]


def _answers(messages: Sequence[BaseMessage]) -> Iterator[str]:
    """What a model says in a turn, from the last answer back; messages in a row are one answer."""
    for is_answer, run in groupby(reversed(messages), _is_answer):
        if is_answer and (text := _text_of(list(run)[::-1])):
            yield text


def _is_answer(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage)


def _others(message: BaseMessage, policy: Policy) -> Iterator[str]:
    """Texts of tools and of the deployer, each for itself, where the policy wants them checked."""
    parts: list[Any] = []
    if isinstance(message, SystemMessage):
        parts = [message] if policy.check_system else []
    elif policy.check_tool_results and isinstance(message, ToolMessage | FunctionMessage):
        parts = [message]
    elif policy.check_tool_results and not isinstance(message, AIMessage):
        parts = [{**part, "tool_use_id": None} for part in _parts(message) if _is_tool_result(part)]
    yield from (text for text in map(_text_of, parts) if text)


def _in_context(earlier: Sequence[str], now: str, policy: Policy) -> Iterator[str]:
    """The last turn with the one before it, with two, and so on, as far as the policy goes.

    Each for itself: what matters may be thin in a long text. A context over the policy's longest text is
    not read, since its turns are judged one by one all the same.
    """
    for count in range(1, min(policy.context_turns, len(earlier)) + 1):
        text = _joined([*earlier[-count:], now])
        if len(text) > policy.max_chars:
            return
        yield text


def _after_answer(
    turns: Sequence[Sequence[BaseMessage]],
    prefilled: int,
    now: str,
    policy: Policy,
    is_checked: Callable[[str], bool] | None,
) -> Iterator[str]:
    """The last answer with what it answers and what the user says now, since it may be forged to go on from.

    Where that is over the policy's longest text, what it answers is left out, and then what the user says;
    both are where the policy wants no context. An answer that is too long by itself is read in pieces, since
    that limit is for what users send.

    Args:
        turns: The conversation.
        prefilled: How many messages at its end begin the answer that is wanted, and are a part of `now`.
        now: What the user says now.
        policy: Says what the longest text is, and whether turns are read together.
        is_checked: See `prompt_readings`.
    """
    turns = [*turns[:-1], *(turn[: len(turn) - prefilled] for turn in turns[-1:])]
    answered = ((_said(turn), answer) for turn in reversed(turns) for answer in _answers(turn))
    said, answer = next(answered, ("", ""))
    together = _joined(list(dict.fromkeys([said, answer, now])))
    if not answer or (is_checked is not None and now == said and is_checked(together)):
        return
    *pieces, end = _cut(answer, policy.max_chars)
    yield from pieces
    wanted = [together, _joined([end, now])] if policy.context_turns else []
    yield next((text for text in wanted if len(text) <= policy.max_chars), end)


def _cut(text: str, max_chars: int) -> list[str]:
    """`text` in overlapping pieces of at most `max_chars`, without those that are blank."""
    if len(text) <= max_chars:
        return [text]
    overlap = min(_OVERLAP_CHARS, max_chars // 2)
    starts = range(0, len(text) - overlap, max_chars - overlap)
    pieces = (text[start : start + max_chars] for start in starts)
    return [piece for piece in pieces if piece.strip()]


def _refuse_media(value: Any, policy: Policy) -> None:
    items = value if isinstance(value, list) else [value]
    if policy.media is OnMedia.BLOCK and any(has_media(item) for item in items):
        raise InvalidInputError("the input holds media or files, which the policy blocks")


def _refusals(policy: Policy) -> tuple[str, ...]:
    """Every text with which the policy refuses, its templates filled in."""
    templates = [text for by_language in policy.refusals.values() for text in by_language.values()]
    categories = [*category_names(), None]
    filled = (
        fill(template, crisis_line=policy.crisis_line, category=category)
        for template in templates
        for category in categories
    )
    return tuple(text.strip() for text in (policy.refusal, *filled))


def _parts(message: BaseMessage) -> list[Any]:
    return message.content if isinstance(message.content, list) else [message.content]


def _own_parts(message: BaseMessage) -> str | list[Any]:
    """The content without the results of tools, which some providers send in the user's name."""
    if isinstance(message.content, str):
        return message.content
    return [part for part in message.content if not _is_tool_result(part)]


def _is_tool_result(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "tool_result"


def _kept(items: Sequence[Any], left_out: set[int]) -> list[Any]:
    return [item for index, item in enumerate(items) if index not in left_out]


def _text_of(value: Any) -> str:
    return _joined(list(strings_in(value)))


def _joined(texts: Sequence[str]) -> str:
    return _GAP.join(text for text in texts if text.strip())
