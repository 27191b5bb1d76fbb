"""What models say of labelled examples, coded and checked once: all counts come from this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.inference.paired import Pairs
from fairsparse.fairness.measure.counts import Array, Codes, Counts, as_array

_MOST_DISTINCT = 2**18  # more combinations than these are reduced to what matters of them
_TABLE = 2**22  # numbers counted by table and not by sorting, where examples are as many
_Combination = tuple[Array, Array, tuple[Array, ...]]
"""Rows, true classes, and classes predicted by each model."""


def as_codes(what: str, values: Codes, n: int, names: Sequence[str], lowest: int = 0) -> Array:
    """Return `values` as int64 (N,), or raise `InputError` unless they are `n` codes of `names`."""
    codes = as_array(values)
    if codes.shape != (n,) or n == 0 or codes.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be whole numbers, one for each of the {n} examples, and at least one;"
            f" got {codes.dtype} of shape {codes.shape}"
        )
    low, high = int(codes.min()), int(codes.max())
    if low < lowest or high >= len(names):
        raise InputError(
            f"{what} go from {low} to {high}; allowed are {lowest} .. {len(names) - 1}"
            f" ({len(names)} names): check the codes against the names"
        )
    return codes.astype(np.int64, copy=False)


class Combinations(NamedTuple):
    """Distinct examples: how often each occurs, ascending, and what each adds to the counts.

    ``effect`` is a matrix (features, K). Features are n, then correct and predicted of each model,
    each flat (G', C).
    """

    times: Array
    effect: sparse.csc_array


@dataclass(frozen=True)
class Outcomes:
    """What models predicted for the same examples, which belong to the groups of one attribute.

    Whatever is counted is counted once, when it is first asked for. Codes are int64 (N,), predicted
    classes those of each model. ``row`` is that of an example in tables of ``shape`` (G', C): its
    group (one row for everyone where none is named), or the row after the named groups, if any
    group is unknown.
    """

    row: Array
    true: Array
    predicted: tuple[Array, ...]
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    shape: tuple[int, int]
    sample: Sample | None = None

    @classmethod
    def of(
        cls,
        predictions: Sequence[Codes],
        y: Codes,
        group: Codes,
        class_names: Sequence[str],
        group_names: Sequence[str] = (),
    ) -> Outcomes:
        """Check codes (N,) and put them together.

        Classes that each model predicts, and true ones, are ``0 .. C-1``; groups ``0 .. G-1``, -1
        where unknown. `InputError` without examples, for lengths that differ, and for codes
        without a name.
        """
        n = len(y)
        true = as_codes("true classes", y, n, class_names)
        codes = tuple(as_codes("predicted classes", p, n, class_names) for p in predictions)
        every = cls(0 * true, true, codes, tuple(class_names), (), (1, len(class_names)))
        return every.by(group, group_names)

    def by(self, group: Codes, group_names: Sequence[str]) -> Outcomes:
        """The same predictions by the groups of another attribute."""
        groups = len(group_names)
        row = as_codes("groups", group, len(self.true), group_names, UNKNOWN)
        if groups == 0:
            return replace(self, row=0 * row, group_names=(), shape=(1, self.shape[1]))
        unknown = row == UNKNOWN
        shape = (groups + int(unknown.any()), self.shape[1])
        row = np.where(unknown, groups, row)
        return replace(self, row=row, group_names=tuple(group_names), shape=shape)

    @cached_property
    def unweighted(self) -> Outcomes:
        """The same, counted one by one, whatever examples weigh."""
        return self if self.sample is None else replace(self, sample=None)

    @cached_property
    def distinct(self) -> tuple[_Combination, Array]:
        """Distinct combinations (row, true, predicted), each (K,), in order; and their counts."""
        classes = self.shape[1]
        dims = (*self.shape, *[classes] * len(self.predicted))
        size, most = math.prod(dims), min(_TABLE, 4 * len(self.row))
        codes = np.ravel_multi_index((self.row, self.true, *self.predicted), dims)
        weight = None if self.sample is None else self.sample.weight
        if size <= most:
            table = np.bincount(codes, weight, size)
            codes = np.flatnonzero(table)
            times = table[codes]
        else:
            codes, at, times = np.unique(codes, return_inverse=True, return_counts=True)
            times = times if weight is None else np.bincount(at, weight)
        row, true, *predicted = np.unravel_index(codes, dims)
        return (row, true, tuple(predicted)), times

    def _table(self, cell: Array, times: Array) -> Array:
        """How often each cell (G', C) occurs, from flat cells that occur `times` each."""
        sums = np.bincount(cell, weights=times, minlength=math.prod(self.shape))
        return (sums.astype(np.int64) if self.sample is None else sums).reshape(self.shape)

    @cached_property
    def counts(self) -> tuple[Counts, ...]:
        """The counts of each model, (G', C)."""
        (row, true, predicted), times = self.distinct
        first, groups = row * self.shape[1], len(self.group_names)
        n = self._table(first + true, times)
        hits = [self._table(first + true, times * (codes == true)) for codes in predicted]
        said = [self._table(first + codes, times) for codes in predicted]
        return tuple(Counts(n, *both, groups) for both in zip(hits, said, strict=True))

    @cached_property
    def pairs(self) -> Pairs:
        """How often both of two models are right, and each alone, (G', C)."""
        (row, true, (first, second)), times = self.distinct
        cell, before, after = row * self.shape[1] + true, first == true, second == true
        either = (before & after, before & ~after, ~before & after, ~before & ~after)
        return Pairs(*(self._table(cell, times * at) for at in either))

    @cached_property
    def combinations(self) -> tuple[Combinations, ...]:
        """What resampling draws: the distinct combinations, or what matters of too many."""
        if self.sample is not None:
            return (self._by_cluster(self.sample),)
        (row, true, predicted), times = self.distinct
        if len(times) > _MOST_DISTINCT:
            return self._reduced()
        order = np.argsort(times, kind="stable")
        row, true, times = row[order], true[order], times[order]
        everyone, cell = np.arange(len(times)), row * self.shape[1] + true
        entries = [(cell, everyone)]
        for codes in (p[order] for p in predicted):
            right = np.flatnonzero(codes == true)
            entries += [(cell[right], right), (row * self.shape[1] + codes, everyone)]
        return (self._combinations(entries, times),)

    def resampled(self, sums: Array) -> tuple[Counts, ...]:
        """The counts of each model from sums of features of combinations (R, features)."""
        n, *rest = np.moveaxis(sums.reshape(len(sums), -1, *self.shape), 1, 0)
        models = zip(rest[::2], rest[1::2], strict=True)
        return tuple(Counts(n, *both, len(self.group_names)) for both in models)

    def _combinations(
        self, entries: Sequence[tuple[Array, Array]], times: Array, value: Array | None = None
    ) -> Combinations:
        """With a one, or a value, at each (cell, combination) of the entries of each feature."""
        size = math.prod(self.shape)
        index = np.int32 if len(entries) * size < 2**31 else np.int64
        feature = np.concatenate(
            [(i * size + at).astype(index) for i, (at, _) in enumerate(entries)]
        )
        column = np.concatenate([at.astype(index) for _, at in entries])
        ones = np.ones(len(feature), np.int32) if value is None else value
        shape = (len(entries) * size, len(times))
        return Combinations(times, sparse.csc_array((ones, (feature, column)), shape=shape))

    def _by_cluster(self, sample: Sample) -> Combinations:
        """Each cluster as one example, with all that its examples add to the counts."""
        present, column = np.unique(sample.cluster, return_inverse=True)
        cell = self.row * self.shape[1] + self.true
        entries, weights = [(cell, column)], [sample.weight]
        for codes in self.predicted:
            right = np.flatnonzero(codes == self.true)
            entries += [(cell[right], column[right]), (self.row * self.shape[1] + codes, column)]
            weights += [sample.weight[right], sample.weight]
        once = np.ones(len(present), np.int64)
        even = bool((sample.weight == 1).all())
        return self._combinations(entries, once, None if even else np.concatenate(weights))

    def _reduced(self) -> tuple[Combinations, ...]:
        """Which models were right, by group and true class; false positives, by predicted class."""
        (row, true, predicted), times = self.distinct
        models, cells = len(predicted), math.prod(self.shape)

        def occur(cell: Array, pattern: Array, n: Array) -> Array:
            sums = np.bincount((cell << models) + pattern, weights=n, minlength=cells << models)
            return sums.astype(np.int64)

        right = sum(((p == true).astype(np.int64) << i for i, p in enumerate(predicted)), 0 * true)
        hits = occur(row * self.shape[1] + true, right, times)
        # a false positive of several models at once is one combination: they stay paired
        false = 0 * hits
        for i, codes in enumerate(predicted):
            same = np.stack([other == codes for other in predicted])
            at = (codes != true) & ~same[:i].any(0)
            pattern = sum((alike.astype(np.int64) << j for j, alike in enumerate(same)), 0 * true)
            false += occur((row * self.shape[1] + codes)[at], pattern[at], times[at])
        return self._patterns(hits, models, of_truth=True), self._patterns(false, models)

    def _patterns(self, counts: Array, models: int, of_truth: bool = False) -> Combinations:
        """Combinations of a cell and the models that said so, from their counts.

        Where the cell is that of the truth, an example adds to n and to what was correct.
        """
        code = np.flatnonzero(counts)
        code = code[np.argsort(counts[code], kind="stable")]
        every, cell = np.arange(len(code)), code >> models
        none = (cell[:0], every[:0])
        entries = [(cell, every) if of_truth else none]
        for i in range(models):
            has = np.flatnonzero(code >> i & 1)
            held = (cell[has], has)
            entries += [held if of_truth else none, held]
        return self._combinations(entries, counts[code])


@dataclass(frozen=True)
class Confusion:
    """Counts of group, true and predicted class; tables of shards add up.

    The table, int64 (G', C, C), is ``[group, true, predicted]``: the named groups (one row for
    everyone when there are none), then the unknown group if there is an ``unknown`` one.
    """

    table: Array
    class_names: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    unknown: bool = False

    @classmethod
    def count(
        cls,
        predicted: Codes,
        y: Codes,
        group: Codes,
        class_names: Sequence[str],
        group_names: Sequence[str] = (),
    ) -> Confusion:
        """Count one model's predictions; parameters and errors are those of `Outcomes.of`."""
        of = Outcomes.of([predicted], y, group, class_names, group_names)
        (rows, classes), (row, true, (codes,)) = of.shape, of.distinct[0]
        table = np.zeros((rows, classes, classes), np.int64)
        table[row, true, codes] = of.distinct[1]
        return cls(table, of.class_names, of.group_names, rows > max(1, len(of.group_names)))

    def __add__(self, other: Confusion) -> Confusion:
        names = (self.class_names, self.group_names)
        if names != (other.class_names, other.group_names):
            raise InputError(
                "confusion tables with different class or group names cannot be added:"
                f" {names} and {(other.class_names, other.group_names)}; count with the same names"
            )
        big, small = (self, other) if self.unknown else (other, self)
        table = big.table.copy()
        table[: len(small.table)] += small.table
        return Confusion(table, *names, big.unknown)

    @property
    def counts(self) -> Counts:
        """The counts that metrics take."""
        return Counts.of(self.table, len(self.group_names))
