"""Half precision where the machine computes in it."""

from __future__ import annotations

import torch

__all__ = ["half_precision"]


def half_precision(device: torch.device, *, wanted: bool = True) -> torch.autocast:
    """Autocast to bfloat16 on a GPU or a CPU with instructions for it.

    Elsewhere it does nothing: emulated on AVX2, a step takes minutes where float32 takes seconds.
    """
    # No public function of torch tells whether a CPU has them.
    fast = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted and fast)
