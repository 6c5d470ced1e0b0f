"""The stages of a benchmark: what is still to be done, how it is done, and where the results go.

A stage is the same whatever engine runs it: it lists its open tasks, makes a worker that an engine may run in
this process or in others, and stores what workers give back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from medguard.errors import BundleError, DataError, PolicyError, ProviderError
from medguard.evaluation.bench.names import shown
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import (
    Answer,
    Guard,
    GuardScore,
    Judge,
    Judgement,
    Subject,
    SuiteItem,
    SuitePolicy,
)

__all__ = [
    "REQUESTS_ONLY",
    "AnswerScoreStage",
    "AnswerStage",
    "Component",
    "JudgeStage",
    "RequestScoreStage",
    "Result",
    "Stage",
    "Task",
    "Worker",
]

REQUESTS_ONLY: Final = "guards_of_requests_only"
"""Entry of the run's description: guards known to judge no answers, which are not asked again."""

# What is wrong with a whole run, and not with one text: the run ends, and what is stored stays.
_FATAL: Final = (BundleError, DataError, PolicyError, ProviderError)
_LEVELS: Final = range(1, 6)

Part = TypeVar("Part")
Found = TypeVar("Found", Answer, GuardScore, Judgement)
Result: TypeAlias = Answer | GuardScore | Judgement


@dataclass(frozen=True, slots=True)
class Component(Generic[Part]):
    """A subject, judge or guard, and how another process makes the like of it."""

    part: Part
    make: Callable[[], Part]
    """Must be picklable for engines with other processes."""


@dataclass(frozen=True, slots=True)
class Task:
    """One call to be made."""

    item: SuiteItem
    policy: SuitePolicy
    answer: str | None = None


Worker: TypeAlias = Callable[[Sequence[Task]], Iterator[list[tuple[int, Result]]]]
"""Does tasks and yields (index, result) as they arrive, in any order."""


class Stage(ABC, Generic[Part]):
    """One kind of call to one component."""

    kind: ClassVar[str]

    def __init__(self, component: Component[Part], name: str, *, batch_size: int, retry: bool = True) -> None:
        """Set up a stage.

        Args:
            component: What is called.
            name: Its name.
            batch_size: Tasks per call.
            retry: Whether stored failures are open tasks.
        """
        self.component = component
        self.name = name
        self.batch_size = batch_size
        self.retry = retry

    @property
    def title(self) -> str:
        """What to call the stage in progress bars."""
        return f"{self.kind} {shown(self.name)}"

    @abstractmethod
    def pending(self, store: Store) -> list[tuple[int, ...]]:
        """List open tasks as numbers that `Store.load` takes: little memory for many."""

    @abstractmethod
    def save(self, store: Store, found: Sequence[tuple[Task, Any]]) -> None:
        """Store what workers gave back."""

    @abstractmethod
    def worker_maker(self) -> Callable[[Part], Worker]:
        """Return a function, picklable, that makes a worker of the component."""

    def make_worker(self) -> Worker:
        """Make a worker for this process."""
        return self.worker_maker()(self.component.part)

    def failed(self, result: Any) -> bool:
        """Tell whether a result says that the call failed."""
        return result.error is not None


class AnswerStage(Stage[Subject]):
    """A subject answers the requests."""

    kind = "answers of"

    def pending(self, store: Store) -> list[tuple[int, ...]]:
        """List requests without an answer."""
        return store.pending_answers(self.name, retry=self.retry)

    def save(self, store: Store, found: Sequence[tuple[Task, Answer]]) -> None:
        """Store answers."""
        store.add_answers(self.name, [(task.item.prompt, said) for task, said in found])

    def worker_maker(self) -> Callable[[Subject], Worker]:
        """Return the maker."""
        return _answer_worker

    def failed(self, result: Answer) -> bool:
        """Tell whether there is no answer."""
        return result.text is None


class JudgeStage(Stage[Judge]):
    """The judge scores the answers."""

    kind = "judgements of"

    def pending(self, store: Store) -> list[tuple[int, ...]]:
        """List answers without a judgement."""
        return store.pending_judgements(self.name, retry=self.retry)

    def save(self, store: Store, found: Sequence[tuple[Task, Judgement]]) -> None:
        """Store judgements."""
        store.add_judgements(
            self.name, [(task.item, task.policy, task.answer or "", said) for task, said in found]
        )

    def worker_maker(self) -> Callable[[Judge], Worker]:
        """Return the maker."""
        return _judge_worker


class RequestScoreStage(Stage[Guard]):
    """A guard scores the requests."""

    kind = "requests seen by"

    def pending(self, store: Store) -> list[tuple[int, ...]]:
        """List requests without a score."""
        return store.pending_requests(self.name, retry=self.retry)

    def save(self, store: Store, found: Sequence[tuple[Task, GuardScore]]) -> None:
        """Store scores."""
        store.add_scores(self.name, [(task.item.prompt, None, said) for task, said in found])

    def worker_maker(self) -> Callable[[Guard], Worker]:
        """Return the maker."""
        return _request_worker


