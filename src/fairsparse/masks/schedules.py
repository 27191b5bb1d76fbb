"""How sparsity grows over rounds and steps, and how the exchange of weights dies down."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairsparse.core import InputError


def levels(sparsity: float, fraction: float = 0.2, explicit: Sequence[float] = ()) -> list[float]:
    """Sparsity after each round, strictly rising, the last one exactly `sparsity`, in [0, 1).

    Each round removes the `fraction` of the weights alive, unless levels are `explicit`; of these
    such as are not below `sparsity` are left out.

    >>> [round(s, 4) for s in levels(0.6, 0.3)]
    [0.3, 0.51, 0.6]
    >>> levels(0.9, explicit=(0.5, 0.75, 0.9, 0.95))
    [0.5, 0.75, 0.9]
    """
    if explicit:
        if list(explicit) != sorted(set(explicit)) or not all(0 < s < 1 for s in explicit):
            raise InputError(f"levels are {list(explicit)}; give rising sparsities in (0, 1)")
        rounds = [s for s in explicit if s < sparsity - 1e-12]
    else:
        rounds, density = [], 1 - fraction
        # a last round that removed almost nothing would be a training run for nothing
        while density * (1 - fraction / 4) > 1 - sparsity:
            rounds.append(1 - density)
            density *= 1 - fraction
    return [*rounds, sparsity] if sparsity > 0 else []


def exponential(start: float, end: float, steps: int) -> list[float]:
    """Sparsities that remove the same share of the living weights at each step (arXiv:2006.05467).

    The density after step r of n is ``(1 - start) * ((1 - end) / (1 - start))^(r / n)``; the last
    sparsity is exactly `end`.

    >>> exponential(0.0, 0.875, 3)
    [0.5, 0.75, 0.875]
    """
    ratio = (1 - end) / (1 - start)
    return [*(1 - (1 - start) * ratio ** (r / steps) for r in range(1, steps)), end]


def cubic(progress: float, final: float) -> float:
    """Gradual sparsity ``final * (1 - (1 - progress)^3)``, exact at both ends (arXiv:1710.01878).

    >>> [round(cubic(i / 5, 0.9), 3) for i in range(6)]
    [0.0, 0.439, 0.706, 0.842, 0.893, 0.9]
    """
    progress = min(max(progress, 0.0), 1.0)
    return final * (1 - (1 - progress) ** 3)


def cosine(progress: float, first: float, last: float) -> float:
    """Fall along half a cosine from `first` at progress 0 to `last` at 1, and stay there.

    >>> [round(cosine(i / 4, 0.5, 0.005), 4) for i in range(6)]
    [0.5, 0.4275, 0.2525, 0.0775, 0.005, 0.005]
    """
    progress = min(max(progress, 0.0), 1.0)
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
