"""The guard's course over a stream as a generator: written once for sync and async drivers. Pure.

Text is emitted only once the window that holds it has passed; see `medguard.holdback`. From the first chunk
that cannot be read by itself, such as a part of a tool call, all waits for the end and is judged together;
so it is from the first that goes on where another channel, such as reasoning, came between.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medguard.channels import Channels
from medguard.decision import skipped, worst
from medguard.errors import BlockedError, InvalidInputError, MedGuardError, ModelError
from medguard.flow import Asked, attached, check_answers, judge_prompts, prepared, refuse
from medguard.holdback import HoldBack, Piece, StreamWindow
from medguard.policy import Policy
from medguard.steps import END, Emit, Judgement, NextChunk, Step, Whole, judge_texts, or_raise
from medguard.verdict import Action, Stage, Verdict

if TYPE_CHECKING:
    from medguard.adapters.base import Adapter
    from medguard.adapters.chunks import ChunkText

__all__ = ["guarded_stream"]


def guarded_stream(item: Any, adapter: Adapter, policy: Policy) -> Generator[Step, Any, None]:
    """Check the prompt, then let the model's chunks through window by window.

    At the first blocked window the stream ends with the refusal, and what was held is dropped. An answer that
    comes whole is checked as a call would check it.

    Args:
        item: What the model takes.
        adapter: Speaks the model's types.
        policy: Says which stages are checked, and how long windows are.

    Yields:
        Steps for the driver; each is answered through ``send``.

    Raises:
        MedGuardError: The model failed, the guard failed under ``on_error: raise``, or it blocked and the
            chunks have no place for a refusal.
    """
    (model_input,) = prepared(adapter, policy, [item])
    (readings,), (before,) = yield from judge_prompts(adapter, policy, [model_input])
    course = _Course(Asked(item, model_input, readings[0], before), adapter, policy)
    if not isinstance(before, Verdict) or not before.allowed:
        yield from course.refuse(before, is_asked=False)
    elif Stage.RESPONSE in policy.stages:
        yield from course.hold_back()
    else:
        yield from course.pass_on()


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A chunk that can be read by itself."""

    chunk: Any
    text: ChunkText


