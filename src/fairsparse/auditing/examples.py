"""What an audit is of: labelled examples with the groups that people belong to."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from fairsparse.auditing.inputs.classes import Classes, of_positive, spelling
from fairsparse.auditing.inputs.clusters import sampled
from fairsparse.auditing.inputs.groups import check_bins, groups_of
from fairsparse.auditing.inputs.labels import (
    CLASS,
    PLAIN,
    Notation,
    aligned,
    attributes,
    column,
    complete,
    scores,
    text,
)
from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.measure.counts import Array
from fairsparse.registry import listing, nearest


@dataclass(frozen=True)
class Settings:
    """What an audit was asked for."""

    margin: float = 0.01  # a cell is "no worse" where its drop is shown to be below this
    depth: int = 2  # of how many sensitive attributes at most groups are crossed
    least: int = 30  # cells with fewer examples are shown and not tested
    resamples: int = 2000  # of intervals that are drawn
    seed: int = 0  # of these draws
    alpha: float = 0.05  # of adjusted p-values
    primary: str | None = None  # the attribute, crossing or 'class' that is tested first

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings by name; `InputError` for one that there is not."""
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                raise InputError(
                    f"there is no option '{name}'{nearest(name, names)}; there are:"
                    f" {listing(names, len(names))}"
                )
        return cls(**given)

    def __post_init__(self) -> None:
        for name in ("margin", "alpha", "depth", "least", "resamples", "seed"):
            value, whole = getattr(self, name), name not in ("margin", "alpha")
            kind = numbers.Integral if whole else numbers.Real
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InputError(f"{name} must be a {'whole ' * whole}number; got {value!r}")
        for name, fits, allowed in (
            ("margin", 0 < self.margin < 1, "above 0 and below 1"),
            ("depth", self.depth >= 1, "at least 1"),
            ("least", self.least >= 1, "at least 1"),
            ("resamples", self.resamples >= 1, "at least 1"),
            ("seed", self.seed >= 0, "at least 0"),
            ("alpha", 0 < self.alpha < 1, "above 0 and below 1"),
        ):
            if not fits:
                raise InputError(f"{name} must be {allowed}; got {getattr(self, name)}")


@dataclass(frozen=True)
class Examples:
    """Labelled examples with the groups that people belong to.

    True classes are int64 (N,); of each attribute there are its groups as codes (N,), -1 where
    unknown, and their names; ``sample`` has clusters and weights, where there are any.
    """

    y: Array
    class_names: tuple[str, ...]
    attributes: dict[str, tuple[Array, tuple[str, ...]]] = field(default_factory=dict)
    sample: Sample | None = None
    notes: tuple[str, ...] = ()  # of how they were read

    def __post_init__(self) -> None:
        crossings = {f"{a} x {b}" for a, b in itertools.permutations(self.attributes, 2)}
        for name in self.attributes:
            if name == CLASS or name.startswith(f"{CLASS} x ") or name in crossings:
                raise InputError(f"an attribute cannot be called '{name}'; rename it")

    @classmethod
    def of(
        cls,
        y: Any,
        outputs: Mapping[str, Any],
        groups: Any,
        class_names: Sequence[Any] | None,
        every: bool = False,
        notation: Notation = PLAIN,
        **sampling: Any,
    ) -> Given:
        """Read people's own arrays, and what models predict for them.

        The parameters are those of `audit`; `outputs` are predicted classes (N,) or scores (N, C)
        by the model's name, and with `every` any model may predict a class that neither `y` nor
        ``reference`` has. `sampling` has ``cluster`` and ``weights``.
        """
        missing = notation.missing
        labels = {"y": complete("y", column("y", y, missing))}
        n = len(labels["y"].codes)
        columns = attributes(groups, n)
        named = {f"groups '{k}'": v for k, v in columns.items()}
        sampling = {k: v for k, v in sampling.items() if v is not None}
        values = aligned({"y": y, **outputs, **named, **sampling})
        sure: dict[str, Array] = {}
        for name in outputs:
            scored = scores(name, values[name], class_names)
            said, probability = scored or (column(name, values[name], missing), None)
            labels[name] = complete(name, said)
            if probability is not None:
                sure[name] = probability
            if len(said.codes) != n:
                raise InputError(
                    f"{name} has {len(said.codes):,} predictions and y {n:,} labels; give one for"
                    " each example, in the same order"
                )
        names = None if class_names is None else [text(name) for name in class_names]
        words = [word for coded in labels.values() for word in coded.names]
        spelled = spelling([*words, *(names or ())])
        labels = {name: coded.spelled(spelled) for name, coded in labels.items()}
        names = names and [spelled.get(name, name) for name in names]
        classes = Classes.of(labels, {}, names, notation, every)
        coded, notes = _groups({k: values[f"groups '{k}'"] for k in columns}, notation)
        codes = {name: column.recoded(classes.names) for name, column in labels.items()}
        told = (*notes, *classes.notes)
        sample = sampled(values.get("cluster"), values.get("weights"), n)
        return Given(cls(codes.pop("y"), classes.names, coded, sample, told), codes, sure)

    @property
    def told(self) -> tuple[str, ...]:
        """How they were read, and of two classes that groups are compared by, the positive one."""
        compared = len(self.class_names) == 2 and self.attributes
        return (*self.notes, of_positive(self.class_names)) if compared else self.notes

    def crossed(self, depth: int) -> dict[str, tuple[Array, tuple[str, ...]]]:
        """Every attribute, and every crossing of up to `depth` of them.

        A crossed group is known where all of its parts are; those without examples are left out.
        """
        crossings: dict[str, tuple[Array, tuple[str, ...]]] = {}
        for size in range(1, min(depth, len(self.attributes)) + 1):
            for chosen in itertools.combinations(self.attributes, size):
                parts = [self.attributes[name] for name in chosen]
                crossings[" x ".join(chosen)] = parts[0] if size == 1 else _cross(parts)
        return crossings


