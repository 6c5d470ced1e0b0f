"""Progress of a run on a terminal, with rates and the time that is left; a line per stage elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as _TimeRemaining
from rich.text import Text

__all__ = ["ConsoleProgress", "rate_text"]

_MINUTE_S: Final = 60.0
# Answers of a local model come in batches that are minutes apart: rates are of the last half hour.
_SPAN_S: Final = 1800.0


def rate_text(per_second: float | None) -> str:
    """Write a rate, in calls a second or, where it is slow, a minute."""
    if per_second is None:
        return "-"
    return f"{per_second:.1f}/s" if per_second >= 1.0 else f"{per_second * _MINUTE_S:.1f}/min"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate_text(task.finished_speed or task.speed))


class ConsoleProgress:
    """Shows a bar for each stage where the console is a terminal, else a line when a stage has ended."""

    def __init__(self, console: Console | None = None) -> None:
        """Show on `console`; None is standard error, where names stand as they are."""
        if console is None:
            console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            _TimeRemaining(),
            TextColumn("{task.fields[failures]}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=_SPAN_S,
        )
        self._task: TaskID | None = None
        self._title, self._begun, self._done, self._failed = "", 0.0, 0, 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, title: str, *, done: int, total: int) -> None:
        """Show a bar."""
        self._title, self._begun, self._done, self._failed = title, time.monotonic(), 0, 0
        self._task = self._bars.add_task(title, total=total, completed=done, failures="")

    def advance(self, done: int, failed: int) -> None:
        """Move the bar."""
        self._done, self._failed = self._done + done, self._failed + failed
        if self._task is not None:
            self._bars.update(
                self._task, advance=done, failures=f"{self._failed} failed" if self._failed else ""
            )

    def end(self) -> None:
        """Leave the bar, or write the line."""
        if self._task is not None:
            self._bars.stop_task(self._task)
            self._task = None
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._begun
            rate = rate_text(self._done / seconds if seconds > 0 else None)
            self._console.print(
                f"medguard: {self._title}: {self._done} done, {self._failed} failed, {rate}", soft_wrap=True
            )
