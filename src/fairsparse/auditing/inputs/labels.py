"""The notation of labels: one place says which spellings are the same class, group or nothing.

Arrays, CSV, Parquet, NPZ and run directories all come through here, so that the same labels are the
same classes and groups whatever holds them; what does not fit is refused by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.measure.counts import Array, as_array
from fairsparse.registry import listing

CLASS = "class"
"""The attribute of the true class, beside the sensitive ones."""
TOLERANCE = 1e-3
"""How far the probabilities of an example may sum from 1."""
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_DIGITS = 28  # of numbers that are compared exactly; longer ones are text


@dataclass(frozen=True)
class Notation:
    """How labels are meant.

    Parameters
    ----------
    missing : sequence of str
        Words that stand for nothing, besides an empty field.
    positive : str, optional
        The positive class, of two; by default the last in order.
    bins : mapping of str to int
        Attribute of numbers -> in how many ranges of about equal size they are put.
    """

    missing: Sequence[str] = ()
    positive: Any = None
    bins: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.missing, str) or not all(isinstance(w, str) for w in self.missing):
            raise InputError(f"missing must be a list of words; got {self.missing!r}")
        if not isinstance(self.bins, Mapping):
            raise InputError(f"bins must name columns, as {{'age': 4}}; got {self.bins!r}")
        for name, k in self.bins.items():
            if not isinstance(k, int) or isinstance(k, bool) or k < 2:
                raise InputError(f"bins of '{name}' must be a whole number from 2; got {k!r}")

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Notation:
        """Take its fields out of options by name."""
        return cls(**{f.name: options.pop(f.name) for f in fields(cls) if f.name in options})

    @property
    def told(self) -> list[str]:
        """What reports say of it."""
        words = listing(self.missing)
        return [f"Read as missing, besides empty fields: {words}."] if self.missing else []


PLAIN = Notation()
"""Only what is empty is missing, and the last class is the positive one."""


@dataclass(frozen=True)
class Coded:
    """A column of labels: codes (N,), -1 where there is none, and what they stand for."""

    codes: Array
    names: tuple[str, ...]

    def in_order(self) -> Coded:
        """The same with its names in order."""
        names = sorted_names(self.names)
        return Coded(self.recoded(names).astype(np.int32), names)

    def recoded(self, names: Sequence[str]) -> Array:
        """Codes (N,) of these `names`, int64; -1 for others."""
        return _recode(self.codes, self.names, names)

    def spelled(self, spelling: Mapping[str, str]) -> Coded:
        """The same with some names in another spelling."""
        names = [spelling.get(name, name) for name in self.names]
        merged = tuple(dict.fromkeys(names))
        return Coded(_recode(self.codes, names, merged).astype(np.int32), merged)

    @property
    def used(self) -> list[str]:
        """Names that occur."""
        return [self.names[i] for i in np.unique(self.codes) if i >= 0]


class Coding:
    """Gives labels codes in the order in which they come; `missing` words are none."""

    def __init__(self, missing: Iterable[str] = ()) -> None:
        self._position: dict[str, int] = {}
        self._nothing = {"", *map(text, missing)}

    def table(self, labels: Iterable[Any]) -> Array:
        """Code of each label, int32 (K + 1,), -1 for none; the last is of no label."""
        words = (text(label) for label in labels)
        codes = [
            UNKNOWN
            if word in self._nothing
            else self._position.setdefault(word, len(self._position))
            for word in words
        ]
        return np.array([*codes, UNKNOWN], np.int32)

    @property
    def names(self) -> tuple[str, ...]:
        """What the codes stand for."""
        return tuple(self._position)


def text(value: Any) -> str:
    """A label as text, without space around it; "" where there is none.

    Numbers that are equal are the same label, and 007 is none: it is text. Bytes have to be UTF-8.

    >>> [text(v) for v in (1, np.float32(1), "1.0", b"1", " +1", "007", True, None, float("nan"))]
    ['1', '1', '1', '1', '1', '007', 'True', '', '']
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise InputError("labels of bytes must be UTF-8 text; decode them first") from None
    if value is None or value is pd.NA or value != value:
        return ""
    word = unicodedata.normalize("NFC", str(value)).strip()
    if len(word) <= _DIGITS and _NUMBER.fullmatch(word):
        number = Decimal(word).normalize()
        return f"{number:f}" if number else "0"
    return word


