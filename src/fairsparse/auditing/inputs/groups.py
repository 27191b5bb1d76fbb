"""The groups of an attribute: which columns are groups, and numbers in ranges where asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairsparse.auditing.inputs.labels import Coded, Notation
from fairsparse.core import MANY_VALUES, NOTHING, UNKNOWN, InputError, tells_apart
from fairsparse.registry import listing, nearest


def groups_of(
    name: str, column: Coded, notation: Notation, named: bool = True, key: str = ""
) -> tuple[Coded, tuple[str, ...]]:
    """The groups that a column holds, in order, and what has to be told of them.

    Parameters
    ----------
    name : str
        Of the attribute.
    column : Coded
    notation : Notation
        With the number of ranges in ``bins``, where numbers are to be put into some.
    named : bool
        Whether the column was asked for by name.
    key : str
        What messages advise where the column tells rows apart.

    Raises
    ------
    InputError
        For a column with about as many values as rows, many numbers in a column that nobody named,
        and ranges of what are no numbers. No value is repeated: they may be of persons.
    """
    if name in notation.bins:
        return _in_ranges(name, column, notation.bins[name]), ()
    values, rows = len(column.names), int((column.codes >= 0).sum())
    numbers = _numbers(column.names)
    bins = f"--bins {name}=4 (bins={{'{name}': 4}}) puts numbers into ranges"
    if tells_apart(values, rows):
        raise InputError(
            f"column '{name}' has {values:,} values in {rows:,} rows and is no group of people;"
            f" leave it out (--group names the columns to take){key}"
            + (f"; {bins}" if numbers is not None else "")
        )
    notes = []
    if values > MANY_VALUES and numbers is not None:
        if not named:
            raise InputError(
                f"column '{name}' holds {values:,} different numbers; {bins}, --group {name} takes"
                " each for a group"
            )
        notes.append(f"Each of the {values:,} numbers of {name} is a group; {bins}.")
    nothing = sorted(word for word in column.names if word.casefold() in NOTHING)
    if nothing:
        notes.append(
            f"Words that are groups of {name}: {listing(nothing)}. --missing (missing=) lists those"
            " that stand for nothing."
        )
    return column.in_order(), tuple(notes)


def check_bins(notation: Notation, names: Sequence[str]) -> None:
    """Raise `InputError` where ranges are asked of a column that is none of these attributes."""
    for name in notation.bins:
        if name not in names:
            raise InputError(
                f"bins: there is no attribute '{name}'{nearest(name, names)}; there are:"
                f" {listing(names) or 'none'}"
            )


def _numbers(names: Sequence[str]) -> list[float] | None:
    """What names of numbers are; None where one is none."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _in_ranges(name: str, column: Coded, k: int) -> Coded:
    """Numbers in `k` ranges of about as many examples each, fewer where values tie."""
    numbers = np.array(_numbers(column.names) or [])
    if not len(numbers):
        raise InputError(
            f"column '{name}' holds other than numbers and cannot be put into {k} ranges; list"
            " words that stand for nothing with --missing"
        )
    known = column.codes >= 0
    shares = np.arange(1, k) / k
    edges = np.unique(np.quantile(numbers[column.codes[known]], shares, method="inverted_cdf"))
    bins = np.searchsorted(edges, numbers)  # a value that is an edge belongs below it
    used, place = np.unique(bins, return_inverse=True)
    ends = [(numbers[bins == i].argmin(), numbers[bins == i].argmax()) for i in used]
    words = [np.array(column.names, object)[bins == i] for i in used]
    labels = [
        w[low] if low == high else f"{w[low]} to {w[high]}"
        for w, (low, high) in zip(words, ends, strict=True)
    ]
    codes = np.append(place, UNKNOWN)[column.codes]
    return Coded(codes.astype(np.int32), tuple(labels))
