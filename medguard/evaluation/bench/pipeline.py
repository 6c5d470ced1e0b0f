"""The benchmark from end to end: subjects answer, judge and guards score, a run folder keeps it all.

Each result is stored as it arrives. Run again on the same folder, only what is missing is done: after a crash
that is the rest, after a finished run nothing, after a change of judge the judging. A guard needs no second
generation: it is applied to the stored requests and answers. Another version of medguard begins a folder of
its own, as it could score the same texts otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

import medguard
from medguard.errors import DataError
from medguard.evaluation.bench.config import RunConfig, SuiteConfig
from medguard.evaluation.bench.stages import (
    AnswerScoreStage,
    AnswerStage,
    Component,
    JudgeStage,
    RequestScoreStage,
    Result,
    Stage,
    Task,
)
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import Guard, Judge, Subject, Suite

__all__ = [
    "Engine",
    "LocalEngine",
    "Progress",
    "RunSummary",
    "SilentProgress",
    "StageSummary",
    "run_bench",
    "run_config",
]

OWN_POINT: Final = "own"
"""Operating point of a guard that names none: it decides by itself."""
_NONE: Final = "none"
_PACKAGES: Final = ("langchain-core", "numpy", "onnxruntime", "tokenizers", "torch", "transformers")

Found = Iterator[list[tuple[Task, Result]]]


class Engine(Protocol):
    """Runs the open tasks of a stage."""

    @property
    def name(self) -> str:
        """Name in the run's description."""

    def run(self, stage: Stage[Any], store: Store, pending: Sequence[tuple[int, ...]]) -> Found:
        """Yield (task, result) as they arrive, in any order; a group is stored before the next is asked."""


class Progress(Protocol):
    """Is told how a run goes on."""

    def begin(self, title: str, *, done: int, total: int) -> None:
        """Say that a stage begins, with calls `done` already of all that count."""

    def advance(self, done: int, failed: int) -> None:
        """Say that so many more calls of the stage are done, failures included."""

    def end(self) -> None:
        """Say that the stage ended, or was cut off."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, title: str, *, done: int, total: int) -> None:
        """Do nothing."""

    def advance(self, done: int, failed: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What one stage of a run did."""

    title: str
    calls: int
    """Texts that were given to the component: 0 where all was stored already."""
    failed: int
    seconds: float
    """Wall time, in seconds."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did."""

    folder: Path
    stages: tuple[StageSummary, ...]

    @property
    def calls(self) -> int:
        """Texts given to models, judges and guards."""
        return sum(stage.calls for stage in self.stages)

    @property
    def failed(self) -> int:
        """Calls that failed; a further run tries them again."""
        return sum(stage.failed for stage in self.stages)


class LocalEngine:
    """Runs tasks in this process, batch by batch; one batch of texts is in memory at a time."""

    name = "local"

    def run(self, stage: Stage[Any], store: Store, pending: Sequence[tuple[int, ...]]) -> Found:
        """Yield (task, result) as they arrive."""
        worker = stage.make_worker()
        for start in range(0, len(pending), stage.batch_size):
            tasks = tasks_of(store, pending[start : start + stage.batch_size])
            for group in worker(tasks):
                yield [(tasks[index], result) for index, result in group]


def tasks_of(store: Store, numbers: Iterable[tuple[int, ...]]) -> list[Task]:
    """Read the texts of tasks."""
    return [Task(*store.load(entry)) for entry in numbers]


def run_config(config: RunConfig, *, progress: Progress | None = None) -> RunSummary:
    """Load everything that `config` names, and run it.

    Raises:
        DataError: The settings name no folder, or something that cannot be loaded.
        MedGuardError: As the parts raise; what was stored before stays.
    """
    if config.output is None:
        raise DataError("say where the run is to be kept: output in the settings, or --output")
    from medguard.evaluation.bench.suites import load_suite

    def load(entry: SuiteConfig) -> Suite:
        own = entry.limit is not None or entry.sample is not None
        limit, sample = (entry.limit, entry.sample) if own else (config.limit, config.sample)
        return load_suite(entry.name, limit=limit, sample=sample, seed=config.seed)

    engine: Engine = LocalEngine()
    started: AbstractContextManager[Engine] = nullcontext(engine)
    if config.engine == "ray":
        from medguard.evaluation.bench.ray_engine import RayEngine

        started = RayEngine(config.ray)
    settings = config.judge.settings if config.judge is not None else None
    with started as engine:
        return run_bench(
            config.output,
            suites=[load(entry) for entry in config.suites],
            subjects=config.subjects,
            judge=None if config.judge is None else _judge(config.judge.spec, settings),
            guards=config.guards,
            batches=(config.subject_batch, config.judge_batch, config.guard_batch),
            retry=config.retry_failures,
            engine=engine,
            progress=progress,
            description={"config": config.model_dump(mode="json")},
        )


