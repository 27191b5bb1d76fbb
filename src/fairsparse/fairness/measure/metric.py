"""What a metric is: a number from counts, and all that is said of it anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Literal, NamedTuple, ParamSpec, TypeAlias

import numpy as np

from fairsparse.fairness.inference import multiplicity
from fairsparse.fairness.inference.paired import Bounds
from fairsparse.fairness.measure.counts import Array, Counts, Kind
from fairsparse.registry import Registry

P = ParamSpec("P")
Function: TypeAlias = Callable[..., Array]


class Unit(NamedTuple):
    """How values are printed."""

    value: str  # the unit of values, empty for plain numbers
    change: str  # that of their differences
    scale: float  # what values are multiplied by
    digits: int  # after the point
    narrow: float  # what they are multiplied by where there is room for one digit after the point


PERCENT = Unit("%", "points", 100, 2, 100)
"""Of rates and of their ranges."""
POINTS = Unit("points", "points", 100, 2, 100)
"""Of what rates lost."""
FRACTION = Unit("", "", 1, 5, 1e4)
"""Of variances of rates; five decimals show four digits of the usual ones."""
RATIO = Unit("", "", 1, 3, 1)
"""Of other plain numbers."""


@dataclass(frozen=True)
class Score:
    """Wilson's, of a change Newcombe's for the same examples.

    Of everyone's accuracy, whose change has McNemar's exact test.
    """


@dataclass(frozen=True)
class Corrected:
    """Bootstrap of the corrected variance, which has no bias.

    Of two metrics, by name: the variance in the data, and that without what sampling adds.
    """

    plain: str
    corrected: str


@dataclass(frozen=True)
class Rates:
    """BCa where it stands out from sampling, else all cells at once.

    Of rates, as hits and examples, each (..., F, K): the largest range over K of the families F;
    the smallest of all; or the largest mean of two families' ranges, the first half of the families
    paired with the second.
    """

    counts: Callable[[Counts], tuple[Array, Array]]
    reduce: Literal["range", "smallest", "mean range"] = "range"

    def bounds(self, hits: Array, n: Array) -> Bounds:
        """Interval of the range (F, K), for all cells at once."""
        if self.reduce == "mean range":
            return multiplicity.mean_range(hits, n)
        return multiplicity.rate_range(hits, n)

    def floor(self, hits: Array, n: Array) -> float:
        """The range that sampling alone is expected to make."""
        if self.reduce == "mean range":
            half, rate = len(hits) // 2, hits.sum(-1) / np.maximum(n.sum(-1), 1)
            spread = rate * (1 - rate) * (1 / np.maximum(n, 1)).sum(-1)
            most = (spread[:half] + spread[half:]).argmax()  # where sampling makes most of it
            pair = (multiplicity.floor(hits[[f]], n[[f]]) for f in (most, half + most))
            return sum(pair) / 2
        return multiplicity.floor(hits, n)


@dataclass(frozen=True)
class Together:
    """All cells, or all pairs of cells, at once.

    Of a degradation, from `Pairs` (G', C) of what two models did, and the number of known groups.
    """

    bounds: Callable[..., Bounds]


@dataclass(frozen=True)
class Bootstrap:
    """BCa of a paired bootstrap, which suits what is smooth in the rates."""


@dataclass(frozen=True)
class Unbounded:
    """None that covers: it is above zero by sampling alone, and by how much is not known."""


@dataclass(frozen=True)
class Metric:
    """A number computed from counts, and all that is said of it anywhere.

    Parameters
    ----------
    function : callable
        `Counts` (for a degradation: of reference and candidate) -> (...). Its docstring is one
        sentence for people, and a formula where one helps.
    name, label : str
        In records, files and rules; in reports.
    cells : str
        Kind of the cells it is a property of.
    least : int
        How many examples each of the cells must hold.
    without_groups : {"absent", "by class", "repeated"}
        What becomes of a metric of groups where there are no two: there is none, classes stand in,
        or they do and reports leave it out, for another metric says the same.
    listed : sequence of {"sweep", "controls"}
        Tables of chosen metrics that it is in: of many runs, and of corrections after training.
    column : str
        Its title in the narrow table that studies end with; empty where it is not in it.
    """

    function: Function
    name: str
    label: str
    better: Literal["higher", "lower"]
    cells: Kind
    interval: Score | Corrected | Rates | Together | Bootstrap | Unbounded = Bootstrap()
    unit: Unit = PERCENT
    least: int = 1
    without_groups: Literal["absent", "by class", "repeated"] = "absent"
    listed: Sequence[Literal["sweep", "controls"]] = ("sweep",)
    column: str = ""

    @property
    def summary(self) -> str:
        """One sentence for people."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())

    @property
    def facts(self) -> str:
        """Label, unit, and which way is better, on one line."""
        unit = f"in {self.unit.value}" if self.unit.value else "a plain number"
        return f"{self.label}, {unit}; {self.better} is better"

    @property
    def of_groups(self) -> bool:
        """Whether it compares groups, and not classes."""
        return self.cells not in ("all", "class")

    @property
    def needs_groups(self) -> bool:
        """Whether it exists only where there are two named groups."""
        return self.of_groups and self.without_groups == "absent"

    @property
    def of_inequality(self) -> bool:
        """Whether texts count it as a measure of inequality; corrected forms are not counted."""
        corrected = isinstance(self.interval, Corrected) and self.name != self.interval.plain
        return self.cells != "all" and not corrected

    def told_of(self, groups: bool) -> bool:
        """Whether reports tell it of the groups of an attribute, or else of classes."""
        return self.of_groups == groups or (not groups and self.without_groups == "by class")


def declaring(
    registry: Registry[Metric], make: Callable[Concatenate[Function, P], Metric]
) -> Callable[P, Callable[[Function], Function]]:
    """Return a decorator, with the parameters of `Metric`, that adds functions to a registry."""

    def declare(*args: P.args, **kwargs: P.kwargs) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            one = make(function, *args, **kwargs)
            registry.register(one.name)(one)
            return function

        return add

    return declare


def exists(metric: Metric, counts: Counts) -> bool:
    """Whether a metric exists for these counts."""
    return counts.groups >= 2 or not metric.needs_groups


def evaluate(registry: Registry[Metric], *counts: Counts) -> dict[str, Array]:
    """Compute every metric that exists for these counts: name -> (...)."""
    return {
        name: registry[name].function(*counts)
        for name in registry
        if exists(registry[name], counts[0])
    }
