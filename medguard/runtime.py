"""The one place that touches onnxruntime."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medguard.deadline import stopped_in_time
from medguard.errors import BundleError, GuardTimeoutError, ProviderError

__all__ = ["Device", "Session", "candidate_devices", "open_session"]

_INSTALL = "pip install 'medguard[cpu]', or 'medguard[gpu]' on a machine with an NVIDIA GPU"


class Device(StrEnum):
    """Where the graph runs."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class Session:
    """An ONNX graph ready to run; `run` may be called from several threads."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = [item.name for item in session.get_inputs()]

    def run(self, feeds: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Run the graph; it ends early where a deadline passes meanwhile.

        Args:
            feeds: int64 arrays of shape (batch, tokens) by input name; names the graph lacks are ignored.

        Returns:
            Logits, float32 of shape (batch, labels).

        Raises:
            ProviderError: The runtime failed or was stopped, or gave logits that are not finite.
            GuardTimeoutError: The deadline has passed already.
        """
        options = _onnxruntime().RunOptions()
        try:
            inputs = {name: feeds[name] for name in self._inputs}
            with stopped_in_time(lambda: setattr(options, "terminate", True)):
                (logits,) = self._session.run(["logits"], inputs, options)
        except GuardTimeoutError:
            raise
        except Exception as error:
            raise ProviderError(f"onnxruntime failed with {type(error).__name__}") from error
        result: NDArray[np.float32] = np.asarray(logits, dtype=np.float32)
        if not np.isfinite(result).all():
            raise ProviderError("the classifier gave logits that are not finite")
        return result


def candidate_devices(device: Device) -> tuple[Device, ...]:
    """List the devices to try in turn: for ``auto`` a GPU where onnxruntime was built for one, then the CPU.

    Raises:
        ProviderError: onnxruntime is not installed, or a GPU was asked for and it was not built for one.
    """
    offered = _onnxruntime().get_available_providers()
    built_for_gpu = "CUDAExecutionProvider" in offered
    if device is Device.GPU and not built_for_gpu:
        raise ProviderError(
            f"device 'gpu' needs CUDAExecutionProvider, onnxruntime offers {offered}: {_INSTALL}"
        )
    if device is Device.AUTO:
        return (Device.GPU, Device.CPU) if built_for_gpu else (Device.CPU,)
    return (device,)


def open_session(graph: bytes, device: Device, threads: int | None) -> Session:
    """Open a session on a serialised ONNX graph.

    Args:
        graph: Content of the ``.onnx`` file.
        device: ``cpu`` or ``gpu``.
        threads: Threads of this session inside an operator; None leaves the choice to onnxruntime.

    Raises:
        ProviderError: onnxruntime is not installed or cannot offer the device.
        BundleError: The content is not a graph that onnxruntime can load.
    """
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    provider = "CUDAExecutionProvider" if device is Device.GPU else "CPUExecutionProvider"
    try:
        session = ort.InferenceSession(graph, sess_options=options, providers=[provider])
    except Exception as error:
        raise BundleError(
            f"onnxruntime cannot load the graph ({type(error).__name__}). Reinstall the bundle."
        ) from error
    if provider not in session.get_providers():
        raise ProviderError(f"onnxruntime could not start {provider}: {_INSTALL}")
    return Session(session)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(f"onnxruntime is not installed: {_INSTALL}") from error
    return onnxruntime