def native(what: str, array: Array) -> Array:
    """An array with numbers as this machine has them; `InputError` for those that are no labels."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biufSUOMm" or (kind == "f" and size > 8):
        raise InputError(
            f"{what} is of {array.dtype}; numbers of at most 64 bits, texts and true or false are"
            " read: convert it"
        )
    if kind == "f" and size == 2:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def array_of(what: str, values: Any) -> Any:
    """Values as an array, or as pandas holds them, in which what is missing stays missing."""
    if isinstance(values, (pd.Series, pd.Index)) and isinstance(values.dtype, np.dtype):
        values = values.to_numpy()
    if isinstance(values, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return values
    if isinstance(values, np.ma.MaskedArray):
        given = values.data.astype(object)
        given[np.ma.getmaskarray(values)] = None
        return given
    if isinstance(values, Tensor) and values.is_floating_point():
        values = values.double()
    try:
        array = as_array(values)
    except ValueError:
        raise InputError(f"{what} has rows of different lengths; give one for each") from None
    if array.ndim == 1 and not hasattr(values, "dtype"):  # a list: NaN would become 'nan' in it
        array = np.fromiter(values, object, len(array)) if array.dtype.kind in "SU" else array
    return native(what, array)


def column(what: str, values: Any, missing: Iterable[str] = ()) -> Coded:
    """Labels (N,), one for each example; `InputError` for other shapes and kinds."""
    array = array_of(what, values)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{what} must be one value for each example; got shape {array.shape}")
    try:
        codes, labels = pd.factorize(array)
    except TypeError:
        raise InputError(f"{what} holds lists or other objects; give a number or text") from None
    coding = Coding(missing)
    return Coded(coding.table(labels)[codes], coding.names)


def complete(what: str, labels: Coded) -> Coded:
    """The labels, of which none may be missing."""
    lacking = int((labels.codes < 0).sum())
    if lacking:
        raise InputError(
            f"{what} lacks {lacking:,} of {len(labels.codes):,} values; leave those rows out"
        )
    return labels


def aligned(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, those of pandas in the order of the first one's index.

    Arrays have no index and stay in their order. `InputError` where indices are not of the same
    examples.
    """
    indexed = {k: v for k, v in values.items() if isinstance(v, (pd.Series, pd.DataFrame))}
    done = dict(values)
    for name, value in indexed.items():
        first = next(iter(indexed))
        base, index = indexed[first].index, value.index
        if index.equals(base) or len(index) != len(base):  # lengths are compared elsewhere
            continue
        at = base.get_indexer(index) if base.is_unique and index.is_unique else np.array([-1])
        if (at < 0).any():
            raise InputError(
                f"the index of {name} is not that of {first}; give both the same one, or none with"
                " .to_numpy() where rows are in the same order"
            )
        done[name] = value.iloc[np.argsort(at)]
    return done


def scores(
    what: str, values: Any, class_names: Sequence[Any] | None
) -> tuple[Coded, Array | None] | None:
    """What scores (N, C) predict, and how surely where they are probabilities; None for labels."""
    if isinstance(values, pd.DataFrame):
        values = _in_order_of(what, values, class_names)
    array = array_of(what, values)
    if array.ndim != 2:
        return None
    if class_names is None or array.shape[1] != len(class_names):
        count = "none" if class_names is None else str(len(class_names))
        raise InputError(
            f"{what} holds scores of {array.shape[1]} classes and class_names names {count};"
            " give one name for each column"
        )
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} holds scores of {array.dtype}; give numbers")
    missing = int(np.isnan(array).any(1).sum())
    if missing:
        raise InputError(f"{what} has scores that are not a number in {missing:,} rows")
    names = tuple(text(name) for name in class_names)
    return Coded(array.argmax(1).astype(np.int32), names), confidence(array)


def _in_order_of(what: str, frame: pd.DataFrame, class_names: Sequence[Any] | None) -> Array:
    """Scores of a table, with a column for each class by name, or in order where they have none."""
    columns = [text(name) for name in frame.columns]
    wanted = [text(name) for name in class_names or ()]
    if isinstance(frame.columns, pd.RangeIndex) and set(columns) != set(wanted):
        return frame.to_numpy()
    if sorted(columns) != sorted(wanted):
        raise InputError(
            f"{what} has columns of scores {listing(columns, 5)} and classes are"
            f" {listing(wanted, 5)}; name its columns like the classes, or give .to_numpy()"
        )
    return frame.iloc[:, [columns.index(name) for name in wanted]].to_numpy()


def confidence(values: Any) -> Array | None:
    """What probabilities (N, C) give to the class that they are largest for; None for others.

    >>> confidence([[0.25, 0.75]]), confidence([[1.0, 2.0]]), confidence(["a", "b"])
    (array([0.75]), None, None)
    """
    array = as_array(values)
    if array.ndim != 2 or array.min() < 0 or np.abs(array.sum(1) - 1).max() > TOLERANCE:
        return None
    largest: Array = array.max(1)
    return largest


def sorted_names(names: Any) -> tuple[str, ...]:
    """Names in numerical order where all are numbers, else in that of the alphabet."""
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def attributes(groups: Any, n: int) -> dict[str, Any]:
    """What was given as groups by attribute, each of `n` values."""
    if groups is None:
        return {}
    several = isinstance(groups, (Mapping, pd.DataFrame))
    columns = {str(k): v for k, v in groups.items()} if several else {"group": groups}
    if several and len(columns) < len(groups.keys()):
        raise InputError("groups have a name twice; rename one")
    for name, values in columns.items():
        if not hasattr(values, "__len__") or isinstance(values, str):
            raise InputError(f"groups '{name}' must be one value for each of {n:,} examples")
        if len(values) != n:
            raise InputError(f"groups '{name}' has {len(values):,} values for {n:,} examples")
    return columns


def _recode(codes: Array, labels: Sequence[str], names: Sequence[str]) -> Array:
    """Codes of `labels`, -1 where unknown, as codes of `names`; -1 where the label is none."""
    position = {name: i for i, name in enumerate(names)}
    table = np.array([*(position.get(label, UNKNOWN) for label in labels), UNKNOWN], np.int64)
    turned: Array = table[codes]
    return turned
