"""Samples of a test split in which small cells are not lost."""

from __future__ import annotations

import numpy as np

from fairsparse.fairness.measure.counts import Array


def stratified(strata: Array, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw `size` examples, equally many of each stratum and all of those that are smaller.

    Parameters
    ----------
    strata : ndarray of int, shape (N,)
    size : int
    rng : Generator

    Returns
    -------
    ndarray of int64, shape (n,)
        Chosen examples in ascending order; all of them when there are at most `size`.
    ndarray of float, shape (n,)
        How many examples each of them stands for.

    >>> index, weights = stratified(np.array([0] * 8 + [1] * 2), 6, np.random.default_rng(0))
    >>> len(index), np.unique(weights).tolist()
    (6, [1.0, 2.0])
    """
    names, position, counts = np.unique(strata, return_inverse=True, return_counts=True)
    taken = np.zeros(len(names), np.int64)
    left = min(size, len(strata))
    while left:
        open_ = np.flatnonzero(taken < counts)
        part = left // len(open_)
        if part == 0:  # fewer than one for each: some get one, by chance
            taken[rng.permutation(open_)[:left]] += 1
            break
        more = np.minimum(part, counts[open_] - taken[open_])
        taken[open_] += more
        left -= int(more.sum())
    chosen = [rng.permutation(np.flatnonzero(position == k))[: taken[k]] for k in range(len(names))]
    index = np.sort(np.concatenate(chosen)).astype(np.int64)
    weights = counts / np.maximum(taken, 1)
    return index, weights[position[index]]
