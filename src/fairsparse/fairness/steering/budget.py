"""What pruning may cost the cells: one number from the counts of two models, and its limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.inference.intervals import percentile, resample
from fairsparse.fairness.measure.counts import Array, Counts, gap
from fairsparse.fairness.measure.outcomes import Outcomes
from fairsparse.fairness.notions import Notion
from fairsparse.registry import Registry, one_of

CONFIDENCE = 0.95
"""Of the one-sided upper bound."""

MEASURES: Registry[Callable[[Counts, Counts, Notion], Array]] = Registry(
    "budget measure", sort=False
)
"""Name -> (counts of the dense network, of the sparse one, notion) -> (...); lower is better."""


@MEASURES.register("excess-drop")
def _excess_drop(dense: Counts, sparse: Counts, notion: Notion) -> Array:
    """Largest drop in accuracy of a cell beyond the overall drop."""
    overall = dense.accuracy("all") - sparse.accuracy("all")
    return (notion.accuracy(dense) - notion.accuracy(sparse) - overall).max(-1)


@MEASURES.register("cell-drop")
def _cell_drop(dense: Counts, sparse: Counts, notion: Notion) -> Array:
    """Largest drop in accuracy of a cell."""
    return (notion.accuracy(dense) - notion.accuracy(sparse)).max(-1)


@MEASURES.register("range")
def _range(dense: Counts, sparse: Counts, notion: Notion) -> Array:
    """Range of the cells' rates, the largest one where they are compared class by class."""
    return gap(notion.statistics(sparse)).max(-1)


@MEASURES.register("variance")
def _variance(dense: Counts, sparse: Counts, notion: Notion) -> Array:
    """Variance of the cells' rates, the largest one where they are compared class by class."""
    return notion.statistics(sparse).var(-1).max(-1)


class Bounded(NamedTuple):
    """A measure on one split and its upper bound, NaN where undefined."""

    value: float
    bound: float


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Budget:
    """A limit on what pruning costs the cells."""

    limit: Annotated[
        float, Field(ge=0, description="largest value allowed; as a fraction, so 0.02 is 2 points")
    ]
    measure: Annotated[
        str,
        one_of(MEASURES),
        Field(
            description="worst cell's drop, beyond the overall drop or in all; or range or variance"
            " of the sparse network's cells"
        ),
    ] = "excess-drop"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``MEASURE=LIMIT``.

        >>> Budget.parse("range=0.1")
        Budget(limit=0.1, measure='range')
        """
        name, equals, number = text.partition("=")
        if not equals:
            raise InputError(
                f"a budget is MEASURE=LIMIT, got '{text}'; for example excess-drop=0.02"
            )
        _ = MEASURES[name]  # of an unknown name an error that offers the nearest
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise InputError(
                f"the limit of a budget is a number of at least 0, got '{number}'; as a fraction,"
                f" so {name}=0.02 allows 0.02"
            )
        return cls(limit, name)

    def of(self, dense: Counts, sparse: Counts, notion: Notion) -> Array:
        """The measure, of the shape of the counts' leading axes."""
        return MEASURES[self.measure](dense, sparse, notion)

    def keeps(self, value: float) -> bool:
        """Whether a value is within the limit; an undefined one is not.

        >>> Budget(0.1).keeps(0.9 - 0.8), Budget(0.1).keeps(math.nan)
        (True, False)
        """
        return bool(value <= self.limit + 1e-12)  # what is exactly at the limit is within

    def bounded(
        self,
        dense: Predictions,
        sparse: Predictions,
        cells: Cells,
        *,
        resamples: int = 2000,
        seed: int = 0,
    ) -> Bounded:
        """The measure of two models on the same examples, with its upper bound.

        The bound is the 95th percentile of a paired bootstrap over examples.
        """
        models = [p.logits.argmax(1) for p in (dense, sparse)]
        both = Outcomes.of(models, dense.y, dense.group, cells.class_names, cells.group_names)
        dense_counts, sparse_counts = both.counts
        chunks = resample(both, resamples=resamples, seed=seed)
        drawn = [self.of(before, after, cells.definition) for before, after in chunks]
        return Bounded(
            float(self.of(dense_counts, sparse_counts, cells.definition)),
            float(percentile(np.concatenate(drawn), high=CONFIDENCE).high),
        )
