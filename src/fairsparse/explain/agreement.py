"""How alike the heat maps of two networks are, for whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fairsparse.auditing.examples import Examples
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.core import InputError
from fairsparse.fairness.measure.counts import Array

ALL = "all"
LEAST = 5
"""Examples that an interval needs."""
_FLAT = 1e-6
"""A map whose values differ by less than this share of the largest is constant."""
_CHUNK = 4_000_000


class WeightedMean(NamedTuple):
    """A weighted mean with its 95 % interval; NaN where there are too few examples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """Correlations of heat maps with those of a reference.

    ``examples`` has a row for each example, in order: its class ``y``, its groups, and the
    correlation of each network's map with the reference's, in a column of the network's name.
    ``cells`` has a row for each network and cell: ``n`` examples, how many of them have no
    correlation because a map is ``constant``, their mean ``correlation`` with its interval, and
    ``shift``, which is 1 less the correlation.
    """

    examples: pd.DataFrame
    cells: pd.DataFrame


def correlation(a: Array, b: Array) -> Array:
    """Pearson's correlation of maps (N, *f), example by example, (N,).

    Entries that are NaN in either map are left out. Where a map is constant there is no
    correlation, and the value is NaN.

    >>> a, b = np.array([[1.0, 2, 3], [0, 0, 0]]), np.array([[3.0, 2, 1], [1, 2, 3]])
    >>> correlation(a, b).tolist()
    [-1.0, nan]
    """
    if a.shape != b.shape:
        raise InputError(f"maps of shapes {a.shape} and {b.shape} cannot be compared")
    first, second = (np.asarray(m, float).reshape(len(m), -1) for m in (a, b))
    seen = np.isfinite(first) & np.isfinite(second)
    n = seen.sum(1)
    parts, flat = [], n < 2
    for values in (first, second):
        values = np.where(seen, values, 0)
        mean = values.sum(1) / np.maximum(n, 1)
        centred = np.where(seen, values - mean[:, None], 0)
        largest = np.abs(values).max(1, initial=0)
        flat = flat | (np.abs(centred).max(1, initial=0) <= _FLAT * largest)
        parts.append(centred)
    norms = np.sqrt((parts[0] ** 2).sum(1) * (parts[1] ** 2).sum(1))
    product = (parts[0] * parts[1]).sum(1)
    safe = np.where(flat | (norms == 0), np.nan, norms)
    return np.clip(product / safe, -1, 1)


