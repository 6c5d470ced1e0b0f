"""A streamed answer, held back until it is judged; each choice is a stream of its own. No I/O of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from medguard.adapters.openai_chunks import SAID, openai_texts
from medguard.channels import Turns
from medguard.decision import skipped, worst
from medguard.holdback import HoldBack, Piece, StreamWindow
from medguard.policy import OnMedia, Policy
from medguard.serve.faults import GatewayError
from medguard.serve.judging import Asked, note
from medguard.serve.openai_api import MODEL_REFUSED, Call, Dialect
from medguard.serve.wire import GAP, Path, has_encoded_media, replaced, text_of, texts_in
from medguard.verdict import Stage, Verdict

__all__ = ["StreamGuard", "Task", "guarded"]

# Where the text of a choice flows on from event to event, and which of it is the answer itself.
_ANSWER: Final[tuple[Path, ...]] = (("delta", "content"), ("text",))
_FLOWING: Final[tuple[Path, ...]] = (*(("delta", key) for key in SAID), ("text",))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one event says of one choice."""

    event: dict[str, Any]
    """The event with this choice alone."""
    text: str
    path: Path | None
    """Where the event keeps `text`, if it can be divided there."""
    finish: str | None
    """Why the choice ends here, if it does."""
    said: Mapping[Path, str] = field(default_factory=dict)
    """The texts that `text` is made of, by their places in the choice."""
    waits: bool = False
    """Whether the event says what can be read only with the events after it, such as a tool call."""
    gathered: tuple[dict[str, Any], ...] = ()
    """All events that waited, where this part stands for them."""


@dataclass(slots=True)
class _Choice:
    hold: HoldBack[_Part]
    waiting: list[dict[str, Any]] = field(default_factory=list)
    """Events that wait for no verdict, since the policy checks no answers."""
    gathered: list[dict[str, Any]] = field(default_factory=list)
    """All events from the first that cannot be read alone; judged together at the end."""
    last: dict[str, Any] = field(default_factory=dict)
    """The latest event, whose names the gateway's own events bear."""
    verdict: Verdict | None = None
    """The worst so far."""
    finish: str | None = None
    said: dict[Path, str] = field(default_factory=dict)
    """The end of what each place has said."""
    turns: Turns[Path] = field(default_factory=Turns)
    has_begun: bool = False
    has_shown: bool = False
    """Whether any of its answer has left."""
    is_ended: bool = False
    """Whether all of its text has come."""
    is_closed: bool = False
    """Whether all has been sent that will be."""

    def take_in(self, said: Mapping[Path, str], kept_chars: int) -> bool:
        """Take note of what an event says and return True, unless a place speaks out of turn: see `Turns`."""
        if not self.turns.take(said):
            return False
        for place, text in said.items():
            self.said[place] = (self.said.get(place, "") + text)[-kept_chars:]
        return True

    def gathered_text(self) -> str:
        """All text of the gathered events, each place's after the end of what the same place said before."""
        going_on = {place for event in self.gathered for place, _ in texts_in(event["choices"][0])}
        before: dict[str, Any] = {"index": self.last["choices"][0]["index"], "delta": {}}
        for place, text in self.said.items():
            if place in going_on:
                holder = before["delta"] if place[0] == "delta" else before
                holder[str(place[-1])] = text
        return GAP.join(openai_texts([{"choices": [before]}, *self.gathered]))


@dataclass(frozen=True, slots=True)
class Task:
    """A window to be judged."""

    choice: int
    prompt: str
    window: StreamWindow


