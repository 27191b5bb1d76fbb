"""The tables of an audit: measures, cells, and what can be said of each, adjusted together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from fairsparse.auditing.cells import CellTable
from fairsparse.auditing.examples import Examples, Settings
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.fairness.inference.estimates import Estimate, infer
from fairsparse.fairness.inference.family import Family, correlated
from fairsparse.fairness.inference.paired import detectable
from fairsparse.fairness.measure.counts import Array, Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.ends import Ends, ends
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.measure.outcomes import Outcomes


class Together(NamedTuple):
    """P-values (m,) of measures, and the covariance (m, m) of what they test.

    None: they are independent.
    """

    p: Array
    covariance: Array | None


@dataclass(frozen=True)
class Contrast:
    """Two models on the same examples, by the groups of one attribute or by classes alone.

    Parameters
    ----------
    counts : tuple of Counts
        Of reference and candidate.
    estimates : dict
        Of both models, their changes, and degradations, as `estimate` names them.
    p : dict
        Metric -> p-value of its change, not adjusted.
    covariance : ndarray, shape (m, m)
        Of these changes.
    ends : dict
        Estimate -> `Ends`: the cells that make it, where it is a range or an extreme.
    """

    counts: tuple[Counts, ...]
    estimates: dict[str, Estimate]
    p: dict[str, float]
    covariance: Array
    ends: dict[str, Ends]

    @classmethod
    def of(cls, outcomes: Outcomes, settings: Settings) -> Contrast:
        """Estimate and test every metric of two models."""
        inference = infer(outcomes, resamples=settings.resamples, seed=settings.seed)
        return cls(outcomes.counts, *inference, ends(outcomes, settings.least))


def overall(both: Outcomes) -> dict[str, Any]:
    """How often two models agree, by weight, and how many examples they part on."""
    (_, _, (first, second)), times = both.distinct
    size, total = len(both.class_names), times.sum()  # of weights, where there are any
    same = float(times[first == second].sum() / total)
    said = [np.bincount(codes, times, size) / total for codes in (first, second)]
    chance = float(said[0] @ said[1])
    (_, true, (first, second)), times = both.unweighted.distinct
    wrong = (first != true) & (second != true) & (first != second)
    return {
        "n": len(both.true),
        "churn": 1 - same,
        "kappa": (same - chance) / (1 - chance) if chance < 1 else math.nan,
        "lost": int(both.unweighted.pairs.lost.sum()),
        "gained": int(both.unweighted.pairs.gained.sum()),
        "both_wrong_differently": int(times[wrong].sum()),
    }


def contrasts(both: Outcomes, examples: Examples, settings: Settings) -> dict[str, Contrast]:
    """Contrasts by class and by each attribute of the outcomes of two models, by no attribute."""
    done = {CLASS: Contrast.of(both, settings)}
    for attribute, groups in examples.attributes.items():
        done[attribute] = Contrast.of(both.by(*groups), settings)
    return done


def measures(contrasts: Mapping[str, Contrast]) -> tuple[list[dict[str, Any]], list[Together]]:
    """Every measure of classes and of each attribute's groups, and how their changes vary."""
    rows: list[dict[str, Any]] = []
    blocks = []
    for attribute, contrast in contrasts.items():
        told = [
            metric
            for registry, name in ((METRICS, "change {}"), (DEGRADATIONS, "{}"))
            for metric in registry
            if name.format(metric) in contrast.estimates
            and registry[metric].told_of(groups=attribute != CLASS)
        ]
        some = [_measure(attribute, metric, contrast) for metric in told]
        places = {metric: i for i, metric in enumerate(contrast.p)}
        at = [places.get(metric, -1) for metric in told]  # a degradation has no change: the last
        padded = np.pad(contrast.covariance, (0, 1))
        blocks.append(Together(np.array([row["p"] for row in some]), padded[np.ix_(at, at)]))
        rows += some
    return rows, blocks


def _measure(attribute: str, metric: str, contrast: Contrast) -> dict[str, Any]:
    """The row of a metric: reference, candidate and change; of a degradation one number."""
    roles = {role: f"{role} {metric}" for role in ("reference", "candidate", "change")}
    if metric not in METRICS:
        roles = {"candidate": metric}
    row: dict[str, Any] = {"attribute": attribute, "measure": metric}
    for role, name in roles.items():
        one = contrast.estimates[name]
        row |= {role: one["value"], f"{role}_low": one["low"], f"{role}_high": one["high"]}
        row |= {f"{role}_{k}": v for k, v in contrast.ends.get(name, {}).items()}
    one = contrast.estimates[roles["candidate"]]
    return {**row, "floor": one["floor"], "how": one["how"], "p": contrast.p.get(metric, math.nan)}


LOST_MORE, LOST_LESS = "lost more than others", "lost less than others"
NEITHER = "served by neither"
"""No change of accuracy was found, and neither model is shown to be better there than guessing."""
FINDINGS = (
    *(LOST_MORE, LOST_LESS, "lost", "gained", NEITHER, "no worse", "data do not tell"),
    *("too few", "empty"),
)
"""What a cell's row may say, and nothing else."""
_CELLS = 0.9
"""Share of alpha that belongs to cells; the rest is for measures and calibration."""