def run_bench(
    folder: Path,
    *,
    suites: Iterable[Suite],
    subjects: Iterable[Subject | str | Component[Subject]] = (),
    judge: Judge | str | Component[Judge] | None = None,
    guards: Iterable[Guard | str | Component[Guard]] = (),
    batches: tuple[int, int, int] = (32, 64, 64),
    retry: bool = True,
    engine: Engine | None = None,
    progress: Progress | None = None,
    description: dict[str, Any] | None = None,
) -> RunSummary:
    """Run a benchmark, or the rest of one.

    Args:
        folder: Run folder; made where there is none. It will hold the texts of requests and answers.
        suites: What is asked.
        subjects: Models under test, or their specs; none to run guards alone.
        judge: Judge or its spec; None judges nothing.
        guards: Guards, or their specs.
        batches: Texts per call of a subject, of the judge and of a guard.
        retry: Whether calls that failed in an earlier run are made again.
        engine: What runs the calls; None is this process.
        progress: Is told how it goes on.
        description: Further entries for the run's description, as JSON values.

    Returns:
        What was done. Rows are in the folder's `Store`; `report.write_report` makes the report.

    Raises:
        DataError: The folder is in use, of another format or of another version of medguard, a guard was
            distilled from the judge, names clash, or a part returns too few results.
        MedGuardError: As the parts raise for what is wrong with the whole run.

    Example:
        >>> run_bench(Path("runs/first"), suites=[load_suite("contrast")], guards=["medguard"])
    """
    engine = LocalEngine() if engine is None else engine
    progress = SilentProgress() if progress is None else progress
    asked = [_subject(entry) for entry in subjects]
    checked = [_guard(entry) for entry in guards]
    judging = None if judge is None else _as_component(judge, _judge)
    if judging is not None and judging.part.name == _NONE:
        judging = None
    if judging is not None:
        _refuse_own_pupils(judging.part, checked)
    held = tuple(suites)
    with Store.create(folder) as store:
        _refuse_other_version(store)
        store.plan(held, [item.part.name for item in asked], [item.part.name for item in checked])
        store.set_meta(
            {
                **(description or {}),
                "harness_version": medguard.__version__,
                "packages": _packages(),
                "engine": engine.name,
                "judge": None if judging is None else judging.part.name,
                "revisions": {suite.name: suite.revision for suite in held},
                "operating_points": {
                    item.part.name: str(getattr(item.part, "operating_point", None) or OWN_POINT)
                    for item in checked
                },
                "finished": False,
            }
        )
        stages = list(_stages(asked, judging, checked, batches, retry=retry))
        done = tuple(_run_stage(stage, store, engine, progress) for stage in stages)
        store.set_meta({"finished": True})
    return RunSummary(Path(folder), done)


def _stages(
    subjects: Sequence[Component[Subject]],
    judge: Component[Judge] | None,
    guards: Sequence[Component[Guard]],
    batches: tuple[int, int, int],
    *,
    retry: bool,
) -> Iterator[Stage[Any]]:
    subject_batch, judge_batch, guard_batch = batches
    for subject in subjects:
        yield AnswerStage(subject, subject.part.name, batch_size=subject_batch, retry=retry)
    if judge is not None:
        yield JudgeStage(judge, judge.part.name, batch_size=judge_batch, retry=retry)
    for guard in guards:
        yield RequestScoreStage(guard, guard.part.name, batch_size=guard_batch, retry=retry)
        if subjects:
            yield AnswerScoreStage(guard, guard.part.name, batch_size=guard_batch, retry=retry)


def _run_stage(stage: Stage[Any], store: Store, engine: Engine, progress: Progress) -> StageSummary:
    # Listed when the stage's turn comes: what it works on is what the stages before it stored.
    pending = stage.pending(store)
    if not pending:
        return StageSummary(stage.title, 0, 0, 0.0)
    calls = failed = 0
    begun = time.perf_counter()
    progress.begin(stage.title, done=0, total=len(pending))
    try:
        for group in engine.run(stage, store, pending):
            stage.save(store, group)
            bad = sum(stage.failed(result) for _, result in group)
            calls, failed = calls + len(group), failed + bad
            progress.advance(len(group), bad)
    finally:
        progress.end()
    return StageSummary(stage.title, calls, failed, time.perf_counter() - begun)


def _as_component(entry: Any, make: Any) -> Component[Any]:
    if isinstance(entry, Component):
        return entry
    if isinstance(entry, str):
        return make(entry)  # type: ignore[no-any-return]
    # Pickled as it is for other processes.
    return Component(entry, partial(_same, entry))


def _same(part: Any) -> Any:
    return part


def _subject(entry: Subject | str | Component[Subject]) -> Component[Subject]:
    if not isinstance(entry, str):
        return _as_component(entry, None)
    from medguard.evaluation.bench.subjects import load_subject

    return Component(load_subject(entry), partial(load_subject, entry))


def _guard(entry: Guard | str | Component[Guard]) -> Component[Guard]:
    if not isinstance(entry, str):
        return _as_component(entry, None)
    from medguard.evaluation.bench.guards import load_guard

    return Component(load_guard(entry), partial(load_guard, entry))


def _judge(spec: str, settings: dict[str, Any] | None = None) -> Component[Judge]:
    from pydantic import ValidationError

    from medguard.evaluation.bench.judges import LlmSettings, load_judge

    try:
        checked = None if settings is None else LlmSettings.model_validate(settings)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False))
        raise DataError(f"settings of the judge: {wrong} cannot be used") from None
    make = partial(load_judge, spec, settings=checked)
    return Component(make(), make)


def _refuse_other_version(store: Store) -> None:
    """Make sure that all of a folder is of one version: its scores would bear the name of the last one."""
    began = store.meta().get("harness_version", medguard.__version__)
    if began != medguard.__version__:
        raise DataError(
            f"{store.folder} holds a run that medguard {began} began, this is {medguard.__version__}: "
            "choose another folder"
        )


def _refuse_own_pupils(judge: Judge, guards: Iterable[Component[Guard]]) -> None:
    from medguard.evaluation.bench.judges import refuse_own_pupil

    for guard in guards:
        refuse_own_pupil(judge, guard.part)


def _packages() -> dict[str, str]:
    """Versions of what changes figures; a package that is not installed is left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
