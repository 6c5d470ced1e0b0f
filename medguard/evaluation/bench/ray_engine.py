"""The same stages on Ray Data: workers on this machine or over a cluster, one writer of the run folder.

Batches of tasks go into Ray's object store, a pool of actors does them, and results are stored here as each
batch comes back. Ray Data starts a dead worker anew and does its batch
again. Ray's object store holds the
texts while they are worked on and may spill them to its session folder (/tmp/ray by default).
"""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from medguard.errors import DataError, MedGuardError, ProviderError
from medguard.evaluation.bench.config import RayConfig
from medguard.evaluation.bench.pipeline import Found, tasks_of
from medguard.evaluation.bench.stages import Stage, Worker
from medguard.evaluation.bench.store import Store

__all__ = ["RayEngine"]


class RayEngine:
    """Runs tasks on Ray Data; a context manager that ends the Ray that it started.

    Components must be made anew in other processes: specs are loaded there, and other objects are pickled
    (see `medguard.evaluation.bench.stages.Component` to say how one is made).

    Example:
        >>> with RayEngine(RayConfig(workers=4)) as engine:
        ...     run_bench(folder, suites=suites, guards=["medguard"], engine=engine)
    """

    name = "ray"

    def __init__(self, config: RayConfig | None = None) -> None:
        """Set up; Ray starts when the context is entered."""
        self._config = RayConfig() if config is None else config
        self._started = False

    def __enter__(self) -> Self:
        ray = _import_ray()
        if not ray.is_initialized():
            # Nothing is reported to anybody unless the user says so.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if self._config.address is None:
                # Logical processors: a pool larger than the machine would wait for ever.
                needed = math.ceil(self._config.workers * self._config.cpus)
                options |= {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, needed)}
            try:
                ray.init(self._config.address, **options)
            except Exception as error:
                where = self._config.address or "this machine"
                raise ProviderError(f"Ray does not start on {where} ({type(error).__name__})") from error
            self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            _import_ray().shutdown()
            self._started = False

    def run(self, stage: Stage[Any], store: Store, pending: Sequence[tuple[int, ...]]) -> Found:
        """Yield (task, result) batch by batch, in any order.

        Raises:
            DataError: What the component raises for the whole run, or it cannot be pickled.
            ProviderError: Ray failed.
        """
        ray = _import_ray()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        recipe = _recipe(stage)
        size = stage.batch_size
        batches = [pending[start : start + size] for start in range(0, len(pending), size)]
        try:
            # One block for each batch; blocks lie in the object store, not in this process.
            blocks = [ray.put(_block(number, store, batch)) for number, batch in enumerate(batches)]
            done = ray.data.from_arrow_refs(blocks).map_batches(
                _BatchWorker,
                fn_constructor_args=(recipe,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(self._config.workers, len(batches))),
                num_cpus=self._config.cpus,
                num_gpus=self._config.gpus,
            )
            for row in done.iter_rows():
                tasks = tasks_of(store, batches[row["number"]])
                # Our own pickle: made by our worker, of our own types.
                found = _found_in(pickle.loads(row["payload"]))  # noqa: S301
                yield [(tasks[index], result) for index, result in found]
        except MedGuardError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray's own messages may quote texts
            raise _translated(error) from None


class _BatchWorker:
    """Lives in a Ray actor."""

    def __init__(self, recipe: bytes) -> None:
        self._failure: MedGuardError | None = None
        try:
            make, worker_of = pickle.loads(recipe)  # noqa: S301 - made by the engine
            self._work: Worker = worker_of(make())
        # Told as a result: an actor that fails to start is started for ever.
        except MedGuardError as error:
            self._failure = type(error)(str(error))
        except Exception as error:  # noqa: BLE001 - a part of the user's may raise anything
            self._failure = ProviderError(f"a worker cannot make its part ({type(error).__name__})")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        payloads = [pickle.dumps(self._done(payload)) for payload in batch["payload"]]
        return {"number": batch["number"], "payload": payloads}

    def _done(self, payload: bytes) -> list[tuple[int, Any]] | MedGuardError:
        if self._failure is not None:
            return self._failure
        tasks = pickle.loads(payload)  # noqa: S301 - made by the engine, of our own types
        try:
            return [entry for group in self._work(tasks) for entry in group]
        except MedGuardError as error:
            # Without the cause: its message may quote text, and Ray would log it.
            return type(error)(str(error))


def _found_in(payload: list[tuple[int, Any]] | MedGuardError) -> list[tuple[int, Any]]:
    if isinstance(payload, MedGuardError):
        raise payload
    return payload


def _recipe(stage: Stage[Any]) -> bytes:
    """Pickle how a worker is made, before Ray does: its own complaint would quote what cannot be pickled.

    Raises:
        DataError: It cannot be pickled.
    """
    from ray import cloudpickle

    try:
        recipe: bytes = cloudpickle.dumps(  # type: ignore[no-untyped-call, unused-ignore]
            (stage.component.make, stage.worker_maker())
        )
    except Exception as error:
        raise DataError(
            f"{stage.name} cannot be sent to other processes ({type(error).__name__}): give it by its spec, "
            "or as a Component"
        ) from error
    return recipe


def _block(number: int, store: Store, batch: Sequence[tuple[int, ...]]) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    # Pickled, as Arrow's strings cannot hold every text that a model may say.
    return pa.table({"number": [number], "payload": [pickle.dumps(tasks_of(store, batch))]})


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ProviderError("the Ray engine needs ray: pip install 'medguard[ray]'") from error
    return ray


def _translated(error: Exception) -> MedGuardError:
    """Name what Ray met with, by types alone."""
    kinds = dict.fromkeys(type(item).__name__ for item in _chain(error))
    return ProviderError(f"Ray failed with {', '.join(kinds)}; what was stored stays, run it again")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) if not error.__cause__ else error.__cause__
