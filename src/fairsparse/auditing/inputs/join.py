"""An audit of files: their rows matched, their labels and scores checked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairsparse.auditing import ledger as ledgers
from fairsparse.auditing.basis import allowed
from fairsparse.auditing.engine import Audit, audit_codes
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.inputs.classes import Classes, spelling
from fairsparse.auditing.inputs.clusters import sampled, suspicion
from fairsparse.auditing.inputs.columns import Columns, key_of, read
from fairsparse.auditing.inputs.contents import Contents
from fairsparse.auditing.inputs.examples_of import ModelInputs, read_any
from fairsparse.auditing.inputs.groups import check_bins
from fairsparse.auditing.inputs.labels import TOLERANCE, Coded, text
from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.inference.design import Sample
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
    place = inputs.about if inputs else next(iter(sources.values()))
    about = read(groups, columns, attributes or None) if groups else place
    check_bins(columns.notation, list(about.attributes))
    return _joined(sources, about, place, columns, class_names, renormalise, notes)


def _joined(
    sources: dict[str, Contents],
    about: Contents,
    place: Contents,
    columns: Columns,
    class_names: Sequence[str] | None,
    renormalise: bool,
    notes: list[str],
) -> Joined:
    """Join models by name, what has the groups, and what has the rows of examples."""
    given = None if class_names is None else [text(name) for name in class_names]
    spelled = spelling([*_words([*sources.values(), about, place]), *(given or ())])
    sources = {name: _spelled(source, spelled) for name, source in sources.items()}
    about, place = _spelled(about, spelled), _spelled(place, spelled)
    several = list(sources.values())
    everyone = list({s.path: s for s in (*several, about, place)}.values())
    rows = _join(several, everyone, columns, notes)
    y = _truth(everyone, rows, columns)
    for source in several:
        _check_scores(source, renormalise)
    predicted = {name: _predictions(s, columns, rows[s.path]) for name, s in sources.items()}
    classes = Classes.of(
        {"y": y, **predicted},
        {"y": f"column '{columns.truth}'", **{name: s.path for name, s in sources.items()}},
        [spelled.get(name, name) for name in given] if given else _scored(several),
        columns.notation,
        default=next((s.positive for s in everyone if s.positive), None),
    )
    sure = {name: _confidence(s, rows[s.path]) for name, s in sources.items()}
    belong = {k: (_at(c, rows[about.path]), c.names) for k, c in about.attributes.items()}
    told = [note for source in everyone for note in source.notes]
    ids = None if several[0].ids is None else several[0].ids[rows[several[0].path]]
    sample = _sample(everyone, rows, columns, len(y.codes))
    if sample is None and ids is not None and (line := suspicion(ids)):
        told.append(line)
    return Joined(
        Examples(y.recoded(classes.names), classes.names, belong, sample),
        {name: column.recoded(classes.names) for name, column in predicted.items()},
        {name: c for name, c in sure.items() if c is not None},
        rows[place.path],
        ids,
        (*notes, *told, *classes.notes),
        _unmatched(everyone, rows),
        next(s for s in everyone if s.truth is not None),
    )


def _sample(
    everyone: Sequence[Contents], rows: Mapping[str, Array], columns: Columns, n: int
) -> Sample | None:
    """Clusters and weights from the first file that has them."""
    values: list[Array | None] = []
    for option, name in (("cluster", columns.cluster), ("weights", columns.weights)):
        source = next((s for s in everyone if name in s.sampling), None)
        if name is not None and source is None:
            paths = listing([s.path for s in everyone])
            raise InputError(f"--{option} {name}: no file has that column; files: {paths}")
        if name is None or source is None:
            values.append(None)
            continue
        coded = source.sampling[name]
        texts = np.array([*coded.names, None], dtype=object)
        values.append(texts[_at(coded, rows[source.path])])  # -1 is the last: None
    cluster, weights = values
    return sampled(cluster, weights, n)


def _words(sources: Iterable[Contents]) -> Iterator[str]:
    """All names of classes in files."""
    for source in sources:
        for column in (source.truth, source.prediction):
            yield from column.names if column else ()
        yield from source.classes


def _spelled(source: Contents, spelled: Mapping[str, str]) -> Contents:
    truth, said = (c and c.spelled(spelled) for c in (source.truth, source.prediction))
    classes = tuple(spelled.get(name, name) for name in source.classes)
    return replace(source, truth=truth, prediction=said, classes=classes)


def _join(
    sources: Sequence[Contents], everyone: Sequence[Contents], columns: Columns, notes: list[str]
) -> dict[str, Array]:
    """Rows of each source, in one order, -1 where groups have none; told is what did not match."""
    first = sources[0]
    same = {s.path: np.arange(first.n) for s in everyone}
    with_ids = [s for s in everyone if s.ids is not None]
    if len(with_ids) < len(everyone):
        if not with_ids:
            _check_order(everyone, columns)
        sizes = {s.path: s.n for s in everyone}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{path} {n:,}" for path, n in sizes.items())
            raise InputError(
                "without an id column in every file rows are matched by their order, and these"
                f" differ in length: {listed}; give each file an id column"
            )
        if with_ids:
            raise InputError(
                "some files have an id column and some have none; give it to all or to none"
            )
        notes.append("Rows were matched by their order, as files have no ids.")
        return same
    if all(s.n == first.n and s.ids.equals(first.ids) for s in everyone):
        return same
    if len({s.ids.dtype for s in everyone}) > 1:  # numbers in one file and texts in another
        ids = {s.path: s.ids.astype(str) for s in everyone}
    else:
        ids = {s.path: s.ids for s in everyone}
    common = ids[first.path]
    for source in sources:
        at = ids[source.path].get_indexer(common) >= 0
        if not at.any():
            raise _nothing(source, first, everyone)
        common = common[at]
    joined = {s.path: ids[s.path].get_indexer(common) for s in everyone}
    for source in everyone:
        matched = int((joined[source.path] >= 0).sum())
        if matched == 0:
            raise _nothing(source, first, everyone)
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


def _unmatched(everyone: Sequence[Contents], rows: Mapping[str, Array]) -> int:
    """How many examples some files have and are compared in none."""
    left: set[Any] = set()
    for source in everyone:
        at = rows[source.path]
        if source.ids is not None and (at >= 0).sum() < source.n:
            left.update(source.ids.delete(at[at >= 0]))
    return len(left)


def _nothing(source: Contents, first: Contents, everyone: Sequence[Contents]) -> InputError:
    mine, theirs = ([str(i) for i in s.ids[:3]] for s in (first, source))
    others = "all other files" if len(everyone) > 2 else first.path
    return InputError(
        f"no id of {source.path} is in {others}: it has {listing(theirs)}, and"
        f" {first.path} has {listing(mine)}; name the column of ids with --id"
    )


def _check_order(everyone: Sequence[Contents], columns: Columns) -> None:
    """Stop where rows would be matched by order, and a column that files share says otherwise.

    That is one which tells the rows of each of two files apart, with values that most of both have,
    in another order.
    """
    shared = Counter(name for source in everyone for name in source.others)
    for name in (name for name, times in shared.items() if times > 1):
        keys = {s.path: key_of(s.path, name, columns) for s in everyone if name in s.others}
        found = [(path, key) for path, key in keys.items() if key is not None]
        for (path, first), (other, key) in itertools.pairwise(found):
            one, two = first.astype(str), key.astype(str)
            if not one.equals(two) and 2 * one.isin(two).sum() > min(len(one), len(two)):
                raise InputError(
                    f"no file has the column '{columns.id}', and rows of {path} and {other} are"
                    f" not in one order: '{name}' differs; match rows by it with --id {name}"
                )


def _truth(everyone: Sequence[Contents], rows: Mapping[str, Array], columns: Columns) -> Coded:
    """The true classes, on which all that have any agree."""
    sources = [s for s in everyone if s.truth is not None]
    if not sources:
        raise InputError(
            f"no file has the true classes (column '{columns.truth}'); name it with --truth"
        )
    first, *others = sources
    y = _labels(first.truth, rows[first.path], f"{first.path}: {columns.truth}")
    for source in others:
        at = rows[source.path]
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


def _scored(sources: Sequence[Contents]) -> tuple[str, ...] | None:
    """The classes that scores are of; None where there are none."""
    scored = [s for s in sources if s.scores is not None and s.prediction is None]
    for other in scored[1:]:
        if set(other.classes) != set(scored[0].classes):
            odd = sorted(set(other.classes) ^ set(scored[0].classes))
            raise InputError(
                f"{scored[0].path} and {other.path} have scores of different classes:"
                f" {listing(odd, 5)} in one alone"
            )
    return scored[0].classes if scored else None
