"""What an audit is of: labelled examples with the groups that people belong to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing.inputs.labels import (
    CLASS,
    attributes,
    column,
    encode,
    group_codes,
    predicted,
)
from fairsparse.core import UNKNOWN, InputError
from fairsparse.fairness.inference.design import Sample
from fairsparse.fairness.measure.counts import Array, as_array


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

    def __post_init__(self) -> None:
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
    ) -> tuple[Examples, dict[str, Array]]:
        """Read people's own arrays, and what models predict for them as codes (N,).

        The parameters are those of `audit`; `outputs` are predicted classes (N,) or scores (N, C)
        by the model's name, and with `every` any model may predict a class that neither `y` nor
        ``reference`` has.
        """
        true = column("y", y)
        arrays = {name: predicted(name, value, class_names) for name, value in outputs.items()}
        for name, array in arrays.items():
            if len(array) != len(true):
                raise InputError(
                    f"{name} has {len(array):,} predictions and y {len(true):,} labels; give one"
                    " for each example, in the same order"
                )
        names, codes = encode({"y": true, **arrays}, class_names, every)
        coded = {k: group_codes(v) for k, v in attributes(groups, len(true)).items()}
        return cls(codes.pop("y"), names, coded), codes

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


def sampled(cluster: Any, weights: Any, n: int) -> Sample | None:
    """How n examples were sampled, from their clusters (N,) and weights (N,), if there are any."""
    if cluster is None and weights is None:
        return None
    codes, weight = np.arange(n), np.ones(n)
    if cluster is not None:
        codes, names = pd.factorize(np.asarray(cluster, dtype=object), use_na_sentinel=True)
        if len(codes) != n or (codes < 0).any():
            raise InputError(
                f"cluster must name one for each of the {n:,} examples; got {len(codes):,}, of"
                f" which {int((codes < 0).sum()):,} are missing; an example on its own is a cluster"
            )
        if len(names) < 2:
            raise InputError(f"cluster: all examples are in '{names[0]}'; give the column of units")
    if weights is not None:
        try:
            weight = np.asarray(as_array(weights), float)
        except (TypeError, ValueError):
            raise InputError("weights must be numbers, one for each example") from None
        if weight.shape != (n,) or not (np.isfinite(weight) & (weight > 0)).all():
            wrong = "" if weight.shape != (n,) else f", of which {weight.min():g} is the least"
            raise InputError(
                f"weights must be finite numbers above 0, one for each of the {n:,} examples; got"
                f" {weight.shape}{wrong}; leave out examples that are not to count"
            )
    return Sample(codes.astype(np.int64), weight)


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
