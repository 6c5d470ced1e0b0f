from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from medguard import BundleError, Classifier, ProviderError
from medguard.bundle import Bundle, default_bundle_path
from medguard.deadline import Deadline
from medguard.errors import GuardTimeoutError
from medguard.runtime import Device, Session, candidate_devices, open_session

onnx = pytest.importorskip("onnx")
TEXT = "What is a normal blood pressure?"
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def graph_of(value: float, width: int) -> bytes:
    """A graph that answers `width` times `value` per row, whatever it reads."""
    helper, numpy_helper, types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    ids = helper.make_tensor_value_info("input_ids", types.INT64, ["batch", "tokens"])
    logits = helper.make_tensor_value_info("logits", types.FLOAT, ["batch", width])
    constants = [
        numpy_helper.from_array(np.array([0], dtype=np.int64), "start"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "end"),
        numpy_helper.from_array(np.array([width], dtype=np.int64), "width"),
    ]
    fill = helper.make_tensor("value", types.FLOAT, [1], [value])
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["batch"]),
        helper.make_node("Concat", ["batch", "width"], ["size"], axis=0),
        helper.make_node("ConstantOfShape", ["size"], ["logits"], value=fill),
    ]
    graph = helper.make_graph(nodes, "constant", [ids], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def run(session: Session) -> np.ndarray:
    return session.run(
        {"input_ids": np.zeros((2, 3), dtype=np.int64), "unused": np.zeros((2, 3), dtype=np.int64)}
    )


def test_inputs_that_the_graph_lacks_are_ignored() -> None:
    logits = run(open_session(graph_of(1.5, 17), Device.CPU, threads=1))
    assert logits.dtype == np.float32
    assert logits.tolist() == [[1.5] * 17] * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(ProviderError, match="not finite"):
        run(open_session(graph_of(value, 17), Device.CPU, threads=1))


def test_failing_run_is_an_error_that_names_the_type() -> None:
    session = open_session(graph_of(0.0, 17), Device.CPU, threads=1)
    with pytest.raises(ProviderError, match="onnxruntime failed with KeyError"):
        session.run({})


class Endless:
    """A graph that runs until it is stopped."""

    def __init__(self) -> None:
        self.never, self.stopped = threading.Event(), threading.Event()

    def get_inputs(self) -> list[Any]:
        return []

    def run(self, outputs: list[str], feeds: dict[str, Any], options: Any) -> None:
        while not options.terminate:
            self.never.wait(0.001)
        self.stopped.set()
        raise RuntimeError("stopped")


def test_a_run_ends_when_its_time_is_over() -> None:
    graph = Endless()
    with pytest.raises(GuardTimeoutError):
        Deadline(0.01).run(lambda: Session(graph).run({}))
    assert graph.stopped.wait(30)


def test_no_run_begins_after_that() -> None:
    session = open_session(graph_of(1.5, 17), Device.CPU, threads=1)
    release, raised = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(30)
        try:
            run(session)
        except GuardTimeoutError:
            raised.set()

    with pytest.raises(GuardTimeoutError):
        Deadline(0.01).run(work)
    release.set()
    assert raised.wait(30)


@pytest.mark.parametrize("scorer", ["Classifier.load()", "BatchingScorer(Classifier.load())"])
def test_a_run_that_is_late_does_not_abort_the_process(scorer: str) -> None:
    code = f"""
from medguard import Checker, Classifier, Policy
from medguard.batching import BatchingScorer
checker = Checker(policy=Policy(timeout_s=0.05), classifier={scorer})
print(checker.check_prompt("She takes warfarin every day. " * 1000).outcome)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "failed\n"), done.stderr


def test_runs_without_a_deadline_do_not_abort_the_process() -> None:
    code = """
import contextlib, threading
from medguard import Classifier, MedGuardError
from medguard.batching import BatchingScorer
from medguard.runtime import Session
begun, run = threading.Event(), Session.run
def begin(*args):
    begun.set()
    return run(*args)
Session.run = begin
scorer = BatchingScorer(Classifier.load(), max_batch=1)
def ask():
    with contextlib.suppress(MedGuardError):
        scorer.score_many(["Is warfarin safe?"] * 500)
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
begun.wait(60)
print("leaves")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "leaves\n"), done.stderr


@pytest.mark.parametrize("width", [1, 16])
def test_graph_with_other_labels_is_an_error(replace_file: Callable[[str, bytes], Path], width: int) -> None:
    classifier = Classifier.load(
        replace_file("model.int8.onnx", graph_of(0.0, width)), device="cpu", threads=1
    )
    with pytest.raises(ProviderError, match=r"expected logits of shape \(1, 17\)"):
        classifier.score("hi")


@pytest.mark.parametrize("graph", [b"", b"no graph"])
def test_what_is_no_graph_is_a_bundle_error(graph: bytes) -> None:
    with pytest.raises(BundleError, match="cannot load the graph"):
        open_session(graph, Device.CPU, None)


def test_auto_ends_with_the_cpu() -> None:
    assert candidate_devices(Device.AUTO) == ((Device.GPU, Device.CPU) if HAS_CUDA else (Device.CPU,))
    assert candidate_devices(Device.CPU) == (Device.CPU,)


def test_a_bundle_without_a_graph_for_gpus_runs_on_the_cpu_or_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle(default_bundle_path())
    built_for_gpu = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_for_gpu)
    assert candidate_devices(Device.AUTO) == (Device.GPU, Device.CPU)
    assert Classifier(bundle, device=Device.AUTO).device is Device.CPU
    with pytest.raises(BundleError, match="no graph for device 'gpu', it has some for cpu"):
        Classifier(bundle, device=Device.GPU)


def test_a_gpu_that_the_runtime_was_not_built_for_names_the_extra() -> None:
    if HAS_CUDA:
        pytest.skip("this onnxruntime was built for GPUs")
    with pytest.raises(ProviderError, match=r"medguard\[gpu\]"):
        candidate_devices(Device.GPU)
