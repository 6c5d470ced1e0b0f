"""The guard's course over a stream as a generator: written once for sync and async drivers. Pure.

Text is emitted only once the window that holds it has passed; see `medguard.holdback`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from medguard.decision import skipped, worst
from medguard.errors import BlockedError, InvalidInputError, MedGuardError, ModelError
from medguard.flow import judge_prompts, prepared, refuse
from medguard.holdback import HoldBack, Piece, StreamWindow
from medguard.policy import Policy
from medguard.steps import END, Emit, Judge, Judgement, Judging, NextChunk, Step
from medguard.verdict import Stage, Verdict

if TYPE_CHECKING:
    from medguard.adapters.base import Adapter
    from medguard.adapters.chunks import ChunkText

__all__ = ["guarded_stream"]


def guarded_stream(item: Any, adapter: Adapter, policy: Policy) -> Generator[Step, Any, None]:
    """Check the prompt, then let the model's chunks through window by window.

    At the first blocked window the stream ends with the refusal, and what was held is dropped.

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
    if not isinstance(before, Verdict) or not before.allowed:
        yield from _refused(adapter, policy, item, None, [before])
        return
    if Stage.RESPONSE in policy.stages:
        yield from _held_back(model_input, str(readings[0]), before, adapter, policy)
        return
    seen = None
    while (chunk := (yield from _next(model_input))) is not END:
        seen = chunk
        yield Emit(chunk)
    yield from _closed(adapter, seen, [before, skipped(Stage.RESPONSE)])


def _held_back(
    model_input: Any, prompt: str, before: Verdict, adapter: Adapter, policy: Policy
) -> Generator[Step, Any, None]:
    hold: HoldBack[Any] = HoldBack(
        policy.stream_window_chars, policy.stream_stride_chars, redaction=policy.redaction
    )
    so_far: Verdict | None = None
    seen = last = None
    while last is not END:
        last = yield from _next(model_input)
        if last is END:
            windows = hold.finish()
        else:
            seen = last
            found = _read(adapter, model_input, last)
            windows = hold.feed(last, found.text, is_divisible=found.is_divisible)
        verdicts = yield from _judged(windows, prompt)
        for window, verdict in zip(windows, verdicts, strict=True):
            if not isinstance(verdict, Verdict):
                raise verdict
            so_far = verdict if so_far is None else worst([so_far, verdict])
            for piece in hold.settle(window, verdict):
                yield Emit(_rebuilt(adapter, model_input, piece, verdict))
            if hold.blocked:
                yield from _refused(adapter, policy, model_input, seen, [before, verdict])
                return
    yield from _closed(adapter, seen, [before, skipped(Stage.RESPONSE) if so_far is None else so_far])


def _refused(
    adapter: Adapter, policy: Policy, item: Any, chunk: Any, judgements: list[Any]
) -> Generator[Step, Any, None]:
    """End the stream with the refusal, or with the error that stands in its place."""
    refusal = refuse(adapter, policy, item, chunk, judgements)
    if isinstance(refusal, Exception):
        raise refusal
    yield Emit(adapter.as_chunk(refusal))


def _next(model_input: Any) -> Generator[Step, Any, Any]:
    """The next chunk, or `END`; whatever the model raises ends the stream, and what is held is dropped."""
    chunk = yield NextChunk(model_input)
    if isinstance(chunk, Exception):
        raise chunk if isinstance(chunk, MedGuardError) else ModelError.caused_by(chunk)
    return chunk


def _read(adapter: Adapter, model_input: Any, chunk: Any) -> ChunkText:
    try:
        return adapter.read_chunk(model_input, chunk)
    except InvalidInputError as error:
        raise ModelError(f"the guarded model gave no usable chunk: {error}") from None
    except Exception as error:  # noqa: BLE001 - what chunks can hold is beyond foreseeing
        raise ModelError(f"the guarded model gave no usable chunk ({type(error).__name__})") from None


def _judged(windows: Sequence[StreamWindow], prompt: str) -> Judging:
    """Judge the windows in one call; one of white space has nothing to check."""
    wanted = [index for index, window in enumerate(windows) if not window.is_blank]
    judgements: list[Judgement] = [skipped(Stage.RESPONSE) for _ in windows]
    if wanted:
        texts = [windows[index].text for index in wanted]
        found = yield Judge(Stage.RESPONSE, [prompt] * len(wanted), texts)
        for index, judgement in zip(wanted, found, strict=True):
            judgements[index] = judgement
    return judgements


def _rebuilt(adapter: Adapter, model_input: Any, piece: Piece[Any], verdict: Verdict) -> Any:
    """The chunk of a piece, or a chunk like it with the piece's text."""
    if piece.whole:
        return piece.chunk
    if adapter.read_chunk(model_input, piece.chunk).is_divisible:
        return adapter.with_text(piece.chunk, piece.text)
    chunk = adapter.redacted(piece.chunk, piece.text)
    if chunk is None:
        kind = type(piece.chunk).__name__
        raise BlockedError(f"a part of the answer was blocked, and a {kind} cannot be redacted", verdict)
    return chunk


def _closed(adapter: Adapter, chunk: Any, verdicts: Sequence[Verdict]) -> Generator[Step, Any, None]:
    """Send the verdicts after the last chunk, where chunks have a place for them."""
    last = adapter.closing_chunk(chunk, verdicts)
    if last is not None:
        yield Emit(last)