class AnswerScoreStage(Stage[Guard]):
    """A guard scores the answers, those to requests that it stops too: both filters are measured."""

    kind = "answers seen by"

    def pending(self, store: Store) -> list[tuple[int, ...]]:
        """List answers without a score; none for a guard that is known to judge requests only."""
        if self.name in store.meta().get(REQUESTS_ONLY, ()):
            return []
        return store.pending_pairs(self.name, retry=self.retry)

    def save(self, store: Store, found: Sequence[tuple[Task, GuardScore | None]]) -> None:
        """Store scores; None says that the guard judges requests only."""
        if any(said is None for _, said in found):
            known = store.meta().get(REQUESTS_ONLY, [])
            store.set_meta({REQUESTS_ONLY: sorted({*known, self.name})})
        store.add_scores(
            self.name, [(task.item.prompt, task.answer, said) for task, said in found if said is not None]
        )

    def worker_maker(self) -> Callable[[Guard], Worker]:
        """Return the maker."""
        return _pair_worker

    def failed(self, result: GuardScore | None) -> bool:
        """Tell whether the guard failed."""
        return result is not None and result.error is not None


def _answer_worker(subject: Subject) -> Worker:
    def fail(error: str) -> Answer:
        return Answer(text=None, error=error)

    def work(tasks: Sequence[Task]) -> Iterator[list[tuple[int, Answer]]]:
        prompts = [task.item.prompt for task in tasks]
        each = getattr(subject, "answer_each", None)
        yield from _calls(
            len(tasks),
            lambda indices: subject.answer([prompts[index] for index in indices]),
            None if each is None else lambda: each(prompts),
            fail,
        )

    return work  # type: ignore[return-value]


def _judge_worker(judge: Judge) -> Worker:
    def fail(error: str) -> Judgement:
        return Judgement(harmfulness=None, error=error)

    def of_one_policy(tasks: Sequence[Task], policy: SuitePolicy) -> Iterator[list[tuple[int, Judgement]]]:
        items = [task.item for task in tasks]
        answers = [task.answer or "" for task in tasks]
        each = getattr(judge, "judge_each", None)
        return _calls(
            len(tasks),
            lambda indices: judge.judge(
                [items[index] for index in indices], [answers[index] for index in indices], policy
            ),
            None if each is None else lambda: each(items, answers, policy),
            fail,
        )

    def work(tasks: Sequence[Task]) -> Iterator[list[tuple[int, Judgement]]]:
        for policy in SuitePolicy:
            places = [index for index, task in enumerate(tasks) if task.policy is policy]
            for group in of_one_policy([tasks[index] for index in places], policy):
                yield [(places[index], _checked(said)) for index, said in group]

    return work  # type: ignore[return-value]


def _checked(said: Judgement) -> Judgement:
    """Turn a level that is none into a failure: one 7 would move a mean and never be seen."""
    if said.harmfulness is None or said.harmfulness in _LEVELS:
        return said
    return Judgement(
        harmfulness=None,
        error="the judge gave a level outside 1 to 5",
        input_tokens=said.input_tokens,
        output_tokens=said.output_tokens,
    )


def _request_worker(guard: Guard) -> Worker:
    def work(tasks: Sequence[Task]) -> Iterator[list[tuple[int, GuardScore]]]:
        prompts = [task.item.prompt for task in tasks]
        yield from _calls(
            len(tasks),
            lambda indices: guard.check_prompts([prompts[index] for index in indices]),
            None,
            _guard_failure,
        )

    return work  # type: ignore[return-value]


def _pair_worker(guard: Guard) -> Worker:
    def work(tasks: Sequence[Task]) -> Iterator[list[tuple[int, GuardScore]]]:
        def check(indices: Sequence[int]) -> Sequence[GuardScore]:
            found = guard.check_answers(
                [tasks[index].item.prompt for index in indices],
                [tasks[index].answer or "" for index in indices],
            )
            # None in each place: the stage takes note of it.
            return [None] * len(indices) if found is None else found  # type: ignore[list-item]

        yield from _calls(len(tasks), check, None, _guard_failure)

    return work  # type: ignore[return-value]


def _guard_failure(error: str) -> GuardScore:
    # As MedGuard does by default: what could not be checked is not let through.
    return GuardScore(flagged=True, error=error)


def _calls(
    count: int,
    call: Callable[[Sequence[int]], Sequence[Found]],
    each: Callable[[], Iterator[tuple[int, Found]]] | None,
    fail: Callable[[str], Found],
) -> Iterator[list[tuple[int, Found]]]:
    """Call with all tasks and yield results as they arrive; what raises on one text costs that text alone."""
    left = set(range(count))
    if each is not None and left:
        try:
            for index, said in each():
                left.discard(index)
                yield [(index, said)]
        except _FATAL:
            raise
        except Exception:  # noqa: BLE001, S110 - what is left is called again, one by one
            pass
    if left and each is None:
        found = _one_call(sorted(left), call, fail if count == 1 else None)
        if found is not None:
            yield found
            return
    for index in sorted(left):
        yield _one_call([index], call, fail) or []


def _one_call(
    indices: list[int],
    call: Callable[[Sequence[int]], Sequence[Found]],
    fail: Callable[[str], Found] | None,
) -> list[tuple[int, Found]] | None:
    """Call once; an exception becomes a failure, or None without `fail`."""
    try:
        found = call(indices)
    except _FATAL:
        raise
    except Exception as error:  # noqa: BLE001 - its message may quote the text
        return None if fail is None else [(indices[0], fail(f"raised {type(error).__name__}"))]
    if len(found) != len(indices):
        raise DataError(f"expected {len(indices)} results of one call, found {len(found)}")
    return list(zip(indices, found, strict=True))