_THEIRS = {"y_true": "y", "y_pred": "candidate", "sensitive_features": "groups"}


def in_our_words(ours: dict[str, Any], options: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """Models by name, true classes and groups, from the arguments of `audit`.

    Takes scikit-learn's and fairlearn's words for them out of `options`. `InputError` for what is
    given twice or not at all, and for a candidate that is called like something else.
    """
    for theirs, name in _THEIRS.items():
        if theirs in options:
            if ours[name] is not None:
                raise InputError(f"{name} and {theirs} are one argument; give one of them")
            ours[name] = options.pop(theirs)
    several = ours["candidate"]
    several = dict(several) if isinstance(several, Mapping) else {"candidate": several}
    if ours["reference"] is None:
        ours["reference"] = several.pop("reference", None)
    needed = {"reference": ours["reference"], "y": ours["y"], **several}
    lacking = [name for name, value in needed.items() if value is None]
    if lacking or not several:
        raise InputError(
            f"there is no {listing(lacking or ['candidate'])}; give audit(reference, candidate, y),"
            " or y_true= and y_pred={'reference': ..., 'candidate': ...}"
        )
    for name in ("reference", "y"):
        if name in several:
            raise InputError(f"a candidate cannot be called '{name}'; rename it")
    return {"reference": ours["reference"], **several}, ours["y"], ours["groups"]


class Given(NamedTuple):
    """What arrays say: examples, and by model the codes (N,) and, where known, the confidence."""

    examples: Examples
    codes: dict[str, Array]
    confidence: dict[str, Array]


def _groups(
    values: Mapping[str, Any], notation: Notation
) -> tuple[dict[str, tuple[Array, tuple[str, ...]]], list[str]]:
    """Codes and names of each attribute's groups, and what has to be told of them."""
    coded: dict[str, tuple[Array, tuple[str, ...]]] = {}
    notes: list[str] = []
    for name, given in values.items():
        labels = column(f"groups '{name}'", given, notation.missing)
        groups, told = groups_of(name, labels, notation)
        coded[name] = (groups.codes.astype(np.int64), groups.names)
        notes += told
    check_bins(notation, list(coded))
    return coded, notes


def _cross(parts: Sequence[tuple[Array, tuple[str, ...]]]) -> tuple[Array, tuple[str, ...]]:
    dims = tuple(len(names) for _, names in parts)
    inside = np.logical_and.reduce([codes >= 0 for codes, _ in parts])
    if not inside.any():
        return np.full(len(inside), UNKNOWN), ()
    cell = np.ravel_multi_index([codes[inside] for codes, _ in parts], dims)
    present, position = np.unique(cell, return_inverse=True)
    codes = np.full(len(inside), UNKNOWN)
    codes[inside] = position
    at = np.unravel_index(present, dims)
    names = (
        " | ".join(part[1][i] for part, i in zip(parts, row, strict=True))
        for row in zip(*at, strict=True)
    )
    return codes, tuple(names)