class EventSource(Protocol):
    """Where events come from."""

    is_done: bool
    """Whether the upstream has said that all is said."""

    def events(self) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yield events, and None for each comment."""


Judge: TypeAlias = Callable[[Sequence[Task]], Awaitable[list[Verdict]]]


class StreamGuard:
    """The memory of one streamed answer: `feed` each event, judge what it returns, `settle`, then `end`."""

    def __init__(self, dialect: Dialect, call: Call, asked: Asked, policy: Policy) -> None:
        """Start with nothing said."""
        self._dialect = dialect
        self._call = call
        self._asked = asked
        self._policy = policy
        self._checks = Stage.RESPONSE in policy.stages
        self._ready: list[dict[str, Any]] = []
        self._choices = [_Choice(HoldBack.under(policy)) for _ in range(call.choices)]

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come, because every choice was blocked."""
        return all(choice.hold.blocked for choice in self._choices)

    @property
    def is_complete(self) -> bool:
        """Whether every choice has come to its end."""
        return all(choice.is_closed for choice in self._choices)

    def feed(self, event: dict[str, Any]) -> list[Task]:
        """Take an event and return the windows that it completes.

        Raises:
            ValueError: It is no event of this endpoint, or holds media where the policy blocks these.
        """
        if self._checks and self._policy.media is OnMedia.BLOCK and has_encoded_media(event):
            raise ValueError("an event holds media, which the policy blocks")
        tasks: list[Task] = []
        for index, part in _parts(event):
            if index is None:
                self._ready.append(part.event)
                continue
            if not 0 <= index < len(self._choices):
                raise ValueError("an event is about a choice that was not asked for")
            choice = self._choices[index]
            if choice.is_ended or choice.hold.blocked:
                continue
            choice.has_begun, choice.last = True, part.event
            choice.finish = part.finish or choice.finish
            if self._checks:
                waits = bool(choice.gathered) or part.waits
                if waits or not choice.take_in(part.said, self._policy.stream_window_chars):
                    choice.gathered.append(part.event)
                else:
                    windows = choice.hold.feed(part, part.text, is_divisible=part.path is not None)
                    tasks += [self._task(index, window) for window in windows]
                if part.finish is not None:
                    tasks += self._finish(index)
            else:
                choice.is_ended = part.finish is not None
                choice.waiting.append(part.event)
        return tasks

    def end(self) -> list[Task]:
        """Take note that all has come, and return the last windows of what had no end of its own."""
        tasks: list[Task] = []
        for index, choice in enumerate(self._choices):
            if choice.has_begun and not choice.is_ended and not choice.hold.blocked:
                tasks += self._finish(index)
        return tasks

    def settle(self, tasks: Sequence[Task], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
        """Take the verdicts on windows and return the events that may leave now."""
        ready, self._ready = self._ready, []
        sent = [choice.waiting for choice in self._choices]
        for choice in self._choices:
            choice.waiting = []
        for task, verdict in zip(tasks, verdicts, strict=True):
            choice = self._choices[task.choice]
            if choice.is_closed:
                continue
            choice.verdict = verdict if choice.verdict is None else worst([choice.verdict, verdict])
            for piece in choice.hold.settle(task.window, verdict):
                is_answer = any(place in _ANSWER for place in piece.chunk.said)
                choice.has_shown = choice.has_shown or (is_answer and bool(piece.text))
                sent[task.choice] += self._events(task.choice, piece)
            if choice.hold.blocked:
                sent[task.choice] += self._refusal(task.choice, verdict)
        for index, choice in enumerate(self._choices):
            if choice.is_ended and not choice.is_closed and not choice.hold.blocked:
                sent[index] = self._closed(index, sent[index])
        return [*ready, *(event for events in sent for event in events)]

    def _task(self, index: int, window: StreamWindow) -> Task:
        return Task(index, self._asked.texts[self._call.prompt_of(index)], window)

    def _finish(self, index: int) -> list[Task]:
        choice = self._choices[index]
        choice.is_ended = True
        windows: list[StreamWindow] = []
        if choice.gathered:
            text = choice.gathered_text()
            part = _Part(choice.last, text, None, None, gathered=tuple(choice.gathered))
            windows = choice.hold.feed(part, text, is_divisible=False)
        return [self._task(index, window) for window in (*windows, *choice.hold.finish())]

    def _events(self, index: int, piece: Piece[_Part]) -> list[dict[str, Any]]:
        part = piece.chunk
        if piece.whole:
            return list(part.gathered) or [part.event]
        if part.path is None:
            return [self._dialect.chunk(part.event, index, piece.text, None)]
        # Log-probabilities would tell the rest of the text.
        event = replaced(part.event, ("choices", 0, "logprobs"), None)
        return [replaced(event, part.path, piece.text)]

    def _refusal(self, index: int, verdict: Verdict) -> list[dict[str, Any]]:
        choice = self._choices[index]
        choice.is_closed = True
        text = self._policy.refusal_for(verdict)
        shown = f"\n\n{text}" if choice.has_shown else text
        return [
            self._dialect.chunk(choice.last, index, shown, None),
            {**self._dialect.chunk(choice.last, index, "", MODEL_REFUSED), **self._note(index)},
        ]

    def _closed(self, index: int, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put the note on the event with which a choice ends, or on one of its own."""
        choice = self._choices[index]
        choice.is_closed = True
        if not events or not events[-1]["choices"][0].get("finish_reason"):
            events = [*events, self._dialect.chunk(choice.last, index, "", choice.finish)]
        return [*events[:-1], {**events[-1], **self._note(index)}]

    def _note(self, index: int) -> dict[str, Any]:
        verdict = self._choices[index].verdict
        responses = [skipped(Stage.RESPONSE) if verdict is None else verdict]
        return {"medguard": note(self._asked.verdicts[self._call.prompt_of(index)], responses)}


async def guarded(
    source: EventSource, guard: StreamGuard, judge: Judge
) -> AsyncGenerator[dict[str, Any] | None, None]:
    """Drive `guard` over the events of an upstream; a None, which keeps the connection alive, is passed on.

    What is held when the upstream breaks off is dropped.

    Raises:
        ValueError: An event is none of this endpoint.
        GatewayError: The upstream failed or broke off.
    """
    async with contextlib.aclosing(source.events()) as events:
        async for event in events:
            if event is None:
                yield None
                continue
            tasks = guard.feed(event)
            for ready in guard.settle(tasks, await judge(tasks)):
                yield ready
            if guard.is_over:
                return
    if not source.is_done and not guard.is_complete:
        raise GatewayError(
            502, "the upstream broke off its answer", type="upstream_error", code="upstream_disconnected"
        )
    tasks = guard.end()
    for ready in guard.settle(tasks, await judge(tasks)):
        yield ready


def _parts(event: dict[str, Any]) -> Iterator[tuple[int | None, _Part]]:
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise ValueError("an event has no choices")  # noqa: TRY004 - about the content, not an argument
    # Text beside the choices is left out, and so is padding that hides the lengths of what is rewritten.
    shared = {
        key: item
        for key, item in event.items()
        if key not in ("choices", "obfuscation", "medguard") and not text_of({key: item}, labels=None)
    }
    if not choices:
        yield None, _Part({**shared, "choices": []}, "", None, None)
    for choice in choices:
        if not isinstance(choice, dict) or type(index := choice.get("index")) is not int:
            raise ValueError("a choice of an event has no index")
        yield index, _part({**shared, "choices": [choice]}, choice)


def _part(event: dict[str, Any], choice: dict[str, Any]) -> _Part:
    finish = choice.get("finish_reason")
    if not isinstance(finish, str | None):
        raise ValueError("the reason for which a choice ends is no name")  # noqa: TRY004 - as above
    found = list(texts_in({key: item for key, item in choice.items() if key != "logprobs"}))
    if not all(place in _FLOWING for place, _ in found):
        return _Part(event, "", None, finish or None, waits=True)
    texts = dict(found)
    said: dict[Path, str] = {place: texts[place] for place in _FLOWING if place in texts}
    # A text that ends its choice leaves as a whole once all of it may.
    path = ("choices", 0, *found[0][0]) if len(found) == 1 and not finish else None
    # Some servers say the same under two names; and some name an empty reason until there is one.
    return _Part(event, "".join(dict.fromkeys(said.values())), path, finish or None, said)