def agreement(
    maps: Mapping[str, Array],
    y: Any,
    *,
    reference: str | None = None,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    weights: Any = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Correlate each network's heat maps with the reference's: overall, by class, by group.

    Parameters
    ----------
    maps : mapping of str to ndarray, shape (N, *f)
        As `heatmaps` returns them, of two networks or more.
    y, groups, class_names
        As for `audit`.
    reference : str, optional
        Whose maps the others are compared with; the first when absent.
    weights : array-like of float, shape (N,), optional
        How many examples each one stands for, when cells were sampled unequally.
    resamples : int
        Of the intervals, which are bootstrap-t: of those tried on skewed correlations they came
        closest to 95 %. A cell of fewer than five examples has none.
    seed : int
        Of these draws.

    Raises
    ------
    InputError
        For fewer than two networks, an unknown reference, and lengths that do not agree.

    Examples
    --------
    >>> maps = {"dense": np.eye(3), "pruned": np.eye(3)}
    >>> agreement(maps, ["a", "b", "b"]).cells[["cell", "n", "correlation"]].values.tolist()
    [['all', 3, 1.0], ['a', 1, 1.0], ['b', 2, 1.0]]
    """
    if len(maps) < 2:
        raise InputError(f"agreement takes the maps of at least two networks, got {len(maps)}")
    against = next(iter(maps)) if reference is None else reference
    if against not in maps:
        raise InputError(f"there are no maps of '{against}'; there are {', '.join(maps)}")
    examples = Examples.of(y, {}, groups, class_names).examples
    weight = _weights(weights, maps, len(examples.y))
    others = {name: those for name, those in maps.items() if name != against}
    alike = {name: correlation(maps[against], those) for name, those in others.items()}
    rng = np.random.default_rng(seed)
    rows = [
        {"network": name, "attribute": attribute, "cell": cell}
        | _row(alike[name][inside], weight[inside], resamples, rng)
        for name in alike
        for attribute, cell, inside in _cells(examples)
    ]
    return Agreement(pd.DataFrame({**_named(examples), **alike}), pd.DataFrame(rows))


def _weights(weights: Any, maps: Mapping[str, Array], n: int) -> Array:
    for name, those in maps.items():
        if len(those) != n:
            raise InputError(f"{name} has {len(those):,} maps and y {n:,} labels")
    array = np.ones(n) if weights is None else np.asarray(weights, float)
    if array.shape != (n,) or not (array > 0).all():
        raise InputError(f"weights must be {n:,} positive numbers, one for each example")
    return array


def _named(examples: Examples) -> dict[str, Array]:
    """Class and groups of each example by name, (N,)."""
    table = {"y": np.array(examples.class_names, object)[examples.y]}
    for attribute, (codes, names) in examples.attributes.items():
        table[attribute] = np.array([*names, "unknown"], object)[codes]
    return table


def _cells(examples: Examples) -> Iterator[tuple[str, str, Array]]:
    """Attribute, name and members (N,) of all examples, classes, groups, classes within groups."""
    y = examples.y
    yield ALL, ALL, np.ones(len(y), bool)
    for k, name in enumerate(examples.class_names):
        if (y == k).any():
            yield CLASS, name, y == k
    for attribute, (codes, names) in examples.attributes.items():
        for g, group in enumerate(names):
            yield attribute, group, codes == g
        for (k, name), (g, group) in product(enumerate(examples.class_names), enumerate(names)):
            inside = (y == k) & (codes == g)
            if inside.any():
                yield f"{CLASS} x {attribute}", f"{name} | {group}", inside


def _row(values: Array, weights: Array, resamples: int, rng: np.random.Generator) -> dict[str, Any]:
    defined = ~np.isnan(values)
    mean = weighted_mean(values[defined], weights[defined], resamples, rng)
    row = {"n": len(values), "constant": int((~defined).sum()), "correlation": mean.value}
    return {**row, "low": mean.low, "high": mean.high, "shift": 1 - mean.value}


def weighted_mean(
    values: Array,
    weights: Array,
    resamples: int,
    rng: np.random.Generator,
    ends: tuple[float, float] = (-1, 1),
) -> WeightedMean:
    """The mean of what a weighted sample (N,) stands for, with a 95 % bootstrap-t interval.

    Intervals are cut to the `ends` of what the mean can be.
    """
    n = len(values)
    if n == 0:
        return WeightedMean(np.nan, np.nan, np.nan)
    value, error = (float(v[0]) for v in _moments(values[None], weights[None]))
    if n < LEAST:
        return WeightedMean(value, np.nan, np.nan)
    if error == 0:
        return WeightedMean(value, value, value)
    parts, size = [], max(1, _CHUNK // n)
    for start in range(0, resamples, size):
        drawn = rng.integers(0, n, (min(size, resamples - start), n))
        parts.append(_moments(values[drawn], weights[drawn]))
    mean, spread = map(np.concatenate, zip(*parts, strict=True))
    usable = spread > 0
    if not usable.any():
        return WeightedMean(value, np.nan, np.nan)
    low, high = np.quantile((mean[usable] - value) / spread[usable], [0.025, 0.975])
    bounds = np.clip([value - high * error, value - low * error], *ends)
    return WeightedMean(value, *bounds.tolist())


def _moments(values: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and its standard error, of each row."""
    n, total = values.shape[1], weights.sum(1)
    mean = (weights * values).sum(1) / total
    squares = ((weights * (values - mean[:, None])) ** 2).sum(1)
    return mean, np.sqrt(squares * n / max(n - 1, 1)) / total


def stratified(strata: Array, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw `size` examples, equally many of each stratum (N,) and all of those that are smaller.

    Returned are the chosen examples (n,) in ascending order, all of them when there are at most
    `size`; and how many examples each of them stands for, (n,).

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