@dataclass(frozen=True)
class Adjustment:
    """All tests of an audit, adjusted in families that share out `alpha`.

    Parameters
    ----------
    cells : list of CellTable
        Of each candidate.
    draws, column
        As `drawn_together` returns them.
    settings : Settings
    """

    cells: list[CellTable]
    draws: Array
    column: Array
    settings: Settings

    def adjust(self, others: Sequence[Together]) -> tuple[pd.DataFrame, list[Array]]:
        """Tables of all cells with what they say, and the adjusted p-values of other tests.

        Parameters
        ----------
        others : sequence of Together
            Of the changes of measures.
        """
        frames = [table.frame for table in self.cells]
        p = np.stack([[f[name].to_numpy(float) for f in frames] for name in ("p", "excess_p")])
        adjusted, z = np.full(p.shape, np.nan), np.full(p.shape, np.nan)
        left, first = self.settings.alpha, np.zeros(p.shape, bool)
        if self.settings.primary is not None:
            asked = [f["attribute"].to_numpy() == self.settings.primary for f in frames]
            first = np.broadcast_to(asked, p.shape) & ~np.isnan(p)
            left = self._first(p, first, adjusted, z)
        self._rest(p, ~first & ~np.isnan(p), _CELLS * left, adjusted, z)
        parts = [self._table(i, adjusted[:, i], z[:, i]) for i in range(len(frames))]
        return pd.concat(parts, ignore_index=True), self._measures(others, (1 - _CELLS) * left)

    def _family(self, p: Array, members: Array) -> Family:
        return Family(p[members], self.draws, self.column[members])

    def _first(self, p: Array, first: Array, adjusted: Array, z: Array) -> float:
        """Test what was asked first, at the full level; return the level that is left [1]_.

        References
        ----------
        .. [1] Dmitrienko, Tamhane and Wiens, "General multistage gatekeeping procedures", 2008.
        """
        alpha, family = self.settings.alpha, self._family(p, first)
        if len(family.tested) == 0:
            return alpha
        adjusted[first], z[first] = family.single_step(), family.quantile(alpha)
        kept = np.flatnonzero(adjusted[first] > alpha)
        if len(kept) == len(family.tested):
            return 0.0
        level = 2 * float(stats.norm.sf(z[first][0]))
        return alpha - family.chance(kept, level) if len(kept) else alpha

    def _rest(self, p: Array, rest: Array, level: float, adjusted: Array, z: Array) -> None:
        """Test the other cells at `level`, on whose scale p-values are told as if it were alpha."""
        family = self._family(p, rest)
        z[rest] = family.quantile(level)
        adjusted[rest] = _scaled(family.adjusted(), level, self.settings.alpha)

    def _table(self, candidate: int, p: Array, z: Array) -> pd.DataFrame:
        table, alpha = self.cells[candidate], self.settings.alpha
        drop, excess = table.bands(z[0], alpha, p)
        cells = table.frame.copy()
        cells["p_adjusted"], cells["excess_p_adjusted"] = p
        cells["band_low"], cells["band_high"] = drop
        cells["excess_band_low"], cells["excess_band_high"] = excess
        changed, apart = p[0] <= alpha, p[1] <= alpha
        say = [
            (cells["n"] == 0, "empty"),
            (cells["n"] < self.settings.least, "too few"),
            (apart & (cells["excess_drop"] > 0), LOST_MORE),
            (changed & (cells["drop"] < 0), "gained"),
            (~changed & _guesses(cells, alpha), NEITHER),
            (apart & (cells["excess_drop"] < 0), LOST_LESS),
            (changed & (cells["drop"] > 0), "lost"),
            (cells["band_high"] < self.settings.margin, "no worse"),
        ]
        cells["finding"] = np.select(*zip(*say, strict=True), "data do not tell")  # type: ignore[call-overload]
        pairs = table.effective.pairs
        unclear = cells["finding"] == "data do not tell"
        reach = detectable(pairs.lost + pairs.gained, pairs.n, z[0])
        cells["detectable"] = np.where(unclear, reach, np.nan)
        return cells

    def _measures(self, others: Sequence[Together], level: float) -> list[Array]:
        """Adjusted p-values of measures, one family; those of different parts as independent."""
        if not others:
            return []
        draws, column, width = [], [], 0
        for i, (values, covariance) in enumerate(others):
            if covariance is None:
                column.append(np.full(len(values), -1))
                continue
            draws.append(correlated(covariance, self.settings.seed + i))
            column.append(np.arange(width, width + len(values)))
            width += len(values)
        rows = min((len(d) for d in draws), default=1)
        together = np.concatenate([d[:rows] for d in draws], axis=1) if draws else np.empty((1, 0))
        p = np.concatenate([values for values, _ in others])
        family = Family(p, together, np.concatenate(column))
        ends = np.cumsum([len(values) for values, _ in others])
        return np.split(_scaled(family.adjusted(), level, self.settings.alpha), ends[:-1])


def _guesses(cells: pd.DataFrame, alpha: float) -> pd.Series:
    """Whether neither model is above what guessing gets right, but for sampling at `alpha`."""
    chance = cells["guessed"]
    noise = stats.norm.isf(alpha) * np.sqrt(
        chance * (1 - chance) / cells["effective_n"].clip(lower=1)
    )
    return cells[["reference", "candidate"]].max(axis=1) <= chance + noise


def _scaled(p: Array, level: float, alpha: float) -> Array:
    """Adjusted p-values of a family that has `level` of alpha, to be held against alpha."""
    return np.where(np.isnan(p), np.nan, np.minimum(1, p * alpha / level if level > 0 else 1.0))
