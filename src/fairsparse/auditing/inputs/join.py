"""An audit of files: their rows matched, their labels and scores checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairsparse.auditing import ledger as ledgers
from fairsparse.auditing.basis import allowed
from fairsparse.auditing.engine import Audit, audit_codes
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.inputs.columns import Columns, read
from fairsparse.auditing.inputs.contents import Coded, Contents
from fairsparse.auditing.inputs.examples_of import ModelInputs, read_any
from fairsparse.auditing.inputs.labels import TOLERANCE, sorted_names, text
from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.measure.counts import Array
from fairsparse.registry import listing


@dataclass(frozen=True)
class Joined:
    """Models on the same examples, by name."""

    examples: Examples
    predicted: dict[str, Array]  # int64 (N,)
    confidence: dict[str, Array]  # float32 (N,), in what they predict, of those models that tell
    rows: Array  # int64 (N,), where in the inputs, else in the first file, each example is
    ids: Any  # a pandas Index, or None
    notes: tuple[str, ...]  # what did not match, and how files were read
    unmatched: int  # examples that some files have and others lack
    labelled: Contents  # the file that the true classes are from

    @property
    def labels(self) -> list[str]:
        """What each example is called: its id, or else its row."""
        if self.ids is not None:
            return [str(i) for i in self.ids]
        return [f"row {i + 1}" for i in self.rows]

    @property
    def test_set(self) -> str:
        """Fingerprint of the ids and true classes of all rows that have any, matched or not."""
        truth = self.labelled.truth
        assert truth is not None
        return ledgers.fingerprint(self.labelled.ids, {"y": (truth.codes, truth.names)})


def audit_files(
    reference: str,
    candidates: Mapping[str, str],
    groups: str | None = None,
    *,
    settings: Settings | None = None,
    allow_unmatched: int | float | None = None,
    ledger: Path | None = None,
    **reading: Any,
) -> Audit:
    """Audit files of predictions, runs and models, which are read and refused as by `join`.

    Parameters
    ----------
    candidates : mapping of str to str
        Name -> file.
    allow_unmatched : int or float, optional
        How many examples may be missing from some of the files, or which share of all; beyond it
        the audit is refused. By default it is made, and refused by a gate.
    ledger : Path, optional
        File in which audits of a test set are counted, each tested at less than the one before.
    """
    joined = join({"reference": reference, **candidates}, groups, **reading)
    predicted, settings = dict(joined.predicted), settings or Settings()
    most = allowed(joined.unmatched, len(joined.rows), allow_unmatched)
    notes, audits = joined.notes, None
    if ledger:
        asked = ledgers.question(joined.ids, joined.examples, predicted, settings)
        settings, audits = ledgers.spend(ledger, joined.test_set, asked, [*candidates], settings)
        notes = (ledgers.note(audits, settings.alpha), *notes)
    first = predicted.pop("reference")
    audited = audit_codes(first, predicted, joined.examples, settings, notes, joined.confidence)
    basis = replace(audited.basis, unmatched=joined.unmatched, allowed=most, audits=audits)
    return replace(audited, basis=basis)


def join(
    paths: Mapping[str, str],
    groups: str | None = None,
    *,
    attributes: Sequence[str] = (),
    columns: Columns | None = None,
    class_names: Sequence[str] | None = None,
    renormalise: bool = False,
    inputs: ModelInputs | None = None,
) -> Joined:
    """Read what models predict for the same examples; rows are joined by id, or in order.

    Parameters
    ----------
    paths : mapping of str to str
        Name -> file or run directory, as `read` takes it, or model, as `Network` does.
    groups : str, optional
        A file with the groups of the examples: every column but id, or those of `attributes`.
    attributes : sequence of str
        Columns that hold groups: of `groups` if given, else of `inputs`, else of the first file.
    class_names : sequence of str, optional
        All classes, where files may lack some.
    renormalise : bool
        Take scores that do not sum to 1; which is the largest does not depend on it.
    inputs : ModelInputs, optional
        What models are run on.

    Raises
    ------
    InputError
        When a file cannot be used, labels disagree, or nothing matches.
    """
    columns = columns or Columns()
    notes: list[str] = []
    sources: dict[str, Contents] = {}
    for name, path in paths.items():
        mine = attributes if not (sources or groups or inputs) else ()
        sources[name] = read_any(path, columns, mine, inputs, class_names, notes)
    several = list(sources.values())
    place = inputs.about if inputs else several[0]
    about = read(groups, columns, attributes or None) if groups else place
    everyone = list({id(s): s for s in (*several, about, place)}.values())
    rows = _join(several, everyone, notes)
    y = _truth(everyone, rows, columns)
    for source in several:
        _check_scores(source, renormalise)
    predicted = {name: _predictions(s, columns, rows[id(s)]) for name, s in sources.items()}
    names = _classes([y, *predicted.values()], several, class_names)
    sure = {name: _confidence(s, rows[id(s)]) for name, s in sources.items()}
    belong = {k: (_at(c, rows[id(about)]), c.names) for k, c in about.attributes.items()}
    return Joined(
        Examples(y.recoded(names), names, belong),
        {name: column.recoded(names) for name, column in predicted.items()},
        {name: c for name, c in sure.items() if c is not None},
        rows[id(place)],
        None if several[0].ids is None else several[0].ids[rows[id(several[0])]],
        tuple(notes),
        _unmatched(everyone, rows),
        next(s for s in everyone if s.truth is not None),
    )


def _join(
    sources: Sequence[Contents], everyone: Sequence[Contents], notes: list[str]
) -> dict[int, Array]:
    """Rows of each source, in one order, -1 where groups have none; told is what did not match."""
    first = sources[0]
    same = {id(s): np.arange(first.n) for s in everyone}
    with_ids = [s for s in everyone if s.ids is not None]
    if len(with_ids) < len(everyone):
        sizes = {s.path: s.n for s in everyone}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{path} {n:,}" for path, n in sizes.items())
            raise InputError(
                "without an id column in every file rows are matched by their order, and these"
                f" differ in length: {listed}; give each file an id column"
            )
        if len(with_ids) > 1:
            raise InputError(
                "some files have an id column and some have none; give it to all or to none"
            )
        notes.append("Rows were matched by their order, as files have no ids.")
        return same
    if all(s.n == first.n and s.ids.equals(first.ids) for s in everyone):
        return same
    common = first.ids
    for source in sources[1:]:
        common = common[source.ids.get_indexer(common) >= 0]
    joined = {id(s): s.ids.get_indexer(common) for s in everyone}
    for source in everyone:
        matched = int((joined[id(source)] >= 0).sum())
        if matched == 0:
            mine, theirs = ([str(i) for i in s.ids[:3]] for s in (first, source))
            raise InputError(
                f"no id of {source.path} is in all other files: it has {listing(theirs)}, and"
                f" {first.path} has {listing(mine)}"
            )
        if source.n > matched:
            notes.append(
                f"{source.n - matched:,} of {source.n:,} rows of {source.path} have no match."
            )
        if matched < len(common):
            notes.append(
                f"{len(common) - matched:,} examples are not in {source.path}: their groups are"
                " unknown."
            )
    return joined


def _unmatched(everyone: Sequence[Contents], rows: Mapping[int, Array]) -> int:
    """How many examples some files have and are compared in none."""
    left: set[Any] = set()
    for source in everyone:
        at = rows[id(source)]
        if source.ids is not None and (at >= 0).sum() < source.n:
            left.update(source.ids.delete(at[at >= 0]))
    return len(left)


def _truth(everyone: Sequence[Contents], rows: Mapping[int, Array], columns: Columns) -> Coded:
    """The true classes, on which all that have any agree."""
    sources = [s for s in everyone if s.truth is not None]
    if not sources:
        raise InputError(
            f"no file has the true classes (column '{columns.truth}'); name it with --truth"
        )
    first, *others = sources
    y = _labels(first.truth, rows[id(first)], f"{first.path}: {columns.truth}")
    for source in others:
        at = rows[id(source)]
        here = np.flatnonzero(at >= 0)  # a file of groups may lack some
        theirs = _labels(source.truth, at[here], source.path)
        differ = np.flatnonzero(theirs.recoded(y.names) != y.codes[here])
        if len(differ):
            one, two = y.codes[here[differ[0]]], theirs.codes[differ[0]]
            raise InputError(
                f"true classes differ in {len(differ):,} of {len(here):,} matched rows: the first"
                f" is '{y.names[one]}' in {first.path} and '{theirs.names[two]}' in"
                f" {source.path}; check the ids, or the order of the rows"
            )
    return y


def _at(column: Coded, rows: Array) -> Array:
    """Codes (N,) of a column at rows, -1 where there is none."""
    return np.where(rows >= 0, column.codes[rows], UNKNOWN).astype(np.int64)


def _labels(column: Coded | None, rows: Array, what: str) -> Coded:
    assert column is not None
    codes = _at(column, rows)
    missing = int((codes < 0).sum())
    if missing:
        raise InputError(f"{what} is empty in {missing:,} of {len(codes):,} rows; leave them out")
    return Coded(codes, column.names)


def _check_scores(source: Contents, renormalise: bool) -> None:
    if source.scores is None:
        return
    total = source.scores.total
    strange = np.flatnonzero(np.isnan(total))
    if len(strange):
        raise InputError(
            f"{source.path}: scores are not a number in {len(strange):,} rows, first in row"
            f" {strange[0] + 1}; leave those rows out"
        )
    off = np.flatnonzero(np.abs(total - 1) > TOLERANCE)
    if source.prediction is None and not renormalise and len(off):
        raise InputError(
            f"{source.path}: scores do not sum to 1 in {len(off):,} rows, first in row"
            f" {off[0] + 1} ({total[off[0]]:.4g}); give probabilities, or --renormalise"
        )


def _predictions(source: Contents, columns: Columns, rows: Array) -> Coded:
    if source.prediction is not None:
        return _labels(source.prediction, rows, f"{source.path}: {columns.prediction}")
    if source.scores is None:
        raise InputError(
            f"{source.path}: has neither a column '{columns.prediction}' nor columns that begin"
            f" with '{columns.score}'; name them with --prediction or --score"
        )
    return Coded(source.scores.largest[rows], source.classes)


def _confidence(source: Contents, rows: Array) -> Array | None:
    """The probability of what is predicted, (N,); None where a source has no probabilities."""
    if source.scores is None or np.isnan(source.scores.confidence).any():
        return None  # with predictions beside them, scores may be anything
    return np.asarray(source.scores.confidence[rows])


def _classes(
    columns: Sequence[Coded], sources: Sequence[Contents], class_names: Sequence[str] | None
) -> tuple[str, ...]:
    y, first = columns[:2]
    scored = [s for s in sources if s.scores is not None and s.prediction is None]
    for other in scored[1:]:
        if set(other.classes) != set(scored[0].classes):
            odd = sorted(set(other.classes) ^ set(scored[0].classes))
            raise InputError(
                f"{scored[0].path} and {other.path} have scores of different classes:"
                f" {listing(odd, 5)} in one alone"
            )
    if class_names is not None:
        names = tuple(text(c) for c in class_names)
    elif scored:
        names = scored[0].classes
    else:
        names = sorted_names({*_used(y), *_used(first)})
    for source, column in zip([None, *sources], columns, strict=True):
        strange = [n for n in _used(column) if n not in names]
        if strange:
            where = "the true classes" if source is None else source.path
            others = "--classes does" if class_names else "the others do"
            raise InputError(
                f"{where}: has classes that {others} not have: {listing(strange, 5)}; known:"
                f" {listing(names, 8)}; give all with --classes"
            )
    return names


def _used(column: Coded) -> list[str]:
    return [column.names[i] for i in np.unique(column.codes)]
