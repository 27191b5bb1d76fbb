"""The cells of an audit: what two models did in each, and how the cells vary together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from fairsparse.auditing.examples import Examples
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.core import UNKNOWN
from fairsparse.fairness.inference.design import Effective, Sample, effective
from fairsparse.fairness.inference.family import correlated
from fairsparse.fairness.inference.paired import (
    LEVEL,
    Bounds,
    Pairs,
    agreeing,
    excess_over,
    excess_test,
    flip_test,
    paired_drop,
    score_drop,
)
from fairsparse.fairness.measure.counts import Array, cell_names, share

LABEL = "unknown"
"""The name of the row of those whose group is not known."""
_TOGETHER = 1200  # cells whose drops are drawn with the correlation that they have


class Kind(NamedTuple):
    """Cells of one kind: every class, every group of an attribute, or every class within a group.

    ``codes`` (U,) has the cell of each unit, -1 in none.
    """

    name: str
    cells: tuple[str, ...]
    codes: Array


@dataclass(frozen=True)
class Units:
    """Distinct examples: all that are alike in class, groups, and who got them right.

    Parameters
    ----------
    kinds : list of Kind
        In the order of the report.
    times : ndarray of int, shape (U,)
        How many examples each unit stands for.
    right : ndarray of bool, shape (M, U)
        Whether reference and candidates are right.
    sample : Sample or None
        Clusters and weights of the units, where examples have any.
    """

    kinds: list[Kind]
    times: Array
    right: Array
    sample: Sample | None = None

    @classmethod
    def of(
        cls,
        examples: Examples,
        crossed: Mapping[str, tuple[Array, tuple[str, ...]]],
        right: Sequence[Array],
    ) -> Units:
        """Put examples that are alike together; `right` has (N,) of bool for each model."""
        columns = [examples.y, *(codes + 1 for codes, _ in examples.attributes.values()), *right]
        sample = examples.sample
        if sample is not None:
            columns.append(sample.cluster)
        rows, times, unit = _distinct(columns)
        groups = {name: (codes[rows], names) for name, (codes, names) in crossed.items()}
        if sample is not None:
            sums = np.bincount(unit, sample.weight, len(rows))
            sample = Sample(sample.cluster[rows], sums)
        kinds = _kinds(examples, rows, groups)
        return cls(kinds, times, np.stack([r[rows] for r in right]), sample)

    @property
    def everyone(self) -> Kind:
        """All examples as one cell."""
        return Kind("", ("all",), np.zeros(len(self.times), np.int64))

    @property
    def weight(self) -> Array:
        """How much of the population each unit stands for, (U,)."""
        return self.times if self.sample is None else self.sample.weight

    def pairs(self, kind: Kind, candidate: int, reference: int = 0) -> Pairs:
        """How many examples reference and candidate got right in the cells of a kind, (K,)."""
        before, after = self.right[reference], self.right[candidate]

        def count(chosen: Array) -> Array:
            at = (kind.codes >= 0) & chosen
            sums = np.bincount(kind.codes[at], self.times[at], len(kind.cells))
            return sums.astype(np.int64)

        either = (before & after, before & ~after, ~before & after, ~before & ~after)
        return Pairs(*map(count, either))

    def effective(self, kind: Kind, candidate: int, reference: int = 0) -> Effective:
        """The counts that intervals of a kind's cells take, and the tests of their drops, (K,)."""
        if self.sample is not None:
            right = self.right[reference], self.right[candidate]
            return effective(kind.codes, len(kind.cells), right, self.sample)
        pairs, all_ = (self.pairs(k, candidate, reference) for k in (kind, self.everyone))
        others, p = all_.minus(pairs), flip_test(pairs.lost, pairs.gained)
        return Effective(pairs, others, share(others.n, all_.n + 0 * others.n), p)

    def guessed(self, kind: Kind) -> Array:
        """What guessing among the classes gets right in the cells of a kind, (K,).

        Of a class that is rarer than others, as often as it occurs.
        """
        codes, size, weight = self.kinds[0].codes, len(self.kinds[0].cells), self.weight
        if kind.name != CLASS and not kind.name.startswith(f"{CLASS} x "):
            return np.full(len(kind.cells), 1 / size)
        common = np.bincount(codes, weight, size) / weight.sum()
        return np.repeat(np.minimum(common, 1 / size), len(kind.cells) // size)

    def covariance(self, cells: Sequence[tuple[int, Kind, Array]]) -> Array:
        """Of the drops of some cells of some candidates, in this order, (K, K).

        Parameters
        ----------
        cells : sequence of (candidate, kind, positions)
            Which cells of a kind.
        """
        columns, offset = [], 0
        rows, values = [], []
        weight = self.weight
        for candidate, kind, chosen in cells:
            lost = self.right[0].astype(np.int64) - self.right[candidate]
            place = np.full(len(kind.cells) + 1, -1)
            place[chosen] = np.arange(len(chosen))
            column = place[kind.codes]  # -1 takes the last place, which is none
            inside = np.flatnonzero(column >= 0)
            at = column[inside]
            n = np.bincount(at, weight[inside], len(chosen))
            drop = np.bincount(at, weight[inside] * lost[inside], len(chosen)) / n
            values.append((lost[inside] - drop[at]) / n[at])
            rows.append(inside)
            columns.append(at + offset)
            offset += len(chosen)
        row, value = np.concatenate(rows), np.concatenate(values)
        if self.sample is None:  # a unit is as many independent examples
            sums = value * np.sqrt(weight[row])
        else:
            row, sums = self.sample.cluster[row], value * weight[row]
        shape = (int(row.max(initial=0)) + 1, offset)
        influence = sparse.csr_array((sums, (row, np.concatenate(columns))), shape=shape)
        return (influence.T @ influence).toarray()


def _kinds(
    examples: Examples, rows: Array, groups: Mapping[str, tuple[Array, tuple[str, ...]]]
) -> list[Kind]:
    """Classes, then each attribute and crossing, whose last group is of those who have none."""
    classes, true = examples.class_names, examples.y[rows]
    kinds = [Kind(CLASS, classes, true)]
    for attribute, (codes, names) in groups.items():
        unknown = codes == UNKNOWN
        nameless = (f"{LABEL} group" if LABEL in names else LABEL,) if unknown.any() else ()
        kinds.append(Kind(attribute, (*names, *nameless), np.where(unknown, len(names), codes)))
        if attribute in examples.attributes and names:
            inner = np.where(unknown, UNKNOWN, true * len(names) + codes)
            cells = cell_names("class x group", classes, names)
            kinds.append(Kind(f"{CLASS} x {attribute}", cells, inner))
    return kinds


def _distinct(columns: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Distinct rows of columns (N,) of whole numbers from 0.

    Returns
    -------
    tuple of ndarray
        The first of each, and how many there are, (U,); which of them each row is, (N,).
    """
    code, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        width = int(column.max()) + 1
        if size * width >= 2**62:
            _, code = np.unique(code, return_inverse=True)
            size = int(code.max()) + 1
        code, size = code * width + column, size * width
    if size <= 4 * len(code):
        table = np.bincount(code, minlength=size)
        first, position = np.empty(size, np.int64), np.cumsum(table > 0) - 1
        first[code[::-1]] = np.arange(len(code) - 1, -1, -1)
        present = np.flatnonzero(table)
        return first[present], table[present], position[code]
    _, first, unit, times = np.unique(
        code, return_index=True, return_inverse=True, return_counts=True
    )
    return first, times, unit


@dataclass(frozen=True)
class CellTable:
    """All cells of one candidate: counts, rates, intervals one at a time, unadjusted p-values.

    Parameters
    ----------
    frame : DataFrame
        A row for each cell.
    effective : Effective
        The counts that its intervals take, (K,).
    """

    frame: pd.DataFrame
    effective: Effective

    @classmethod
    def of(cls, units: Units, candidate: int, least: int) -> CellTable:
        """Of every kind; cells of fewer than `least` examples are not tested."""
        each = [units.effective(kind, candidate) for kind in units.kinds]
        pairs, others = _joined([e.pairs for e in each]), _joined([e.others for e in each])
        raw = pairs
        if units.sample is not None:
            raw = _joined([units.pairs(kind, candidate) for kind in units.kinds])
        weight, p = (np.concatenate(x) for x in zip(*(e[2:] for e in each), strict=True))
        drop = agreeing(paired_drop(pairs), pairs.drop, p, 1 - LEVEL)
        excess, bounds = excess_over(pairs, others, weight)
        small = raw.n < least
        frame = pd.DataFrame(
            {
                "attribute": [kind.name for kind in units.kinds for _ in kind.cells],
                "cell": [cell for kind in units.kinds for cell in kind.cells],
                "n": raw.n,
                "effective_n": pairs.n.astype(float),
                "reference": share(pairs.both + pairs.lost, pairs.n),
                "candidate": share(pairs.both + pairs.gained, pairs.n),
                "guessed": np.concatenate([units.guessed(kind) for kind in units.kinds]),
                "drop": pairs.drop,
                "low": drop.low,
                "high": drop.high,
                "excess_drop": excess,
                "excess_low": bounds.low,
                "excess_high": bounds.high,
                "gained": raw.gained,
                "lost": raw.lost,
                "p": np.where(small, np.nan, p),
                "excess_p": np.where(small, np.nan, excess_test(pairs, others)),
            }
        )
        return cls(frame, Effective(pairs, others, weight, p))

    def bands(self, z: Array, level: float, p: Array) -> tuple[Bounds, Bounds]:
        """Intervals of drops and of excess drops, for all cells at once.

        Parameters
        ----------
        z : ndarray, shape (K,)
            Normal quantile at which each cell's hypotheses are rejected.
        level : float
            Of `p`.
        p : ndarray, shape (2, K)
            Adjusted p-values of drops and of excess drops.
        """
        pairs, others, weight, _ = self.effective
        drop = agreeing(score_drop(pairs, z), pairs.drop, p[0], level)
        excess, bounds = excess_over(pairs, others, weight, z)
        return drop, agreeing(bounds, excess, p[1], level)


def _joined(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def drawn_together(units: Units, candidates: int, tested: Array, seed: int) -> tuple[Array, Array]:
    """Draw drops and excess drops of cells from the normal law that they have together.

    Parameters
    ----------
    units : Units
    candidates : int
    tested : ndarray of bool, shape (K,)
        Which cells, in the order of all kinds.
    seed : int

    Returns
    -------
    ndarray, shape (R, 2 k)
        Standard normal draws: first of drops, then of excess drops.
    ndarray of int, shape (2, candidates, K)
        Column of each cell's drop and excess drop; -1 for those that were not drawn together,
        which are the kinds with most cells where there are too many.
    """
    ends = np.cumsum([len(kind.cells) for kind in units.kinds])
    starts = ends - [len(kind.cells) for kind in units.kinds]
    chosen = [np.flatnonzero(tested[a:b]) for a, b in zip(starts, ends, strict=True)]
    order = sorted(range(len(chosen)), key=lambda i: len(chosen[i]))
    sums = np.cumsum([candidates * len(chosen[i]) for i in order])
    fitting = sorted(i for i, total in zip(order, sums, strict=True) if total <= _TOGETHER)
    column = np.full((2, candidates, len(tested)), -1)
    cells, offset = [], 0
    places, overalls = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for candidate in range(candidates):
        cells.append((candidate + 1, units.everyone, np.zeros(1, np.int64)))
        overall, offset = offset, offset + 1
        for i in fitting:
            cells.append((candidate + 1, units.kinds[i], chosen[i]))
            places.append(np.arange(offset, offset + len(chosen[i])))
            column[0, candidate, starts[i] + chosen[i]] = places[-1]
            overalls.append(np.full(len(chosen[i]), overall))
            offset += len(chosen[i])
    mine, of_all = np.concatenate(places), np.concatenate(overalls)
    covariance = units.covariance(cells)
    drops = correlated(covariance, seed)
    variance = np.diagonal(covariance)
    deviation = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
    excess = drops[:, mine] * deviation[mine] - drops[:, of_all] * deviation[of_all]
    spread = excess.std(0)
    np.divide(excess, spread, out=excess, where=spread > 1e-9 * deviation.max(initial=0))
    inside = column[0] >= 0
    position = np.full(offset, -1)
    position[mine] = np.arange(len(mine))
    column[1][inside] = drops.shape[1] + position[column[0][inside]]
    return np.concatenate([drops, excess], axis=1), column
