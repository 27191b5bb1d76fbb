"""A ledger of audits of each test set: what is asked again and again is tested at less each time.

The k-th audit of one test set is tested at ``6 / (pi k)^2`` of the level: however many there are,
false findings in any of them are as rare together as in a single audit without a ledger [1]_.

References
----------
.. [1] Foster and Stine, "Alpha-investing", 2008, of spending a level over hypotheses in a sequence.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fairsparse.auditing.examples import Examples, Settings
from fairsparse.checkpoint import write_json
from fairsparse.core import InputError
from fairsparse.fairness.measure.counts import Array

FORMAT = "fairsparse-ledger/1"
_PATIENCE = 60  # seconds that another process may hold the ledger


class Spent(TypedDict):
    """One audit of a test set."""

    digest: str  # of what was asked
    day: str
    candidates: list[str]
    alpha: float  # at which it was tested


class Book(TypedDict):
    """The audits of each test set, by its fingerprint, in their order."""

    format: str
    test_sets: dict[str, list[Spent]]


_ADAPTER: TypeAdapter[Book] = TypeAdapter(Book)


def level(alpha: float, k: int) -> float:
    """The level of the k-th audit of a test set; over all k they sum to alpha.

    >>> round(level(0.05, 1), 4), round(level(0.05, 2), 4)
    (0.0304, 0.0076)
    """
    return alpha * 6 / (math.pi * k) ** 2


def fingerprint(ids: pd.Index | None, columns: Mapping[str, tuple[Array, Sequence[str]]]) -> str:
    """SHA-256 of labelled rows in whatever order; of their order where they have no ids.

    Parameters
    ----------
    ids : Index or None
        Of N rows.
    columns : mapping
        Name -> codes (N,), -1 where there is none, and what they stand for.
    """
    size = len(next(iter(columns.values()))[0]) if columns else 0
    parts = [pd.Categorical.from_codes(codes, names) for codes, names in columns.values()]
    rows_of = np.arange(size) if ids is None else np.asarray(ids)
    frame = pd.DataFrame(dict(enumerate([rows_of, *parts])))
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy(np.uint64)
    return hashlib.sha256(np.sort(rows).astype("<u8").tobytes()).hexdigest()


def question(
    ids: pd.Index | None, examples: Examples, predicted: Mapping[str, Array], settings: Settings
) -> str:
    """SHA-256 of what an audit asks: whose predictions, of which groups, by which tests.

    Names of candidates, their order and that of rows make no difference; nor do the margin and the
    number of draws. Clusters and weights do: they are other tests.
    """
    groups = dict(sorted(examples.attributes.items()))
    each = {
        name: fingerprint(ids, {"predicted": (codes, examples.class_names)})
        for name, codes in predicted.items()
    }
    reference = each.pop("reference")
    asked = {k: v for k, v in asdict(settings).items() if k not in ("margin", "resamples")}
    parts = [reference, sorted(each.values()), list(groups), fingerprint(ids, groups), asked]
    if examples.sample is not None:
        cluster, weight = examples.sample
        rows = pd.Series(np.arange(len(weight)) if ids is None else np.asarray(ids))
        first = rows.groupby(cluster).transform("min")  # a cluster by its rows, not by its name
        values = {"cluster": pd.factorize(first), "weight": pd.factorize(weight)}
        parts.append(fingerprint(ids, {k: (codes, list(v)) for k, (codes, v) in values.items()}))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def spend(
    path: Path, test_set: str, asked: str, candidates: Sequence[str], settings: Settings
) -> tuple[Settings, int]:
    """Enter an audit into the ledger, before anything of it is known.

    Parameters
    ----------
    path : Path
        The ledger, which is made where there is none; it is locked meanwhile and written whole.
    test_set, asked : str
        The `fingerprint` of ids and true classes, and the `question`; what was asked before has
        its place already, and costs nothing.

    Returns
    -------
    Settings
        With the level that is left to it.
    int
        Which audit of this test set it is, from 1.

    Raises
    ------
    InputError
        Where the ledger is damaged, or held by another process for a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=_PATIENCE):
            book = _read(path)
            entries = book["test_sets"].setdefault(test_set, [])
            places = [entry["digest"] for entry in entries]
            k = places.index(asked) + 1 if asked in places else len(entries) + 1
            alpha = level(settings.alpha, k)
            if k > len(entries):
                today = datetime.date.today().isoformat()
                entries.append(
                    Spent(digest=asked, day=today, candidates=list(candidates), alpha=alpha)
                )
                write_json(path, book)
    except Timeout:
        raise InputError(
            f"{path}: another process has held it for {_PATIENCE} seconds; try again"
        ) from None
    return replace(settings, alpha=alpha), k


def _read(path: Path) -> Book:
    if not path.exists():
        return Book(format=FORMAT, test_sets={})
    try:
        book = _ADAPTER.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError, RecursionError):
        book = Book(format="another", test_sets={})
    if book["format"] != FORMAT:
        raise InputError(
            f"{path}: not a ledger of format {FORMAT}, or damaged; restore it, or name another"
        )
    return book


def note(k: int, alpha: float) -> str:
    """What a report says of the k-th audit of a test set, which is tested at alpha."""
    if k == 1:
        return (
            "By the ledger this is the first audit of this test set: it is tested at"
            f" {100 * alpha:.2g} %, so that something is left for later ones."
        )
    return (
        f"By the ledger this test set was audited before: this is audit {k} of it, and tested at"
        f" {100 * alpha:.2g} %, so that false findings stay as rare over all of them. A fresh test"
        " set would find more."
    )
