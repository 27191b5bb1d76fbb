"""What measurements share: processes of their own, peak memory, versions, simulated predictions."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def alone(function: Callable[..., T], *args: Any) -> T:
    """What a function returns in a process of its own, whose peak memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_gib(who: int = resource.RUSAGE_SELF) -> float:
    """Peak resident memory of this process, or of its children."""
    return round(resource.getrusage(who).ru_maxrss / 2**20, 2)


def versions(*packages: str) -> dict[str, str]:
    """Versions of packages and of Python."""
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def simulate(n: int, classes: int, groups: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return reference (80 % right) and candidate (fewer), true classes and groups, each (n,)."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, classes, n), rng.integers(0, groups, n)

    def predict(base: np.ndarray, changed: float) -> np.ndarray:
        return np.where(rng.random(n) < changed, rng.integers(0, classes, n), base)

    reference = predict(y, 0.2)
    return reference, predict(reference, 0.05), y, group
