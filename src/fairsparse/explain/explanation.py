"""Why a pruned network differs: what is known of it, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairsparse.data.task import Transform
from fairsparse.explain.agreement import Agreement, WeightedMean
from fairsparse.explain.loss_path import Line
from fairsparse.fairness.measure.counts import Array
from fairsparse.record import Record

DENSE, RANDOM, PRUNED = "dense", "random mask", "pruned"
NETWORKS = (DENSE, RANDOM, PRUNED)
"""The dense network; its weights under a random mask of the run's sparsity, not trained; the run's
pruned network."""


@dataclass(frozen=True)
class Shown:
    """A test example that the dense network gets right and the pruned one wrong.

    ``index`` is its row in the test split, ``x`` the input as it is stored; ``group`` is None where
    the task has no groups. The maps are about the class ``target``, which the dense network
    predicts. Of each network there are the class that it predicts with its probability, and the
    ``correlation`` with the dense network's map, NaN where a map is constant.
    """

    index: int
    y: str
    group: str | None
    target: str
    predicted: Mapping[str, tuple[str, float]]
    correlation: Mapping[str, float]
    x: Any
    maps: Mapping[str, Array]


@dataclass(frozen=True)
class Explanation:
    """Heat maps of three networks, how alike they are and for whom, and the line to another run.

    ``difference`` is by how much the pruned network's maps correlate more with the dense one's than
    those under the random mask do; where both have a correlation.
    """

    run: str  # where it was read from
    record: Record
    method: str  # how the maps were made
    agreement: Agreement  # of a sample of the test split, with the dense network's maps
    difference: WeightedMean
    index: Array  # (n,), the rows of the sample in the test split
    weights: Array  # (n,), how many examples each of them stands for
    flips: int  # test examples that the dense network gets right and the pruned one wrong
    shown: Sequence[Shown]  # some of these
    transform: Transform | None  # of the test split; may know names of features, words of tokens
    seed: int
    other: str = ""  # where the run at the other end of the line was read from
    line: Line | None = None
