"""Many tests as one family: adjusted p-values, and intervals for all that agree with them.

Each hypothesis has a p-value that is valid by itself, exact where cells are small. What many of
them do together is read from a normal law with the correlation of their estimates: the adjusted
p-value is the chance that any of those not rejected yet would be as small (step-down max-T [1]_).
Correlated hypotheses, such as a drop and an excess drop of the same cell, so cost little more than
one. Where a correlation is not known, hypotheses are taken for independent; that is never too
optimistic, because normal estimates lie in a symmetric box at least as often as independent ones
would [2]_. No number of draws bounds how small an adjusted p-value can be: it is never above
Bonferroni's.

References
----------
.. [1] Westfall and Young, "Resampling-based multiple testing", 1993.
.. [2] Royen, "A simple proof of the Gaussian correlation conjecture", 2014, arXiv:1408.1028.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from fairsparse.fairness.measure.counts import Array

_DRAWS = 20_000
_LEAST_DRAWS = 2_000
_HELD = 2**24  # numbers drawn at once: 64 MB


def correlated(covariance: Array, seed: int) -> Array:
    """Draw from the normal law with the correlations of a covariance (K, K): (R, K).

    What does not vary has a column of its own, independent of the others.
    """
    size = len(covariance)
    rng = np.random.default_rng(seed)
    deviation = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    fixed = ~(deviation > 1e-12 * max(1e-300, deviation.max(initial=0.0)))
    scale = np.where(fixed, 1.0, deviation)
    correlation = np.where(
        fixed[:, None] | fixed, np.eye(size), covariance / np.outer(scale, scale)
    )
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    draws = int(np.clip(_HELD // max(size, 1), _LEAST_DRAWS, _DRAWS))
    return rng.standard_normal((draws, size), np.float32) @ root.T


@dataclass(frozen=True)
class Family:
    """Hypotheses that are tested together.

    Parameters
    ----------
    p : ndarray, shape (m,)
        Two-sided p-values; NaN for what is not tested, which is none of the family.
    draws : ndarray, shape (R, k)
        Of the normal law that k of the hypotheses have together where all of them hold.
    column : ndarray of int, shape (m,)
        Column of each hypothesis there; -1 for one that is independent of all others.
    """

    p: Array
    draws: Array
    column: Array

    @classmethod
    def independent(cls, p: Array) -> Family:
        """A family whose correlations are not known."""
        return cls(p, np.empty((1, 0), np.float32), np.full(len(p), -1))

    @property
    def tested(self) -> Array:
        """Positions of the hypotheses that are tested, the smallest p-value first."""
        tested = np.flatnonzero(~np.isnan(self.p))
        return tested[np.argsort(self.p[tested], kind="stable")]

    def chance(self, among: Array, p: float) -> float:
        """Chance that the smallest p-value `among` these positions is at most `p`, if all hold."""
        drawn, alone = self._highest(among)
        return _chance(drawn, alone, (p, float(stats.norm.isf(p / 2))), len(among))

    def _highest(self, among: Array) -> tuple[Array, int]:
        """Largest of the draws (R,) of these positions, and how many of them have none."""
        column = self.column[among]
        drawn = np.abs(self.draws[:, column[column >= 0]]).max(1, initial=0.0)
        return drawn, int((column < 0).sum())

    def adjusted(self) -> Array:
        """Adjusted p-values (m,): any false finding below a level has at most that chance."""
        order = self.tested
        result = np.full(len(self.p), np.nan)
        highest = np.zeros(len(self.draws), np.float32)
        p, z = self.p[order], stats.norm.isf(self.p[order] / 2)
        alone, stepwise = 0, np.empty(len(order))
        for i in range(len(order) - 1, -1, -1):  # those rejected later are in each step's family
            column = self.column[order[i]]
            if column < 0:
                alone += 1
            else:
                np.maximum(highest, np.abs(self.draws[:, column]), out=highest)
            stepwise[i] = _chance(highest, alone, (p[i], z[i]), len(order) - i)
        result[order] = np.maximum.accumulate(stepwise)
        return result

    def single_step(self) -> Array:
        """As `adjusted`, each against the whole family: what simultaneous intervals say."""
        order = self.tested
        drawn, alone = self._highest(order)
        result = np.full(len(self.p), np.nan)
        each = zip(self.p[order], stats.norm.isf(self.p[order] / 2), strict=True)
        result[order] = [_chance(drawn, alone, one, len(order)) for one in each]
        return result

    def quantile(self, level: float) -> float:
        """Normal quantile of intervals that miss any of the true values at most at `level`.

        NaN where nothing is tested, or no level is left to test it at.
        """
        order = self.tested
        if len(order) == 0 or level <= 0:
            return float("nan")
        drawn, alone = self._highest(order)

        def beyond(z: float) -> float:
            return _chance(drawn, alone, (2 * float(stats.norm.sf(z)), z), len(order)) - level

        upper = float(stats.norm.isf(level / 2 / len(order)))
        lower = float(stats.norm.isf(level / 2))
        # draws of few hypotheses may miss the level by chance: it is never less than of one alone
        return float(optimize.bisect(beyond, lower, upper + 1e-9)) if beyond(lower) > 0 else lower


def _chance(drawn: Array, alone: int, at: tuple[float, float], size: int) -> float:
    """Chance that any of `size` is at most p: of `drawn` maxima, and of `alone` by themselves.

    `at` is p and its normal quantile.
    """
    p, z = at
    beyond = int((drawn >= z).sum()) if size > alone else -1  # what draws can tell
    together = (beyond + 1) / (len(drawn) + 1)
    apart = -math.expm1(alone * math.log1p(-p)) if p < 1 else float(alone > 0)
    return min(1 - (1 - together) * (1 - apart), size * p, 1.0)
