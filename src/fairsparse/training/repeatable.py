"""What makes a run repeatable: copies of its states, and seeds for each purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""Name -> parameter or buffer, on the CPU."""


def derive(seed: int, *parts: object) -> int:
    """A seed for one purpose, independent of every other purpose's.

    >>> derive(0, "order", 1) == derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    text = repr((seed, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "little")


def between(a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: float) -> State:
    """The state at `share` of the straight line from `a`, at 0, to `b`, at 1.

    What is no floating point number, such as a count of batches, is that of `a` before the end.
    """
    last = b if share == 1 else a
    return {
        name: t.lerp(b[name].to(t.device), share) if t.is_floating_point() else last[name]
        for name, t in a.items()
    }


def state_of(model: nn.Module) -> State:
    """Copy of the model's parameters and buffers."""
    return {
        name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, t in model.state_dict().items()
    }
