"""How much memory is held at most: of the device, or of the process where that is the CPU."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")


def lower_peak(device: torch.device) -> None:
    """Forget what was held before, where the system can; peaks count from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        _CLEAR.write_text("5")


def peak_gib(device: torch.device) -> float | None:
    """The most that was held since `lower_peak`, GiB; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