class _Course:
    """One stream on its way."""

    def __init__(self, asked: Asked, adapter: Adapter, policy: Policy) -> None:
        self._asked = asked
        self._adapter = adapter
        self._policy = policy
        self._hold: HoldBack[_Read] = HoldBack.under(policy)
        self._channels: Channels[_Read] = Channels(policy.stream_window_chars)
        self._waiting: list[Any] = []
        self._seen: Any = None
        """The latest chunk; refusals are made like it."""
        self._verdict = skipped(Stage.RESPONSE)
        """The worst so far."""

    def refuse(self, judgement: Judgement, *, is_asked: bool = True) -> Generator[Step, Any, None]:
        """End the stream with the refusal, or with the error that stands in its place."""
        judgements = [self._asked.verdict, judgement] if is_asked else [judgement]
        refusal = refuse(self._adapter, self._policy, self._asked.item, self._seen, judgements)
        yield Emit(self._adapter.as_chunk(or_raise(refusal)))

    def pass_on(self) -> Generator[Step, Any, None]:
        """Let chunks leave as they come, where the policy checks no answers."""
        while (chunk := (yield from self._next())) is not END:
            if isinstance(chunk, Whole):
                yield Emit(or_raise(attached(self._adapter, chunk.answer, self._verdicts())))
            else:
                yield Emit(chunk)
        if (last := self._adapter.closing_chunk(self._seen, self._verdicts())) is not None:
            yield Emit(last)

    def hold_back(self) -> Generator[Step, Any, None]:
        """Let chunks leave once judged."""
        is_flowing = False
        while (chunk := (yield from self._next())) is not END:
            if (windows := self._read(chunk)) is None:
                self._waiting.append(chunk)
                continue
            is_flowing = True
            pieces, judgement = yield from self._settle(windows)
            for piece in pieces:
                yield Emit(piece)
            if judgement is not None:
                yield from self.refuse(judgement)
                return
        if not is_flowing and len(self._waiting) == 1 and isinstance(self._waiting[0], Whole):
            answers = [self._waiting[0].answer]
            (result,) = yield from check_answers(self._adapter, self._policy, [self._asked], answers)
            yield Emit(or_raise(result))
        else:
            yield from self._finish()

    def _finish(self) -> Generator[Step, Any, None]:
        waiting = [_bare(chunk) for chunk in self._waiting]
        if waiting:
            (judgement,) = yield from self._judge([self._gathered(waiting)])
            if not judgement.allowed:
                yield from self.refuse(judgement)
                return
        pieces, blocked = yield from self._settle(self._hold.finish())
        if blocked is not None:
            yield from self.refuse(blocked)
            return
        leaving = [*pieces, *waiting]
        closing = self._adapter.closing_chunk(self._seen, self._verdicts())
        if closing is not None:
            leaving.append(closing)
        elif leaving:
            leaving[-1] = or_raise(attached(self._adapter, leaving[-1], self._verdicts()))
        for chunk in leaving:
            yield Emit(chunk)

    def _next(self) -> Generator[Step, Any, Any]:
        """The next chunk, or `END`; what the model raises ends the stream, and what is held is dropped."""
        chunk = yield NextChunk(self._asked.model_input)
        if isinstance(chunk, Exception):
            raise chunk if isinstance(chunk, MedGuardError) else ModelError.caused_by(chunk)
        if chunk is not END:
            self._seen = _bare(chunk)
        return chunk

    def _verdicts(self) -> list[Any]:
        return [self._asked.verdict, self._verdict]

    def _read(self, chunk: Any) -> list[StreamWindow] | None:
        """Take a chunk in and return the windows it completes; None where it waits."""
        if self._waiting or isinstance(chunk, Whole):
            return None
        try:
            found = self._adapter.read_chunk(chunk)
        except Exception as error:  # noqa: BLE001 - what chunks can hold is beyond foreseeing
            raise ModelError(f"the guarded model gave no usable chunk ({type(error).__name__})") from None
        read = _Read(chunk, found)
        if found.waits or not self._channels.take_in(read, found.said):
            return None
        return self._hold.feed(read, found.text, is_divisible=found.is_divisible)

    def _settle(
        self, windows: Sequence[StreamWindow]
    ) -> Generator[Step, Any, tuple[list[Any], Verdict | None]]:
        """Judge windows; return what they release, and the verdict that blocks, if one does."""
        verdicts = yield from self._judge([window.text for window in windows])
        pieces: list[Any] = []
        for window, verdict in zip(windows, verdicts, strict=True):
            if verdict.action is Action.REDACT:
                # Nothing can go on from what is taken out.
                self._channels.forget(name for read in self._hold.held for name in read.text.said)
            pieces += [self._rebuilt(piece, verdict) for piece in self._hold.settle(window, verdict)]
            if self._hold.blocked:
                return pieces, verdict
        return pieces, None

    def _judge(self, texts: Sequence[str]) -> Generator[Step, Any, list[Verdict]]:
        """Judge texts in one call."""
        judgements = yield from judge_texts(Stage.RESPONSE, [self._asked.prompt] * len(texts), texts)
        verdicts: list[Verdict] = [or_raise(judgement) for judgement in judgements]
        self._verdict = worst([self._verdict, *verdicts])
        return verdicts

    def _gathered(self, waiting: Sequence[Any]) -> str:
        """All text of chunks that wait, with what they may go on from: what is held, and said last."""
        # Chunks are held up to the latest, so that those of which nothing is held come first.
        held = self._hold.held
        before = [*(read for read in self._channels.last() if read not in held), *held]
        try:
            return self._adapter.gathered_text([*(read.chunk for read in before), *waiting])
        except InvalidInputError as error:
            raise ModelError(f"the guarded model gave no usable chunk: {error}") from None
        except Exception as error:  # noqa: BLE001 - what chunks can hold is beyond foreseeing
            raise ModelError(f"the guarded model gave no usable chunk ({type(error).__name__})") from None

    def _rebuilt(self, piece: Piece[_Read], verdict: Verdict) -> Any:
        """The chunk of a piece, or a chunk like it with the piece's text."""
        given = piece.chunk.chunk
        if piece.whole:
            return given
        if piece.chunk.text.is_divisible:
            return self._adapter.with_text(given, piece.text)
        chunk = self._adapter.redacted(given, piece.text)
        if chunk is None:
            kind = type(given).__name__
            raise BlockedError(f"a part of the answer was blocked, and a {kind} cannot be redacted", verdict)
        return chunk


def _bare(chunk: Any) -> Any:
    return chunk.answer if isinstance(chunk, Whole) else chunk
